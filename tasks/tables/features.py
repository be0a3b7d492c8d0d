"""The columns that a network learns from, as numbers: the same for a row whatever stands beside it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kirigami.errors import ArgumentError, knob
from kirigami.tasks.tables import dates
from kirigami.tasks.tables.cells import Frame, complaint
from kirigami.tasks.tables.columns import Reading, Rule, rule_of, unreadable

GAP = ""
"""The category of an empty cell."""
MISSING = ("median", "mean", "zero", "error")
MISSING_CATEGORY = ("own", "frequent")
_MOST_CATEGORIES = 100
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Category:
    """A column of categories, and those that the train rows have, in order; GAP is one where they have gaps.

    Attributes:
        instead: the category that an empty cell counts as; None is none of its own.
    """

    rule: Rule
    values: tuple[str, ...]
    instead: str | None = None

    def places(self, frame: Frame) -> NDArray[np.int64]:
        """Return the place of each cell's category (N,); -1 where training did not have it."""
        place = {value: number for number, value in enumerate(self.values)}
        if self.instead is not None:
            place[GAP] = place[self.instead]
        keys = self.rule.keys(frame.columns[self.rule.name])
        return np.fromiter((place.get(key, -1) for key in keys), dtype=np.int64, count=len(keys))


@dataclass(frozen=True)
class Features:
    """The columns to learn from, and what their cells are.

    Attributes:
        reading: how files are read.
        numbers: the rules of columns of numbers, in order.
        categories: the columns of categories, in order.
        is_strict: whether an empty cell is an error.
    """

    reading: Reading
    numbers: tuple[Rule, ...]
    categories: tuple[Category, ...]
    is_strict: bool = False

    @classmethod
    def fit(
        cls,
        frame: Frame,
        rules: Mapping[str, Rule],
        reading: Reading,
        *,
        missing: str = "median",
        missing_category: str = "own",
    ) -> "Features":
        """Learn from train rows which categories there are.

        Raises:
            ArgumentError: for a column that cannot be learnt from.
        """
        numbers = tuple(rule for rule in rules.values() if not rule.is_category)
        categories = tuple(_category(rule, frame, missing_category) for rule in rules.values() if rule.is_category)
        if not rules:
            raise ArgumentError("drop", "leaves no column to learn from. Drop fewer.")
        return cls(reading, numbers, categories, missing == "error")

    @property
    def columns(self) -> tuple[str, ...]:
        """Name the columns that a file must have."""
        return tuple(rule.name for rule in (*self.numbers, *(category.rule for category in self.categories)))

    @property
    def names(self) -> tuple[str, ...]:
        """Name the columns of the result: a category as `colour=red`, that of an empty cell as `colour missing`."""
        one_hot = (
            f"{category.rule.name}={value}" if value else f"{category.rule.name} missing"
            for category in self.categories
            for value in category.values
        )
        return (*(rule.name for rule in self.numbers), *one_hot)

    def raw(self, frame: Frame, where: str) -> NDArray[np.float64]:
        """Return float64 rows (N, F): numbers, NaN where one is missing, then 0/1 for each category of the train rows.

        Raises:
            ArgumentError: naming file, row and cell, where one cannot be read by the column's rule.
        """
        self._require_columns(frame, where)
        blocks = [self._numbers(rule, frame, where)[:, None] for rule in self.numbers]
        for category in self.categories:
            self._require_full(category, frame, where)
            blocks.append(category.places(frame)[:, None] == np.arange(len(category.values))[None, :])
        return np.concatenate(blocks, axis=1).astype(np.float64)

    def _require_columns(self, frame: Frame, where: str) -> None:
        lacking = [name for name in self.columns if name not in frame.columns]
        if lacking:
            needed = ", ".join(self.columns)
            raise complaint(where, f"{frame.files[0]!r} has no column {lacking[0]!r}. It needs ({needed}).")

    def _numbers(self, rule: Rule, frame: Frame, where: str) -> NDArray[np.float64]:
        values = rule.floats(frame, where)
        wrong = np.flatnonzero((np.abs(values) > LARGEST) | (self.is_strict & np.isnan(values)))
        if len(wrong):
            row = int(wrong[0])
            cell = frame.columns[rule.name].take(np.array([row])).texts()[0]
            if np.isnan(values[row]):
                raise _empty(where, frame, row, rule.name)
            raise complaint(
                where, f"{frame.place(row)}: {cell!r} in the column {rule.name!r} is not finite in float32."
            )
        return values

    def _require_full(self, category: Category, frame: Frame, where: str) -> None:
        cells = frame.columns[category.rule.name]
        if cells.kind == "unread":
            raise unreadable(where, category.rule.name, cells.type)
        if self.is_strict and GAP in (keys := category.rule.keys(cells)):
            raise _empty(where, frame, keys.index(GAP), category.rule.name)

    def unseen(self, frame: Frame) -> list[str]:
        """Say of each column how many of its categories training did not have; they count as none of the known."""
        lines = []
        for category in self.categories:
            rows = np.flatnonzero(category.places(frame) < 0)
            if len(rows):
                cell, place = frame.columns[category.rule.name].take(rows[:1]).texts()[0], frame.place(int(rows[0]))
                cells = "1 cell" if len(rows) == 1 else f"{len(rows)} cells"
                example = f"such as {cell!r}, {place}" if cell else f"empty, {place}"
                lines.append(f"{category.rule.name!r} has {cells} of a category that training did not have ({example})")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return the rules as plain values, those that are as usual left out."""
        rules = {
            rule.name: rule.to_dict() for rule in (*self.numbers, *(category.rule for category in self.categories))
        }
        reader = {
            "separator": self.reading.separator,
            "encoding": self.reading.encoding,
            "missing_words": None if self.reading.missing_words is None else list(self.reading.missing_words),
            "rules": {name: rule for name, rule in rules.items() if rule},
            "instead": {part.rule.name: part.instead for part in self.categories if part.instead is not None},
            "strict": self.is_strict,
        }
        return {
            "columns": [rule.name for rule in self.numbers],
            "categories": {category.rule.name: list(category.values) for category in self.categories},
            "reader": {key: value for key, value in reader.items() if value not in (None, {}, False)},
        }

    @classmethod
    def from_dict(cls, rules: Mapping[str, Any]) -> "Features":
        """Rebuild from the dict of `to_dict`."""
        reader = rules["reader"]
        words = reader.get("missing_words")
        reading = Reading(
            separator=reader.get("separator"),
            encoding=reader.get("encoding"),
            missing_words=None if words is None else tuple(words),
        )
        written, instead = reader.get("rules", {}), reader.get("instead", {})
        return cls(
            reading,
            tuple(rule_of(name, "number", written.get(name, {}), reading) for name in rules["columns"]),
            tuple(
                Category(rule_of(name, "category", written.get(name, {}), reading), tuple(values), instead.get(name))
                for name, values in rules["categories"].items()
            ),
            reader.get("strict", False),
        )


def _empty(where: str, frame: Frame, row: int, name: str) -> Exception:
    problem = f"{frame.place(row)}: the column {name!r} is empty, and missing is error."
    return complaint(where, problem, ("missing", "median"))


def _reason(texts: Sequence[str]) -> str:
    """Say what many different texts look like, and begin to say what to do."""
    if 2 * sum(bool(dates.orders([text])) for text in texts) > len(texts):
        return "which are dates, but not in one form: write them all as 2026-12-31, or"
    return "so it looks like a name rather than a category:"


def _category(rule: Rule, frame: Frame, missing: str) -> Category:
    counts = Counter(rule.keys(frame.columns[rule.name]))
    gaps = counts.pop(GAP, 0)
    if len(counts) > min(_MOST_CATEGORIES, max(20, len(frame) // 2)):
        raise ArgumentError(
            "drop",
            f": the column {rule.name!r} holds {len(counts)} different texts in {len(frame)} rows, such as "
            f"{next(iter(counts))!r}, {_reason(list(counts))} add it to {knob('drop')}.",
        )
    instead = min(counts, key=lambda value: (-counts[value], value)) if missing == "frequent" and counts else None
    values: Sequence[str] = sorted(counts)
    return Category(rule, tuple([GAP, *values] if gaps and instead is None else values), instead)
