"""Optimisers by name."""

from models.optimizers.build import OPTIMIZERS, build_optimizer
from models.optimizers.groups import parameter_groups

__all__ = ["OPTIMIZERS", "build_optimizer", "parameter_groups"]
