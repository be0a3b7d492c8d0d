"""Settings of the saliency criteria: how many rows and vectors, and the random seed."""

import math
from dataclasses import dataclass

from kirigami.arguments import at_least, within
from kirigami.errors import ArgumentError


@dataclass(frozen=True)
class Settings:
    """Settings of all criteria; each reads those it knows.

    Args:
        probes: Rademacher vectors for each batch, for curvature by Hutchinson's estimator.
        rows: of the batches at most, one gradient each, for the empirical Fisher.
        block: weights whose curvature is known jointly, for OBS.
        damping: added to the Fisher's diagonal, as a share of its mean in the layer, for OBS.
        density: share of the entries to keep, for the criteria that need it: SynFlow and the blend.
        rounds: of SynFlow.
        band: width of the blend's expensive part on both sides of the cut, as a share of the entries kept.
        training: run the network as in training, with batch statistics and dropout, as at initialisation; criteria
            that need a gradient for each row never do, since one row has no statistics.
        seed: of the random numbers.

    Raises:
        ValueError: where one is out of its range.
    """

    probes: int = 8
    rows: int = 256
    block: int = 64
    damping: float = 0.01
    density: float = 0.1
    rounds: int = 100
    band: float = 0.5
    training: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("probes", "rows", "block", "rounds"):
            at_least(name, getattr(self, name), 1)
        within("damping", self.damping, 0, math.inf)
        within("band", self.band, 0, math.inf)
        if not 0 < self.density <= 1:
            raise ArgumentError("density", f"must be above 0 and at most 1, but got {self.density!r}.")
