"""Checkpoints of running trials: a trial whose worker died goes on from its last one, to the same bits."""

from kirigami.search.training.checkpoints.store import Attempt, CheckpointStore

__all__ = ["Attempt", "CheckpointStore"]
