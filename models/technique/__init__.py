"""Techniques: callbacks with a soft and a hard form, and the links in the chains of weights that most consist of."""

from kirigami.models.technique.base import Least, Technique
from kirigami.models.technique.groups import regroup, withdraw
from kirigami.models.technique.hooks import hook
from kirigami.models.technique.layers import WEIGHTED, chosen, network_of, note_hard, note_soft, soft_titles, weighted
from kirigami.models.technique.link import ORDER, Link, chain, check_order, incoming, stored_parameters
from kirigami.models.technique.linked import Linked
from kirigami.models.technique.run import Run, add_gradient, batches_of, loss_of, progress_of
from kirigami.models.technique.ties import Place, check_ties, links_of, stored

__all__ = [
    "ORDER",
    "WEIGHTED",
    "Least",
    "Link",
    "Linked",
    "Place",
    "Run",
    "Technique",
    "add_gradient",
    "batches_of",
    "chain",
    "check_order",
    "check_ties",
    "chosen",
    "hook",
    "incoming",
    "links_of",
    "loss_of",
    "network_of",
    "note_hard",
    "note_soft",
    "progress_of",
    "regroup",
    "soft_titles",
    "stored",
    "stored_parameters",
    "weighted",
    "withdraw",
]
