"""The table of techniques: a newcomer adds a row, and every test of the contract runs over it."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kirigami.models.bits import SMOL, Uniform
from kirigami.models.growth import GrowAndShrink
from kirigami.models.saliency import WEIGHT_CRITERIA
from kirigami.models.sharing import SoftSharing, TiedLayers
from kirigami.models.sparsity import (
    ContinuousSparsification,
    GradualPruning,
    MagnitudePruning,
    RandomPruning,
    SaliencyPruning,
    StructuredPruning,
)
from kirigami.models.technique import ORDER, Technique

STAGES = ("shape", *ORDER)


@dataclass(frozen=True)
class Row:
    """A technique as the contract tries it.

    Attributes:
        kind: its class.
        stage: where it stands among others: `shape`, or the stage of its links.
        arguments: such that the foreign network gets there in ten epochs.
        together: those that differ where it has one epoch among others; None where it is tried alone only.
    """

    kind: type[Technique]
    stage: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    together: Mapping[str, Any] | None = field(default_factory=dict)

    def alone(self) -> Technique:
        """Make the technique."""
        return self.kind(**self.arguments)

    def among_others(self) -> Technique:
        """Make the technique to harden in the middle of one epoch, as all of these do."""
        at = {"harden_at": 0.5} if "harden_at" in inspect.signature(self.kind).parameters else {}
        return self.kind(**{**self.arguments, **at, **(self.together or {})})


FOLDED = {"templates": 4, "pressure": 3.0, "fold": True, "tau": 0.3, "harden_at": 0.6}
FEW_ROWS = {"density": 0.5, "rows": 32, "batches": 2, "probes": 2}
SOON = {"initial_bits": 4, "travel": 4.0}  # from 8 bits an epoch is too short

TECHNIQUES: dict[str, Row] = {
    "soft sharing": Row(SoftSharing, "share", {"templates": 2}),
    "soft sharing, folded": Row(SoftSharing, "share", FOLDED, {"tau": 0.2}),
    "tied layers": Row(TiedLayers, "share"),
    "continuous sparsification": Row(ContinuousSparsification, "mask", {"density": 0.3}),
    "continuous sparsification by a penalty": Row(ContinuousSparsification, "mask", {"penalty": 1e-4}, None),
    "magnitude pruning": Row(MagnitudePruning, "mask", {"density": 0.3}),
    "gradual pruning": Row(GradualPruning, "mask", {"density": 0.3, "updates": 10}, {"updates": 4}),
    "random pruning": Row(RandomPruning, "mask", {"density": 0.5}),
    "uniform bits": Row(Uniform, "quantise", {"bits": 3}),
    "uniform bits, inputs too": Row(Uniform, "quantise", {"bits": 4, "activation_bits": 4}),
    "learnt bits": Row(SMOL, "quantise", {"bits": 2.5}, SOON),
    "learnt bits by a price": Row(SMOL, "quantise", {"penalty": 1.0}, None),
    "learnt bits, inputs too": Row(SMOL, "quantise", {"bits": 2.5, "activation_bits": 3}, None),
    "structured pruning": Row(StructuredPruning, "shape", {"keep": 0.7}, {"updates": 3}),
    "growth and shrinking": Row(GrowAndShrink, "shape", {"params": 3000, "batches": 1, "every": 4}, {"every": 2}),
}
TECHNIQUES |= {
    f"saliency pruning, {criterion}": Row(
        SaliencyPruning, "mask", {"criterion": criterion, **FEW_ROWS}, {} if criterion == "fisher" else None
    )
    for criterion in WEIGHT_CRITERIA
    if criterion != "synflow"  # which asks for units that do not saturate: in a GRU all its scores are 0
}


def of_stage(stage: str) -> list[str]:
    """Return the rows of a stage that are tried together with others."""
    return [name for name, row in TECHNIQUES.items() if row.stage == stage and row.together is not None]
