"""Networks: pure functions of parameters, buffers and input, without state that changes outside of buffers."""

from models.networks.build import NETWORKS, build_network
from models.networks.convnet import ConvNet
from models.networks.gru import GRU
from models.networks.mlp import MLP
from models.networks.resnet import ResNet
from models.networks.transformer import Transformer
from models.networks.vgg import VGG
from models.networks.wrn import wrn

__all__ = ["GRU", "MLP", "NETWORKS", "VGG", "ConvNet", "ResNet", "Transformer", "build_network", "wrn"]
