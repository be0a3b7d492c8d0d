"""The Trainer of a trial: what `trainer:` asks for, checked, and nothing besides."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from lightning.pytorch import Callback, Trainer

from kirigami.errors import did_you_mean
from kirigami.search.errors import InputError
from kirigami.search.training import devices

TRAINER_KEYS = (
    *("epochs", "steps", "batch_size", "val_every", "precision", "gradient_clip", "device"),
    *("devices", "compress_gradients"),
)
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "bf16-true", "64-true")


class Ranks(Protocol):
    """What one of the processes that train a trial together asks of its Trainer (`kirigami.search.training.ranks`)."""

    def arguments(self) -> dict[str, Any]:
        """Return what differs from a Trainer for one device."""
        ...

    def callbacks(self) -> list[Callback]:
        """Return the callbacks that come last."""
        ...


def build_trainer(
    settings: Mapping[str, Any],
    callbacks: Sequence[Callback],
    ranks: Ranks | None = None,
    plugins: Sequence[Any] = (),
) -> Trainer:
    """Build a Trainer that does what a trial needs and leaves nothing behind.

    Args:
        settings: `trainer:` of the config.
        callbacks: in the order in which they are to be called.
        ranks: of a trial on several devices.
        plugins: Lightning's, such as what reads and writes checkpoints.
    """
    quiet()
    check_trainer(settings)
    _, accelerator, device_numbers = devices.pick(settings["device"])
    steps, every = settings["steps"], settings["val_every"]
    length = (
        {"max_epochs": settings["epochs"], "check_val_every_n_epoch": every}
        if steps is None
        else {"max_epochs": -1, "max_steps": steps, "val_check_interval": every, "check_val_every_n_epoch": None}
    )
    placed = {"accelerator": accelerator, "devices": device_numbers, **(ranks.arguments() if ranks else {})}
    return Trainer(
        **length,
        **placed,
        precision=settings["precision"],
        gradient_clip_val=settings["gradient_clip"],
        callbacks=[*callbacks, *(ranks.callbacks() if ranks else [])],
        plugins=list(plugins) or None,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def fidelities(settings: Mapping[str, Any]) -> int:
    """Return the fidelity of a full trial: its epochs, or its steps; one where nothing is trained."""
    return max(1, int(settings["epochs"] if settings["steps"] is None else settings["steps"]))


def check_trainer(settings: Mapping[str, Any]) -> None:
    """Check `trainer:`.

    Raises:
        InputError: for an unknown key or a value out of range.
    """
    for key in settings:
        if key not in TRAINER_KEYS:
            names = ", ".join(TRAINER_KEYS)
            raise InputError(f"trainer.{key}: no such key.{did_you_mean(key, TRAINER_KEYS)} Keys: {names}.")
    least = {"epochs": 0, "batch_size": 1, "val_every": 1, **({} if settings["steps"] is None else {"steps": 1})}
    for key, lowest in least.items():
        value = settings[key]
        if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
            raise InputError(f"trainer.{key} must be a whole number of at least {lowest}, but got {value!r}.")
    total, every = fidelities(settings), settings["val_every"]
    if total % every:
        raise InputError(
            f"trainer.val_every must divide the {total} epochs or steps of a trial, so that its end is validated, "
            f"but got {every}. Set trainer.val_every=1."
        )
    _check_devices(settings)
    if settings["precision"] not in PRECISIONS:
        names = ", ".join(PRECISIONS)
        raise InputError(f"trainer.precision must be one of ({names}), but got {settings['precision']!r}.")
    clip = settings["gradient_clip"]
    if clip is not None and (isinstance(clip, bool) or not isinstance(clip, int | float) or clip <= 0):
        raise InputError(f"trainer.gradient_clip must be null or a number above 0, but got {clip!r}.")


def _check_devices(settings: Mapping[str, Any]) -> None:
    """Check what `trainer:` says of several devices."""
    count, rows = settings.get("devices", 1), settings["batch_size"]
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise InputError(f"trainer.devices must be a whole number of at least 1, but got {count!r}.")
    if count > rows:
        raise InputError(
            f"trainer.devices must be at most trainer.batch_size={rows}, a row of each batch for each, "
            f"but got {count}. Set trainer.devices={rows}, or a larger trainer.batch_size."
        )
    density = settings.get("compress_gradients")
    is_number = isinstance(density, int | float) and not isinstance(density, bool)
    if density is not None and not (is_number and 0 < density <= 1):
        raise InputError(
            f"trainer.compress_gradients must be null or the share of entries sent, above 0 and at most 1, "
            f"but got {density!r}."
        )
    if density is not None and count == 1:
        raise InputError(
            f"trainer.compress_gradients must be null on one device, which sends no gradients, but got {density!r}. "
            "Set trainer.devices=2, or more."
        )
    if count > 1:
        devices.of_ranks(settings)


def quiet() -> None:
    """Silence Lightning's advice: a search starts hundreds of Trainers."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
