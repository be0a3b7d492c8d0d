"""Who runs the worker command N times: this machine, a Ray cluster, SLURM. Chosen by `launcher=`."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kirigami.search.config.launcher import Ray, Slurm
from kirigami.search.config.study import StudySettings
from kirigami.search.workers.launchers.base import Launcher
from kirigami.search.workers.launchers.places import Share, share_out
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

    if isinstance(config.launcher, Ray):
        from kirigami.search.workers.launchers.ray import build as on_ray

        return on_ray(config, config.launcher, orders, finished, carried(raw))
    if isinstance(config.launcher, Slurm):
        from kirigami.search.workers.launchers.slurm import build as on_slurm

        return on_slurm(config, config.launcher, orders, finished)
    from kirigami.search.workers.launchers.local import Local

    trainer = config.trainer
    shares, dealt = share_out(config.workers, config.cores_per_worker, trainer.device, trainer.devices)
    team = [orders(index, share) for index, share in enumerate(shares)]
    notes = [dealt] if config.workers == "auto" else []
    return Local(team, config.launcher.deaths_in_a_row, finished, notes=notes)


def carried(raw: Any) -> dict[str, str]:
    """Return the environment that a config means something else without: what it names in `${oc.env:…}`."""
    if isinstance(raw, Mapping):
        return {key: value for part in raw.values() for key, value in carried(part).items()}
    if isinstance(raw, list | tuple):
        return {key: value for part in raw for key, value in carried(part).items()}
    names = re.findall(r"\$\{oc\.env:\s*(\w+)", raw) if isinstance(raw, str) else []
    return {name: os.environ[name] for name in names if name in os.environ}
