"""The techniques of a trial: built from its config, attached in the order of the chain, read at the end."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from kirigami import models
from kirigami.models.technique import Technique

MOST_LAYERS = 64  # their matrix takes 30 KB in the store
ROOMS = {
    "growth": models.growth.build,
    "sharing": models.sharing.build,
    "sparsity": models.sparsity.build,
    "bits": models.bits.build,
}


def build(config: Mapping[str, Any]) -> list[Technique]:
    """Build the techniques that the config asks for, in the order grow, share, mask, quantise.

    Raises:
        ValueError: for an unknown method or key, or a value out of its range.
    """
    made = [make(config[room]) for room, make in ROOMS.items()]
    return [technique for technique in made if technique is not None]


def attach(techniques: Sequence[Technique], network: nn.Module) -> None:
    """Attach them to a network.

    Raises:
        ValueError: where a network has no layers for a technique, or two of them do not go together.
    """
    for technique in techniques:
        technique.attach(network)
    for technique in techniques:
        technique.check()


def least_bytes(techniques: Sequence[Technique], network: nn.Module) -> int:
    """Return the bytes that the network's file will exceed, from what the techniques aim at.

    A technique that leaves its density or bits to training may come to anything; then the least is asked of it.
    """
    aims = {"density": 1.0, "bits": None}
    for technique in techniques:
        for aim, least in (("density", 1e-3), ("bits", 1.0)):
            if hasattr(technique, aim):
                aims[aim] = getattr(technique, aim) or least
    return models.compact.lower_bound(network, density=aims["density"] or 1.0, bits=aims["bits"])


def figures(techniques: Sequence[Technique]) -> dict[str, float]:
    """Return what the techniques report of the state reached, such as density and bits."""
    return {name: float(value) for technique in techniques for name, value in technique.report().items()}


def similarities(techniques: Sequence[Technique]) -> dict[str, Any]:
    """Return `{"similarity": [{"layers", "matrix", "chance", "p"}, …]}`, one for each bank; {} without any.

    `chance` is the 95th percentile of a pair of independent rows, `p` how often such rows are as alike in all.
    Banks of one layer, and of more than `MOST_LAYERS`, are left out.
    """
    matrices = [
        {
            "layers": list(bank.names),
            "matrix": [[round(value, 3) for value in row] for row in bank.matrix.tolist()],
            "chance": round(bank.null.band, 3),
            "p": round(bank.p, 4),
        }
        for technique in techniques
        if isinstance(technique, models.sharing.SoftSharing)
        for bank in technique.similarities().values()
        if 1 < len(bank.names) <= MOST_LAYERS and bool(bank.matrix.isfinite().all())
    ]
    return {"similarity": matrices} if matrices else {}
