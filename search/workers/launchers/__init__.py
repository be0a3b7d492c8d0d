"""Who runs the worker command N times: this machine, a Ray cluster, SLURM. Chosen by `launcher=`."""

import importlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kirigami.search.config.study import StudySettings
from kirigami.search.workers.launchers.base import Assignment, Launcher
from kirigami.search.workers.launchers.places import Share
from kirigami.search.workers.worker import Orders


def build(settings: StudySettings, folder: Path, paths: Sequence[Path], finished: Callable[[], int | None]) -> Launcher:
    """Make the launcher that the config names; nothing is started yet.

    Args:
        settings: the study's.
        folder: of the study's files.
        paths: where a user's own modules may lie.
        finished: returns how many trials of the study have ended, None where that cannot be read now.

    Raises:
        InputError: where a package is missing, or the store is out of the workers' reach.
    """
    raw, config = settings.raw, settings.config

    def orders(index: int, share: Share) -> Orders:
        return Orders(raw, str(folder), index, share.threads, [str(path) for path in paths], dict(share.env))

    module = importlib.import_module(f"{__name__}.{config.launcher.name}")
    launcher: Launcher = module.build(Assignment(config, orders, finished, carried(raw)))
    return launcher


def carried(raw: Any) -> dict[str, str]:
    """Return the environment variables that a config refers to in `${oc.env:…}`."""
    if isinstance(raw, Mapping):
        return {key: value for part in raw.values() for key, value in carried(part).items()}
    if isinstance(raw, list | tuple):
        return {key: value for part in raw for key, value in carried(part).items()}
    names = re.findall(r"\$\{oc\.env:\s*(\w+)", raw) if isinstance(raw, str) else []
    return {name: os.environ[name] for name in names if name in os.environ}
