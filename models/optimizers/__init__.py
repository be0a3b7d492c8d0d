"""Optimisers by name."""

from kirigami.models.optimizers.avagrad import AvaGrad, AvaGradW
from kirigami.models.optimizers.build import OPTIMIZERS, build_optimizer, slowed
from kirigami.models.optimizers.groups import parameter_groups

__all__ = ["OPTIMIZERS", "AvaGrad", "AvaGradW", "build_optimizer", "parameter_groups", "slowed"]
