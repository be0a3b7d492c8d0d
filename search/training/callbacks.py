"""The Lightning callbacks that a user adds to the training of a trial."""

from typing import Any

from lightning.pytorch import Callback
from lightning.pytorch.callbacks import Checkpoint, LearningRateMonitor, ProgressBar

from kirigami.errors import ArgumentError, at
from kirigami.search.config.settings import TrialConfig
from kirigami.search.config.trainer import TrainerConfig
from kirigami.targets import KEY, called

REFUSED: dict[type[Callback], str] = {
    Checkpoint: "a trial writes checkpoints of its own, see checkpoint.every_s, and a study keeps its best networks",
    ProgressBar: "the trials of a study have one bar together",
}


def build_callbacks(settings: TrainerConfig) -> list[Callback]:
    """Build the callbacks of `trainer.callbacks`, in their order; anew for each trial, since they have a state.

    Raises:
        ValueError: for one that cannot be built, is none of Lightning's kind, or does what a study does itself.
    """
    built = []
    for place, config in enumerate(settings.callbacks):
        with at(f"trainer.callbacks.{place}"):
            built.append(_built(config, settings))
    return built


def _built(config: dict[str, Any], settings: TrainerConfig) -> Callback:
    if KEY not in config:
        raise ArgumentError(KEY, f"is not set in {config!r}.", (KEY, "lightning.pytorch.callbacks.EarlyStopping"))
    callback, path = called(config, {}), config[KEY]
    if not isinstance(callback, Callback):
        raise ArgumentError(KEY, f"must build a Lightning callback, but {path} gave {type(callback).__name__}.")
    for kind, reason in REFUSED.items():
        if isinstance(callback, kind):
            raise ArgumentError(KEY, f"must be no {kind.__name__}, but got {path}: {reason}.")
    if isinstance(callback, LearningRateMonitor) and settings.logger is None:
        raise ArgumentError(KEY, f"={path} needs a logger. Set trainer.logger=csv.")
    return callback


def check_monitors(config: TrialConfig, reported: tuple[str, ...]) -> None:
    """Check that callbacks and the schedule watch what a trial reports.

    Raises:
        ValueError: for another `monitor`, or a callback that cannot be built.
    """
    watching = {
        f"trainer.callbacks.{place}": getattr(callback, "monitor", None)
        for place, callback in enumerate(build_callbacks(config.trainer))
    }
    for path, monitor in {**watching, "schedule": config.schedule.get("monitor")}.items():
        if isinstance(monitor, str) and monitor not in reported:
            names = ", ".join(reported)
            raise ArgumentError(f"{path}.monitor", f"must be one of ({names}) on this task, but got {monitor!r}.")
