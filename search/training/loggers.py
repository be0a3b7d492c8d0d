"""Where the curves of a trial are written beside the store, for eyes and tools that know no store of ours."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from kirigami.errors import ArgumentError, at
from kirigami.search.config.identity import leaves
from kirigami.search.config.settings import TrialConfig
from kirigami.targets import KEY, called

NAMED = {"csv": CSVLogger, "tensorboard": TensorBoardLogger}
SHOWN = ("seed", "objective", "output", "task", "imbalance", "network", "init", "optimizer", "schedule", "regime")


def build_logger(config: TrialConfig, runs: Path | None, number: int) -> Logger | None:
    """Build the logger of a trial; None where there is none, or no folder for what it writes.

    A logger of `_target_` gets `save_dir`, the trial's folder, and `name` and `run_name`, which name the trial, where
    its signature has them and the config does not set them.

    Args:
        config: the trial's.
        runs: the folder of the study's runs.
        number: the trial's.

    Raises:
        ValueError: for a logger that cannot be built, or whose package is not installed.
    """
    logger = config.trainer.logger
    if logger is None or runs is None:
        return None
    folder = f"trial-{number:05d}"
    with at("trainer.logger"):
        try:
            if isinstance(logger, str):
                return NAMED[logger](runs, name="", version=folder)
            return _foreign(logger, runs / folder, f"{config.plain.get('name', 'trial')}-{number:05d}")
        except ImportError as error:
            reason = " ".join(str(error).split())[:200]
            raise ArgumentError("", f"{logger} needs a package that is not installed ({reason}).") from error


def _foreign(config: Mapping[str, Any], folder: Path, name: str) -> Logger:
    if KEY not in config:
        raise ArgumentError(KEY, f"is not set in {dict(config)!r}.", (KEY, "lightning.pytorch.loggers.WandbLogger"))
    provided = {"save_dir": str(folder), "name": name, "run_name": name}
    logger = called(config, {key: value for key, value in provided.items() if key not in config})
    if not isinstance(logger, Logger):
        raise ArgumentError(KEY, f"must build a Lightning logger, but {config[KEY]} gave {type(logger).__name__}.")
    return logger


def check_logger(config: TrialConfig) -> None:
    """Build the logger once, in a folder that is thrown away.

    Raises:
        ValueError: as `build_logger` does.
    """
    with tempfile.TemporaryDirectory(prefix="kirigami-logger-") as folder:
        build_logger(config, Path(folder), 0)


@contextmanager
def logging(config: TrialConfig, runs: Path | None, number: int) -> Iterator[Logger | None]:
    """Have a trial's logger for a while, as `build_logger` makes it, with what the trial is made by written to it.

    No store and no path of one is written, which may hold a password. At the end a run is closed that would go on into
    the next trial of this process, as one of Weights & Biases does.
    """
    logger = build_logger(config, runs, number)
    if logger is None:
        yield None
        return
    shown = {group: config.plain[group] for group in SHOWN if group in config.plain}
    logger.log_hyperparams(dict(leaves({**shown, **config.techniques})))
    try:
        yield logger
    finally:
        finish = getattr(getattr(logger, "experiment", None), "finish", None)
        if callable(finish):
            finish()
