"""Saliency: how much the loss changes when a weight or a unit is removed, and how many units can be removed."""

from kirigami.models.saliency import units, weights
from kirigami.models.saliency.gates import Gates
from kirigami.models.saliency.removable import Removal, removable
from kirigami.models.saliency.settings import Settings
from kirigami.models.saliency.surgeon import Blocks, surgeon
from kirigami.models.saliency.units import unit_scores
from kirigami.models.saliency.weights import weight_scores

UNIT_CRITERIA = tuple(units.CRITERIA)
WEIGHT_CRITERIA = tuple(weights.CRITERIA)

__all__ = [
    "UNIT_CRITERIA",
    "WEIGHT_CRITERIA",
    "Blocks",
    "Gates",
    "Removal",
    "Settings",
    "removable",
    "surgeon",
    "unit_scores",
    "weight_scores",
]
