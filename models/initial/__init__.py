"""Weights fitted before training, without a gradient: random features and ridge regression in closed form."""

from models.initial.build import NAMES, Initial, build
from models.initial.closed import ClosedForm
from models.initial.ridge import Moments, Solution

__all__ = ["NAMES", "ClosedForm", "Initial", "Moments", "Solution", "build"]
