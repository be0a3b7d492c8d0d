"""From raw rows to a network's inputs: the rules of `Task.preparation` as a module, for any runtime."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Preparation(nn.Module):
    """Turns raw samples into a network's inputs, as the task did in training.

    Images (n, c, h, w) of whole numbers are divided and standardised by channel. Rows of a table (n, columns), numbers
    first and a 0/1 column for each category after them, are logged, filled where a number is missing, marked, and
    standardised by column. Characters stay as they are.

    Args:
        rules: what `Task.preparation` returned.
    """

    def __init__(self, rules: Mapping[str, Any]) -> None:
        super().__init__()
        self.columns: Sequence[str] = rules.get("columns", ())
        self.divide = float(rules.get("divide", 1))
        self.indicators = [list(self.columns).index(name) for name in rules.get("indicators", ())]
        for name, value in {**self._rules_of_columns(rules), **self._rules_of_scale(rules)}.items():
            self.register_buffer(name, value, persistent=False)

    def _rules_of_columns(self, rules: Mapping[str, Any]) -> dict[str, Tensor | None]:
        logged = torch.tensor([name in rules.get("log1p", ()) for name in self.columns])
        return {
            "fill": torch.tensor(rules["fill"]) if self.columns else None,
            "logged": logged if self.columns and bool(logged.any()) else None,
        }

    def _rules_of_scale(self, rules: Mapping[str, Any]) -> dict[str, Tensor | None]:
        statistics = rules.get("standardise")
        if statistics is None:
            return {"mean": None, "scale": None, "factor": None, "offset": None}
        mean, scale = torch.tensor(statistics["mean"]), torch.tensor(statistics["scale"])
        if "picture" in rules:
            mean, scale = mean.view(-1, 1, 1), scale.view(-1, 1, 1)
        if "divide" not in rules:
            return {"mean": mean, "scale": scale, "factor": None, "offset": None}
        return {"mean": None, "scale": None, "factor": 1 / (self.divide * scale), "offset": -mean / scale}

    def forward(self, raw: Tensor) -> Tensor:
        """Return the inputs of the network."""
        if raw.dtype == torch.int64:
            return raw
        rows = raw.float()
        if self.fill is not None:
            rows = self._filled(rows)
        if self.factor is not None:
            return rows * self.factor + self.offset
        if self.mean is not None:
            return (rows - self.mean) / self.scale
        return rows if self.divide == 1 else rows / self.divide

    def _filled(self, rows: Tensor) -> Tensor:
        numbers, flags = rows[:, : len(self.columns)], rows[:, len(self.columns) :]
        gaps = torch.isnan(numbers) | torch.isinf(numbers)
        if self.logged is not None:
            numbers = torch.where(self.logged, torch.log1p(numbers.clamp(min=0)), numbers)
        filled = torch.where(gaps, self.fill, numbers)
        marks = [gaps[:, [index]].to(rows.dtype) for index in self.indicators]
        return torch.cat([filled, *marks, flags], dim=1)


class Unit(nn.Module):
    """Brings standardised values back to their own unit.

    Args:
        rules: `{mean, scale}` of `Task.preparation()["values"]`.
    """

    def __init__(self, rules: Mapping[str, Any]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(rules["mean"]), persistent=False)
        self.register_buffer("scale", torch.tensor(rules["scale"]), persistent=False)

    def forward(self, outputs: Tensor) -> Tensor:
        """Return values (n, 1) in their own unit."""
        return outputs * self.scale + self.mean
