"""Optimisers by name."""

from models.optimizers.avagrad import AvaGrad, AvaGradW
from models.optimizers.build import OPTIMIZERS, build_optimizer
from models.optimizers.groups import parameter_groups

__all__ = ["OPTIMIZERS", "AvaGrad", "AvaGradW", "build_optimizer", "parameter_groups"]
