"""Centre and scale columns by the statistics of the train rows, in float64, and give float32."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

SCALES = ("standard", "robust", "ranks")
KNOTS = 33
AT_ONCE = 4096
LAST_DIGITS = 2.0**-50  # of float64: columns that differ by less hold one number
_NORMAL_QUARTILES = 1.3489795  # between the quartiles of a normal distribution of deviation 1


@dataclass(frozen=True)
class Standardiser:
    """Subtract a mean and divide by a scale, per column; both float64 (F,), and such that float32 holds them if it can.

    What a column loses in the cast it loses of its own spread, not of its distance from zero.
    """

    mean: Tensor
    scale: Tensor

    @classmethod
    def fit(cls, rows: Tensor, skip: int = 0, *, is_robust: bool = False) -> "Standardiser":
        """Learn from rows (N, F); the last `skip` columns and those that do not vary keep their scale.

        Robust: the median for the mean, and for the deviation the distance of the quartiles, in units of a normal
        distribution's; where that is 0 the deviation.
        """
        rows = rows.double()
        mean, scale = rows.mean(dim=0), rows.std(dim=0, correction=0)
        rounding = LAST_DIGITS * rows.abs().amax(dim=0)
        if is_robust:
            low, mean, high = (_quantile(rows, share) for share in (0.25, 0.5, 0.75))
            distance = (high - low) / _NORMAL_QUARTILES
            scale = torch.where(distance > rounding, distance, scale)
        scale[(rows.amax(dim=0) - rows.amin(dim=0) <= rounding) | (scale == 0)] = 1
        if skip:
            mean[-skip:], scale[-skip:] = 0, 1
        return cls(_shorter(mean, scale), _shorter(scale, scale))

    def __call__(self, rows: Tensor) -> Tensor:
        """Return standardised rows (N, F), float32."""
        return ((rows.double() - self.mean) / self.scale).float()

    def undo(self, rows: Tensor) -> Tensor:
        """Return rows (N, F) in their own unit again, float64."""
        return rows.cpu().double() * self.scale + self.mean

    def to_dict(self) -> dict[str, list[float]]:
        """Return mean and scale as plain lists."""
        return {"mean": self.mean.tolist(), "scale": self.scale.tolist()}


@dataclass(frozen=True)
class Ranks:
    """Bring each number to the place of its rank in a normal distribution; the columns after them stay as they are.

    Between at most 33 quantiles of the train rows a straight line; below the least and above the greatest the same.

    Attributes:
        knots: (F, K) in rising order, the last one repeated.
        scores: (F, K) of the knots.
    """

    knots: Tensor
    scores: Tensor

    @classmethod
    def fit(cls, rows: Tensor, skip: int = 0) -> "Ranks":
        """Learn from rows (N, F), but for the last `skip` columns."""
        columns = [_knots(column) for column in rows.double().T[: rows.shape[1] - skip]]
        length = max([2, *(len(knots) for knots, _ in columns)])
        padded = [
            torch.stack([torch.cat([part, part[-1:].expand(length - len(part))]) for part in pair]) for pair in columns
        ]
        both = torch.stack(padded) if padded else torch.zeros(0, 2, length, dtype=torch.float64)
        return cls(both[:, 0], both[:, 1])

    def __call__(self, rows: Tensor) -> Tensor:
        """Return rows (N, F), float32."""
        return torch.cat([self._part(part.double()) for part in rows.split(AT_ONCE)]).float()

    def _part(self, rows: Tensor) -> Tensor:
        count = len(self.knots)
        return torch.cat([placed(rows[:, :count], self.knots, self.scores), rows[:, count:]], dim=1)

    def to_dict(self) -> dict[str, list[list[float]]]:
        """Return knots and scores as plain lists."""
        return {"knots": self.knots.tolist(), "scores": self.scores.tolist()}


def placed(rows: Tensor, knots: Tensor, scores: Tensor) -> Tensor:
    """Return the value of a broken line through (knots, scores), both (F, K), at each number of rows (N, F)."""
    widths = knots.diff(dim=1)
    widths = torch.where(widths > 0, widths, torch.ones_like(widths))
    shares = ((rows.unsqueeze(-1) - knots[:, :-1]) / widths).clamp(0, 1)
    return scores[:, 0] + (shares * scores.diff(dim=1)).sum(dim=-1)


def fit_scale(name: str, rows: Tensor, skip: int) -> Standardiser | Ranks:
    """Learn the scale of that name from rows (N, F), of which the last `skip` columns stay as they are."""
    return Ranks.fit(rows, skip) if name == "ranks" else Standardiser.fit(rows, skip, is_robust=name == "robust")


def holds(short: Tensor, exact: Tensor) -> bool:
    """Return whether float32 rows (N, ...) are exact ones but for what is little beside the spread of each column."""
    if short.dtype == exact.dtype or not len(exact):
        return True
    error = (short.double() - exact).abs().flatten(1).amax(dim=0)
    spread = exact.flatten(1).amax(dim=0) - exact.flatten(1).amin(dim=0)
    return bool((error <= 1e-6 * spread).all())


def scale_from(rules: Mapping[str, Any]) -> Standardiser | Ranks | None:
    """Rebuild what `standardise` or `ranks` of the rules of a task's preparation say; None where neither is there."""
    if "ranks" in rules:
        return Ranks(*(torch.tensor(rules["ranks"][key], dtype=torch.float64) for key in ("knots", "scores")))
    if "standardise" in rules:
        return Standardiser(
            *(torch.tensor(rules["standardise"][key], dtype=torch.float64) for key in ("mean", "scale"))
        )
    return None


def _knots(column: Tensor) -> tuple[Tensor, Tensor]:
    """Return at most 33 values of a column (N,) and their places in a normal distribution, by their middle ranks."""
    values = column.sort().values
    at = torch.linspace(0, len(values) - 1, KNOTS, dtype=torch.float64).round().long()
    distinct = values.unique()
    knots = distinct if len(distinct) <= KNOTS else values[at].unique()
    below, upto = torch.searchsorted(values, knots), torch.searchsorted(values, knots, right=True)
    scores = torch.special.ndtri((below + upto).double() / (2 * len(values)))
    return knots, scores.float().double()


def _shorter(values: Tensor, unit: Tensor) -> Tensor:
    """Return what float32 holds of values where that is as good, which makes files smaller; all (F,)."""
    short = values.float().double()
    return torch.where((short - values).abs() <= 1e-6 * unit, short, values)


def _quantile(rows: Tensor, share: float) -> Tensor:
    return (
        rows.quantile(share, dim=0) if rows.numel() <= 2**24 else rows.sort(dim=0).values[int(share * (len(rows) - 1))]
    )
