"""The only place of Lightning's private names: the loop counters of a Trainer, and when its loops load their data.

A contract test lists the names, and `pyproject.toml` sets an upper bound on Lightning's version.
"""

from typing import Any

from lightning.pytorch import Trainer


def load_data(trainer: Trainer) -> None:
    """Load a Trainer's training rows before its run begins, as its property `estimated_stepping_batches` does."""
    if trainer.train_dataloader is None:
        trainer.fit_loop.setup_data()


def resumed(trainer: Trainer) -> None:
    """Let a run that was resumed count its first epoch as any other.

    Lightning leaves schedules that step once an epoch alone at the end of an epoch that was resumed in its midst, and
    of any one of a run limited by steps, since the metrics that some of them watch are not in its checkpoints.
    """
    trainer.fit_loop._restarting = False


def rewind(checkpoint: dict[str, Any], batches: int) -> None:
    """Set the loop counters of a checkpoint to the start of the next epoch or step.

    A run resumed from it then neither repeats nor skips anything.

    Args:
        checkpoint: what `Trainer.save_checkpoint` is about to write, from a callback's hook at the start of an epoch
            or step, which counts as ready there.
        batches: done of the epoch; 0 between epochs.
    """
    loops = checkpoint["loops"]["fit_loop"]
    steps = loops["epoch_loop.batch_progress"]
    counts = steps if batches else loops["epoch_progress"]
    for part in ("total", "current"):
        counts[part]["ready"] = counts[part]["completed"]
    steps["is_last_batch"] = False  # the next step is not done yet
    if not batches:
        steps["current"] = dict.fromkeys(steps["current"], 0)
