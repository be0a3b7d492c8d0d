"""Checkpoints of running trials: a trial whose worker died goes on from its last one, to the same bits."""

from kirigami.search.training.checkpoints.shelf import Attempt, Shelf

__all__ = ["Attempt", "Shelf"]
