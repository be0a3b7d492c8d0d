"""Centre and scale columns by the statistics of the train rows."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Standardiser:
    """Subtract a mean and divide by a scale, per column; both (F,)."""

    mean: Tensor
    scale: Tensor

    @classmethod
    def fit(cls, rows: Tensor, skip: int = 0) -> "Standardiser":
        """Learn from rows (N, F); the last `skip` columns and those that do not vary keep their scale."""
        mean, scale = rows.double().mean(dim=0), rows.double().std(dim=0, correction=0)
        still = scale <= 1e-12 * mean.abs().clamp(min=1)
        scale[still] = 1
        if skip:
            mean[-skip:], scale[-skip:] = 0, 1
        return cls(mean.float(), scale.float())

    def __call__(self, rows: Tensor) -> Tensor:
        """Return standardised rows (N, F)."""
        return (rows - self.mean) / self.scale

    def undo(self, rows: Tensor) -> Tensor:
        """Return rows (N, F) in their own unit again."""
        return rows * self.scale.to(rows.device) + self.mean.to(rows.device)

    def to_dict(self) -> dict[str, list[float]]:
        """Return mean and scale as plain lists."""
        return {"mean": self.mean.tolist(), "scale": self.scale.tolist()}
