"""Statistics of paired repeats: the size of a difference, its uncertainty, and whether it matters.

Every function takes plain numbers. Differences are `arm - reference` in the metric's own unit, whichever direction is
better; only the verdict knows the direction. `docs/compare.md` says how to read it, with sources:

- Wilcoxon's signed-rank test over paired repeats: Demšar, "Statistical Comparisons of Classifiers over Multiple Data
  Sets", JMLR 2006.
- Holm's step-down correction over the arms: Holm, "A Simple Sequentially Rejective Multiple Test Procedure", 1979.
- Two one-sided tests at 5 %, read off a 90 % interval: Schuirmann, J. Pharmacokinetics and Biopharmaceutics 15, 1987.
- Cliff's delta: Cliff, "Dominance Statistics", Psychological Bulletin 114, 1993.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from kirigami.search.comparing.question import LEAST_PAIRS

LEVEL = 0.9  # of the interval: two one-sided tests at 5 % each
ALPHA = 0.05
MARGIN = 0.02
RESAMPLES = 10_000
DIGITS = 12  # scores are ratios of counts: .9 - .8 and .8 - .7 are the same difference
VERDICTS = ("equivalent", "better", "worse", "undecided")


@dataclass(frozen=True)
class Comparison:
    """One arm against the reference, over the repeats that both of them finished.

    Attributes:
        pairs: repeats in which both have a value.
        failed: repeats of the arm without a value.
        difference: median of `arm - reference`, in the metric's unit; NaN without pairs, as all that follows.
        low, high: ends of its 90 % interval.
        p: two-sided, of Wilcoxon's signed-rank test; `p_holm` is corrected for the number of arms.
        delta: Cliff's delta from -1 (the arm's scores all lie below) to 1 (all above).
        verdict: equivalent, better, worse or undecided.
    """

    pairs: int
    failed: int
    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    delta: float
    verdict: str


def compare(
    reference: ArrayLike, arms: Mapping[str, ArrayLike], *, direction: str, margin: float = MARGIN
) -> dict[str, Comparison]:
    """Compare each arm (repeats,) with the reference (repeats,), repeat by repeat; NaN marks one that has no value.

    Args:
        direction: "maximize" or "minimize".
        margin: the largest difference that does not matter, in the metric's unit; 0 where every one does.

    Raises:
        ValueError: for lengths that differ, an unknown direction or a negative margin.
    """
    if direction not in ("maximize", "minimize"):
        raise ValueError(f"direction must be one of (maximize, minimize), but got {direction!r}.")
    if not margin >= 0:
        raise ValueError(f"margin must not be negative, but got {margin!r}.")
    base = np.asarray(reference, dtype=float)
    scores = {name: np.asarray(values, dtype=float) for name, values in arms.items()}
    for name, values in scores.items():
        if values.shape != base.shape or values.ndim != 1:
            raise ValueError(f"arm {name!r} has shape {values.shape}, but the reference has {base.shape}.")
    paired = {name: np.isfinite(values) & np.isfinite(base) for name, values in scores.items()}
    p_values = {name: wilcoxon_p(differences(values, base)) for name, values in scores.items()}
    corrected = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    comparisons = {}
    for name, values in scores.items():
        both = paired[name]
        low, high = median_interval(differences(values, base))
        verdict = decide(low, high, corrected[name], direction=direction, margin=margin, pairs=int(both.sum()))
        arm_failed, base_failed = int((~np.isfinite(values)).sum()), int((~np.isfinite(base)).sum())
        comparisons[name] = Comparison(
            pairs=int(both.sum()),
            failed=arm_failed,
            difference=_median(differences(values, base)),
            low=low,
            high=high,
            p=p_values[name],
            p_holm=corrected[name],
            delta=cliffs_delta(values[both], base[both]),
            verdict=_with_failures(verdict, arm_failed, base_failed),
        )
    return comparisons


def decide(
    low: float,
    high: float,
    p: float,
    *,
    direction: str = "maximize",
    margin: float = MARGIN,
    alpha: float = ALPHA,
    pairs: int = LEAST_PAIRS,
) -> str:
    """Return the verdict on an interval [low, high] of `arm - reference` and a corrected p.

    In this order: undecided below five pairs; equivalent where the interval lies strictly inside ±margin, even if the
    test finds a difference, for then it is one that does not matter; better or worse where p < alpha and the interval
    lies on one side of zero; else undecided. A test that finds nothing never makes an arm equivalent.
    """
    if pairs < LEAST_PAIRS or not np.isfinite([low, high, p]).all():
        return "undecided"
    if -margin < low and high < margin:
        return "equivalent"
    if p < alpha and (low > 0 or high < 0):
        return "better" if (low > 0) == (direction == "maximize") else "worse"
    return "undecided"


def _with_failures(verdict: str, arm_failed: int, reference_failed: int) -> str:
    """Take back what speaks well of a side whose failed repeats had to be left out."""
    if (arm_failed and verdict in ("equivalent", "better")) or (
        reference_failed and verdict in ("equivalent", "worse")
    ):
        return "undecided"
    return verdict


def differences(arm: ArrayLike, reference: ArrayLike) -> NDArray[np.float64]:
    """Return `arm - reference` (pairs,) where both have a value, rounded so that equal differences are ties."""
    gaps = np.asarray(arm, dtype=float) - np.asarray(reference, dtype=float)
    rounded: NDArray[np.float64] = np.round(gaps[np.isfinite(gaps)], DIGITS)
    return rounded


def median_interval(
    gaps: ArrayLike, *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the median of paired differences; NaN without any.

    Percentile, not BCa: the acceleration of BCa is a jackknife of the statistic, which is inconsistent for a median
    (Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, section 11.6).
    """
    values = np.asarray(gaps, dtype=float)
    if not len(values):
        return float("nan"), float("nan")
    rows = np.random.default_rng(seed).integers(0, len(values), (resamples, len(values)))
    medians = np.median(values[rows], axis=1)
    low, high = np.quantile(medians, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def wilcoxon_p(gaps: ArrayLike) -> float:
    """Return the two-sided p of Wilcoxon's signed-rank test; 1 where no difference is other than zero.

    Ranks of zero differences are shared between both signs (Demšar 2006, section 3.1.3), and ties take mean ranks. The
    distribution is exact for few pairs, and for up to 50 without ties or zeros; else it is the normal approximation.
    """
    values = np.asarray(gaps, dtype=float)
    if not np.any(values):
        return 1.0
    return float(stats.wilcoxon(values, zero_method="zsplit").pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number by Holm's step-down procedure, in the order given."""
    count = len(p_values)
    corrected, largest = [1.0] * count, 0.0
    for place, index in enumerate(sorted(range(count), key=lambda number: p_values[number])):
        largest = max(largest, min(1.0, (count - place) * p_values[index]))
        corrected[index] = largest
    return corrected


def cliffs_delta(first: ArrayLike, second: ArrayLike) -> float:
    """Return (#(first > second) - #(first < second)) / (n·m) over all pairs of values; NaN without any."""
    left, right = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if not len(left) or not len(right):
        return float("nan")
    return float(np.sign(np.round(left[:, None] - right[None, :], DIGITS)).mean())


def _median(values: NDArray[np.float64]) -> float:
    return float(np.median(values)) if len(values) else float("nan")
