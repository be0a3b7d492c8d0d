"""What learns: networks, activations, losses, optimisers, schedules, and the module that trains them."""

from models import activations, networks, optimizers, outputs, schedules
from models.module import Learner
from models.networks import build_network

__all__ = ["Learner", "activations", "build_network", "networks", "optimizers", "outputs", "schedules"]
