"""Networks: pure functions of parameters, buffers and input, without state that changes outside of buffers."""

from kirigami.models.networks.build import NETWORKS, build_network
from kirigami.models.networks.convnet import ConvNet
from kirigami.models.networks.gru import GRU
from kirigami.models.networks.mlp import MLP
from kirigami.models.networks.resnet import ResNet
from kirigami.models.networks.transformer import Transformer
from kirigami.models.networks.vgg import VGG
from kirigami.models.networks.wrn import wrn

__all__ = ["GRU", "MLP", "NETWORKS", "VGG", "ConvNet", "ResNet", "Transformer", "build_network", "wrn"]
