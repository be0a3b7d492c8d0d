"""The bytes of a checkpoint: tensors and plain values, never anything that has to be unpickled."""

import io
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO

from kirigami.search.config.identity import FREE, leaves
from kirigami.search.study import provenance

FORMAT = 1
KEY = "kirigami"
LEFT_OUT = ("hyper_parameters", "hparams_name", "hparams_type")  # of a user's module, which is built from its config


class Refused(Exception):
    """A checkpoint that a trial cannot go on from; the reason is its text."""


class Bytes(CheckpointIO):
    """Lets a Trainer write its state into memory, and read it from there."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = data

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Turn a Trainer's state into bytes; the path is ignored."""
        into = io.BytesIO()
        torch.save({key: value for key, value in checkpoint.items() if key not in LEFT_OUT}, into)
        self.data = into.getvalue()

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Return the Trainer's state in the bytes; the path is ignored."""
        return loaded(self.data)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Forget the bytes."""
        self.data = b""


def loaded(data: bytes) -> dict[str, Any]:
    """Return the state in bytes, on the CPU.

    Raises:
        Refused: where they hold anything but tensors and plain values, or are none of ours.
    """
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the bytes lead it to
        raise Refused("it cannot be read: " + " ".join(str(error).split())[:200]) from error
    if not isinstance(state, dict) or not isinstance(state.get(KEY), dict) or state[KEY].get("format") != FORMAT:
        raise Refused(f"it is none of format {FORMAT}")
    return dict(state)


def entry(data: bytes, name: str) -> Any:
    """Return a detail of the trial in a checkpoint's bytes; None where it has none of that name.

    Raises:
        Refused: where they cannot be read.
    """
    return loaded(data)[KEY]["details"].get(name)


def about(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts that must be the same for a resume: format, config and versions."""
    free = (*FREE, "space", "checkpoint")
    same = {path: value for path, value in leaves(config) if not path.startswith(free)}
    return {"format": FORMAT, "config": json.dumps(same, sort_keys=True, default=str), "versions": versions()}


def versions() -> dict[str, str]:
    """Return the versions of the packages that decide a trial's numbers, as plain strings."""
    return {name: str(version) for name, version in provenance.versions().items()}


def check(state: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Refuse the checkpoint of another config, or of other versions.

    Raises:
        Refused: saying what differs.
    """
    expected = about(config)
    if state["config"] != expected["config"]:
        raise Refused("it is that of another config")
    now = expected["versions"]
    changed = [name for name in sorted({*now, *state["versions"]}) if now.get(name) != state["versions"].get(name)]
    if changed:
        before = state["versions"].get(changed[0], "none")
        raise Refused(f"it was written with {changed[0]} {before}, and this is {now.get(changed[0], 'none')}")


def random_state() -> dict[str, Any]:
    """Return the state of every global random generator as tensors and plain values."""
    name, keys, place, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002 - whoever draws from it
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [str(name), torch.from_numpy(np.asarray(keys).astype(np.int64)), int(place), int(has_gauss), gauss],
        "python": list(random.getstate()),
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Bring every global random generator to a state; those of devices only where there are as many."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    name, keys, place, has_gauss, gauss = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), place, has_gauss, gauss))  # noqa: NPY002
    version, numbers, following = state["python"]
    random.setstate((version, tuple(numbers), following))
