"""Techniques: callbacks with a soft and a hard form, and the links in the chains of weights that most consist of."""

from kirigami.models.technique.base import Least, Technique, hook
from kirigami.models.technique.groups import regroup, withdraw
from kirigami.models.technique.layers import WEIGHTED, chosen, network_of, weighted
from kirigami.models.technique.link import ORDER, Link, chain, check_order, incoming, stored_parameters
from kirigami.models.technique.linked import Linked
from kirigami.models.technique.run import Run, add_gradient, batches_of, loss_of, progress_of

__all__ = [
    "ORDER",
    "WEIGHTED",
    "Least",
    "Link",
    "Linked",
    "Run",
    "Technique",
    "add_gradient",
    "batches_of",
    "chain",
    "check_order",
    "chosen",
    "hook",
    "incoming",
    "loss_of",
    "network_of",
    "progress_of",
    "regroup",
    "stored_parameters",
    "weighted",
    "withdraw",
]
