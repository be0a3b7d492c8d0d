"""Weights fitted before training, without a gradient: random features and ridge regression in closed form."""

from kirigami.models.initial.build import NAMES, Initial, build
from kirigami.models.initial.closed import ClosedForm
from kirigami.models.initial.ridge import Moments, Solution

__all__ = ["NAMES", "ClosedForm", "Initial", "Moments", "Solution", "build"]
