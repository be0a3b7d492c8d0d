"""Influence: what removing a weight or a unit does to the loss, and how much can go before the network gets worse."""

from kirigami.models.influence import units, weights
from kirigami.models.influence.gates import Gates
from kirigami.models.influence.removable import Removal, removable
from kirigami.models.influence.settings import Settings
from kirigami.models.influence.surgeon import Blocks, surgeon
from kirigami.models.influence.units import unit_scores
from kirigami.models.influence.weights import weight_scores

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
