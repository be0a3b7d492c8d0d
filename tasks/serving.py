"""From raw rows to a network's inputs: the rules of `Task.preparation` as a module, for any runtime."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kirigami.tasks.standardise import placed


class Filled(nn.Module):
    """Logs the numbers of a table, fills those that are missing, and marks them; all in float64.

    Args:
        rules: `columns`, `log1p`, `fill` and `indicators` of `Task.preparation`.
    """

    def __init__(self, rules: Mapping[str, Any]) -> None:
        super().__init__()
        self.columns: Sequence[str] = rules["columns"]
        self.indicators = [list(self.columns).index(name) for name in rules["indicators"]]
        logged = torch.tensor([name in rules["log1p"] for name in self.columns], dtype=torch.bool)
        self.register_buffer("logged", logged if bool(logged.any()) else None, persistent=False)
        self.register_buffer("fill", _short(rules["fill"]), persistent=False)

    def forward(self, rows: Tensor) -> Tensor:
        """Map raw rows (N, numbers and categories) to rows (N, numbers, marks and categories), float64."""
        numbers, flags = rows[:, : len(self.columns)], rows[:, len(self.columns) :]
        if not self.columns:
            return flags
        gaps = torch.isnan(numbers)
        if self.logged is not None:
            numbers = torch.where(self.logged, torch.log1p(numbers.clamp(min=0)), numbers)
        filled = torch.where(gaps, self.fill.double(), numbers)
        marks = [gaps[:, [index]].to(rows.dtype) for index in self.indicators]
        return torch.cat([filled, *marks, flags], dim=1)


class Preparation(nn.Module):
    """Turns raw samples into a network's inputs, as the task did in training.

    Images (n, c, h, w) of whole numbers are divided and standardised by channel. Rows of a table (n, columns), float64,
    numbers first and a 0/1 column for each category after them, are logged, filled where a number is missing, marked,
    scaled by column in float64, and cast to float32 then. Characters stay as they are.

    Args:
        rules: what `Task.preparation` returned.
    """

    def __init__(self, rules: Mapping[str, Any]) -> None:
        super().__init__()
        self.divide = float(rules.get("divide", 1))
        self.filled = Filled(rules) if "columns" in rules else None
        names = ("mean", "scale", "factor", "offset", "centre", "spread", "knots", "scores")
        for name, value in {**dict.fromkeys(names), **self._rules_of_scale(rules)}.items():
            self.register_buffer(name, value, persistent=False)

    def _rules_of_scale(self, rules: Mapping[str, Any]) -> dict[str, Tensor]:
        if "ranks" in rules:
            return (
                {} if not rules["ranks"]["knots"] else {key: _short(rules["ranks"][key]) for key in ("knots", "scores")}
            )
        statistics = rules.get("standardise")
        if statistics is None:
            return {}
        mean, scale = (torch.tensor(statistics[key]) for key in ("mean", "scale"))
        if "divide" in rules:
            mean, scale = mean.view(-1, 1, 1), scale.view(-1, 1, 1)
            return {"factor": 1 / (self.divide * scale), "offset": -mean / scale}
        if "picture" in rules:
            return {"centre": mean.view(-1, 1, 1), "spread": scale.view(-1, 1, 1)}
        return {key: _short(statistics[key]) for key in ("mean", "scale")}

    def forward(self, raw: Tensor) -> Tensor:
        """Return the inputs of the network."""
        if raw.dtype == torch.int64:
            return raw
        if self.factor is not None:
            return raw.float() * self.factor + self.offset
        if self.centre is not None:
            return (raw.float() - self.centre) / self.spread
        rows = raw if self.filled is None else self.filled(raw)
        if self.mean is not None:
            return ((rows.double() - self.mean.double()) / self.scale.double()).float()
        if self.knots is not None:
            count = len(self.knots)
            numbers = placed(rows[:, :count].double(), self.knots.double(), self.scores.double())
            return torch.cat([numbers, rows[:, count:]], dim=1).float()
        return rows.float() if self.divide == 1 else rows.float() / self.divide


class Unit(nn.Module):
    """Brings standardised values back to their own unit, in float64.

    Args:
        rules: `{mean, scale}` of `Task.preparation()["values"]`.
    """

    def __init__(self, rules: Mapping[str, Any]) -> None:
        super().__init__()
        self.register_buffer("mean", _short(rules["mean"]), persistent=False)
        self.register_buffer("scale", _short(rules["scale"]), persistent=False)

    def forward(self, outputs: Tensor) -> Tensor:
        """Return values (n, 1) in their own unit, float64."""
        return outputs.double() * self.scale.double() + self.mean.double()


def _short(values: Any) -> Tensor:
    """Return numbers as float32 where that holds them all, else as float64."""
    exact = torch.tensor(values, dtype=torch.float64)
    return exact.float() if torch.equal(exact.float().double(), exact) else exact
