"""Ridge regression from sums over batches, its strength chosen by generalised cross-validation, in float64.

With centred rows X (n, d) and targets Y (n, k), W = (XᵀX/n + λI)⁻¹ XᵀY/n, the intercept unpenalised (Hoerl & Kennard,
Technometrics 1970). Everything asked of it comes out of one eigendecomposition, of XᵀX/n or, where rows are fewer than
features, of XXᵀ/n: then the rows are smaller than the sums, and are buffered instead.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from kirigami.errors import ArgumentError

Errors = Callable[[Tensor], Tensor]
"""From strengths (s,) to the mean squared error, summed over targets, of each on the rows fitted."""

GRID = torch.logspace(-6, 3, 55, dtype=torch.float64)
"""Strengths that are tried, in units of the features' mean variance."""


@dataclass(frozen=True)
class Solution:
    """The result of a ridge regression.

    Attributes:
        weight: (k, d), float64.
        bias: (k,).
        ridge: its strength λ in units of the features' mean variance.
        degrees: degrees of freedom used, at most the number of rows.
        rows: n.
        spectrum: eigenvalues plus λ, (d,), and eigenvectors (d, d); None where the rows were buffered.
        mean: of the features, (d,).
        buffered: features (n, d), targets (n, k) and leverages (n,), where the rows were buffered.
    """

    weight: Tensor
    bias: Tensor
    ridge: float
    degrees: float
    rows: int
    mean: Tensor
    spectrum: tuple[Tensor, Tensor] | None = None
    buffered: tuple[Tensor, Tensor, Tensor] | None = None

    def outputs(self, features: Tensor) -> Tensor:
        """Map (R, d) to (R, k)."""
        return features @ self.weight.T + self.bias

    def left_out(self, features: Tensor, targets: Tensor, leverage: Tensor) -> Tensor:
        """Return the prediction for each row (R, d) by the solution without that row.

        y − (y − f(x)) / (1 − h), h the row's leverage (Allen's PRESS, Technometrics 1974): no refit is needed. It is
        exact for the rows fitted, at the same λn; under augmentation the rows are others, and it is nearly so.
        """
        gap = (targets - self.outputs(features)) / (1 - leverage).clamp(min=1e-9).unsqueeze(1)
        return targets - gap

    def leverage(self, features: Tensor) -> Tensor:
        """Return the leverage (R,) of rows (R, d) after a solution from sums."""
        assert self.spectrum is not None
        values, vectors = self.spectrum
        return (1 + ((features - self.mean) @ vectors).square() @ (1 / values)) / self.rows


class Moments:
    """Sums over rows: count, means, XᵀX, XᵀY, YᵀY; the rows themselves while they are at most as many as features."""

    def __init__(self) -> None:
        self.rows = 0
        self._rows: list[tuple[Tensor, Tensor]] = []
        self._sums: dict[str, Tensor] | None = None

    def add(self, features: Tensor, targets: Tensor) -> None:
        """Take in rows (R, d) and their targets (R, k)."""
        self.rows += len(features)
        self._rows.append((features.double(), targets.double()))
        if self._sums is not None or self.rows > features.shape[1]:
            self._fold()

    def _fold(self) -> None:
        """Add the buffered rows to the sums."""
        for features, targets in self._rows:
            now = {
                "x": features.sum(0),
                "y": targets.sum(0),
                "xx": features.T @ features,
                "xy": features.T @ targets,
                "yy": targets.square().sum(),
            }
            self._sums = now if self._sums is None else {key: part + now[key] for key, part in self._sums.items()}
        self._rows = []

    def solve(self, ridge: float | None = None) -> Solution:
        """Return the solution of this strength; None takes that of `GRID` with the least generalised cross-validation.

        Raises:
            ValueError: with fewer than two rows, or features that are no numbers.
        """
        if self.rows < 2:
            raise ValueError(f"a closed form needs at least 2 training rows, but got {self.rows}.")
        return self._from_rows(ridge) if self._sums is None else self._from_sums(ridge)

    def _from_sums(self, ridge: float | None) -> Solution:
        assert self._sums is not None
        means = {key: part / self.rows for key, part in self._sums.items()}
        covariance = means["xx"] - torch.outer(means["x"], means["x"])
        values, vectors = _spectrum(covariance)
        unit = values.mean().clamp(min=torch.finfo(values.dtype).tiny)
        slopes = vectors.T @ (means["xy"] - torch.outer(means["x"], means["y"]))  # (d, k)
        energy, total = slopes.square().sum(1), means["yy"] - means["y"].square().sum()

        def errors(strengths: Tensor) -> Tensor:
            raised = values + strengths[:, None]
            return total - (energy * (raised + strengths[:, None]) / raised.square()).sum(1)

        strength = self._strength(ridge, unit, values, errors)
        weight = (vectors @ (slopes / (values + strength)[:, None])).T
        return Solution(
            weight,
            means["y"] - weight @ means["x"],
            float(strength / unit),
            float(_degrees(values, strength[None])[0]),
            self.rows,
            means["x"],
            spectrum=(values + strength, vectors),
        )

    def _from_rows(self, ridge: float | None) -> Solution:
        features, targets = (torch.cat(parts) for parts in zip(*self._rows, strict=True))
        mean, offset = features.mean(0), targets.mean(0)
        centred = features - mean
        values, vectors = _spectrum(centred @ centred.T / self.rows)
        unit = (values.sum() / features.shape[1]).clamp(min=torch.finfo(values.dtype).tiny)
        turned = vectors.T @ (targets - offset)  # (n, k)
        energy = turned.square().sum(1) / self.rows

        def errors(strengths: Tensor) -> Tensor:
            return (energy * (strengths[:, None] / (values + strengths[:, None])).square()).sum(1)

        strength = self._strength(ridge, unit, values, errors)
        weight = (centred.T @ (vectors @ (turned / (values + strength)[:, None])) / self.rows).T
        leverage = 1 / self.rows + vectors.square() @ (values / (values + strength))
        return Solution(
            weight,
            offset - weight @ mean,
            float(strength / unit),
            float(_degrees(values, strength[None])[0]),
            self.rows,
            mean,
            buffered=(features, targets, leverage),
        )

    def _strength(self, ridge: float | None, unit: Tensor, values: Tensor, errors: Errors) -> Tensor:
        """Return λ: as asked, or the least of (RSS/n) / (1 − df/n)² (Golub, Heath & Wahba, Technometrics 1979)."""
        if ridge is not None:
            return ridge * unit
        strengths = GRID.to(values.device) * unit
        left = (1 - _degrees(values, strengths) / self.rows).clamp(min=1e-9)
        # What rounding leaves of an error of 0 would win against everything.
        smallest = 1e-12 * errors(strengths[-1:] * 1e9)
        return strengths[(errors(strengths).clamp(min=smallest) / left.square()).argmin()]


def _spectrum(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues, none below 0, and eigenvectors of a symmetric matrix."""
    if not bool(matrix.isfinite().all()):
        raise ArgumentError("", "the features of the training rows are not all finite. Scale the inputs.")
    values, vectors = torch.linalg.eigh(matrix)
    return values.clamp(min=0), vectors


def _degrees(values: Tensor, strengths: Tensor) -> Tensor:
    """Return the degrees of freedom of each strength, the intercept counted."""
    return 1 + (values / (values + strengths[:, None])).sum(1)
