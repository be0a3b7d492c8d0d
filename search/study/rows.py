"""What each validation row adds to a trial's score, as it is stored with the trial, and the paired test of two trials.

Hits of rows (0 or 1) are compared by the exact sign test over the rows on which the two differ (McNemar, 1947); other
figures by Student's t over their paired differences. Of AUC, F1 and other scores that are no mean over rows, the
figures are the jackknife's (`kirigami.tasks.row_scores`).
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial

from kirigami.search.study.record import figure_of


@dataclass(frozen=True)
class Rows:
    """The figures of a trial's validation rows.

    Attributes:
        metric: whose.
        of: digest of the rows' targets: only figures of the same rows are paired.
        values: (units,) of rows, or of groups of rows; their mean is the metric.
    """

    metric: str
    of: str
    values: NDArray[np.float64]

    @classmethod
    def build(cls, metric: str, targets: bytes, values: NDArray[np.float64]) -> Self:
        """Name the rows by a digest of their targets."""
        return cls(metric, hashlib.sha256(targets).hexdigest()[:8], values)

    @property
    def are_hits(self) -> bool:
        """Whether every value is 0 or 1."""
        return bool(np.isin(self.values, (0, 1)).all())

    @property
    def error(self) -> float:
        """Standard error of the mean of the values."""
        return float(self.values.std(ddof=1) / len(self.values) ** 0.5) if len(self.values) > 1 else 0.0

    def to_plain(self) -> dict[str, Any]:
        """Return the stored form, which keeps hits to the bit and other figures in single precision."""
        data = np.packbits(self.values.astype(bool)) if self.are_hits else self.values.astype("<f4")
        form = {"hits": len(self.values)} if self.are_hits else {}
        return {"metric": self.metric, "of": self.of, **form, "data": base64.b64encode(data.tobytes()).decode()}

    @classmethod
    def from_plain(cls, stored: Mapping[str, Any]) -> Self:
        """Read it."""
        data, hits = base64.b64decode(stored["data"]), stored.get("hits")
        if hits is None:
            return cls(stored["metric"], stored["of"], np.frombuffer(data, "<f4").astype(np.float64))
        bits = np.unpackbits(np.frombuffer(data, np.uint8), count=hits)
        return cls(stored["metric"], stored["of"], bits.astype(np.float64))


def rows_of(trial: FrozenTrial) -> Rows | None:
    """Return the figures stored with a trial; None where there are none."""
    stored = figure_of(trial, "rows")
    return None if stored is None else Rows.from_plain(stored)


def p_worse(other: Rows, best: Rows, sign: int) -> float | None:
    """Return the one-sided p that rows no worse than the best's come out so much worse; None where they do not pair.

    Args:
        sign: 1 where a smaller value is better, -1 where a larger one is.
    """
    if (other.metric, other.of, len(other.values)) != (best.metric, best.of, len(best.values)):
        return None
    behind = sign * (other.values - best.values)
    if not behind.any():
        return 1.0
    from scipy import special  # takes a while to import

    if other.are_hits and best.are_hits:
        lost, won = int((behind > 0).sum()), int((behind < 0).sum())
        return float(special.bdtrc(lost - 1, lost + won, 0.5)) if lost else 1.0
    if len(behind) < 2:
        return None
    if (spread := behind.std(ddof=1)) == 0:
        return float(behind[0] < 0)
    return float(special.stdtr(len(behind) - 1, -behind.mean() / spread * len(behind) ** 0.5))
