"""Which devices a trial trains on when it wants several, and what cannot be trained on several."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kirigami.search.errors import InputError
from kirigami.search.training import devices

ROOMS = ("growth", "sharing", "sparsity", "bits")
PATIENCE_S = 300.0  # that a rank waits for the others at an exchange; they do the same work


@dataclass(frozen=True)
class Place:
    """One rank's place among those that train a trial.

    Attributes:
        rank: 0 is the worker's own.
        devices: of all ranks, in order, as torch names them.
        meeting: a file, of this trial alone, by which the ranks find each other.
        patience_s: seconds that a rank waits for the others at an exchange.
    """

    rank: int
    devices: tuple[str, ...]
    meeting: str
    patience_s: float = PATIENCE_S

    @property
    def world(self) -> int:
        """Count the ranks."""
        return len(self.devices)

    @property
    def device(self) -> str:
        """Name this rank's device."""
        return self.devices[self.rank]


def count(settings: Mapping[str, Any]) -> int:
    """Return the devices of a trial, from `trainer:`; trials recorded before there was a choice had one.

    Where nothing is trained, one is enough.
    """
    untrained = settings["epochs"] == 0 and settings["steps"] is None
    return 1 if untrained else int(settings.get("devices", 1))


def named(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the torch devices of all ranks: the CPU once for each, or GPUs from the one that `trainer.device` names.

    Raises:
        InputError: where there are fewer GPUs, or the device is none of this machine's.
    """
    wanted = count(settings)
    first, _, _ = devices.pick(settings["device"])
    if first == "cpu":
        return ("cpu",) * wanted
    import torch

    start, found = torch.device(first).index or 0, torch.cuda.device_count()
    if start + wanted > found:
        raise InputError(
            f"trainer.devices must be at most {found - start}, the GPUs there are from {first}, but got {wanted}. "
            f"Set trainer.devices={found - start}, or trainer.device=cpu."
        )
    return tuple(f"cuda:{number}" for number in range(start, start + wanted))


def varies(config: Mapping[str, Any]) -> bool:
    """Tell whether parameters may go without a gradient: those of techniques that are hard, and a user's own."""
    return "_target_" in config["network"] or any(config[room]["method"] != "none" for room in ROOMS)


def check_trainer(settings: Mapping[str, Any]) -> None:
    """Check what `trainer:` says of several devices.

    Raises:
        InputError: in one line.
    """
    wanted, rows = settings.get("devices", 1), settings["batch_size"]
    if isinstance(wanted, bool) or not isinstance(wanted, int) or wanted < 1:
        raise InputError(f"trainer.devices must be a whole number of at least 1, but got {wanted!r}.")
    if wanted > rows:
        raise InputError(
            f"trainer.devices must be at most trainer.batch_size={rows}, a row of each batch for each, "
            f"but got {wanted}. Set trainer.devices={rows}, or a larger trainer.batch_size."
        )
    density = settings.get("compress_gradients")
    number = isinstance(density, int | float) and not isinstance(density, bool)
    if density is not None and not (number and 0 < density <= 1):
        raise InputError(
            f"trainer.compress_gradients must be null or the share of entries sent, above 0 and at most 1, "
            f"but got {density!r}."
        )
    if density is not None and wanted == 1:
        raise InputError(
            f"trainer.compress_gradients must be null on one device, which sends no gradients, but got {density!r}. "
            "Set trainer.devices=2, or more."
        )
    if wanted > 1:
        named(settings)


def check(config: Mapping[str, Any]) -> None:
    """Refuse what cannot be trained on several devices.

    Raises:
        InputError: naming it and saying why.
    """
    wanted = count(config["trainer"])
    if wanted == 1:
        return
    apart = "each process would change its own copy of the network's shapes"
    refused = {
        "growth": (config["growth"]["method"], "none", apart),
        "sparsity": (config["sparsity"]["method"] == "structured" and "structured", False, apart),
        "regime": (config["regime"]["name"], "backprop", "its blocks go backward by themselves, out of DDP's sight"),
    }
    for group, (value, harmless, why) in refused.items():
        if value != harmless:
            raise InputError(
                f"trainer.devices must be 1 with {group}={value}, since {why}, but got {wanted}. Set trainer.devices=1."
            )
