"""The rule of a column: whether it is numbers, dates or categories; learnt from all train cells, applied to any."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kirigami.errors import knob
from kirigami.tasks.tables import dates, numbers
from kirigami.tasks.tables.cells import Cells, Frame, complaint
from kirigami.tasks.tables.numbers import PLAIN, Doubtful, Notation

FEW = 20  # different texts that may be categories, though most of them look like numbers
_WHOLE = re.compile(r"([+-]?\d+)\.0+")
_READ = "numbers, decimals, booleans, dates and texts are"


@dataclass(frozen=True)
class Reading:
    """The knobs of how files are read; None is found out from the train file.

    Attributes:
        separator: between cells.
        decimal: the mark before decimals.
        thousands: the mark between groups of three digits.
        encoding: of the file.
        missing_words: what stands for nothing in every column, in small letters. None: an empty cell does, and in
            columns of numbers and dates the usual words, such as NA.
    """

    separator: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    encoding: str | None = None
    missing_words: tuple[str, ...] | None = None

    @property
    def number_gaps(self) -> frozenset[str]:
        """The words that stand for no number or date."""
        return numbers.GAPS if self.missing_words is None else frozenset(self.missing_words)

    @property
    def gap_numbers(self) -> list[float]:
        """The numbers that stand for nothing, such as -999, however a file writes them."""
        values = (numbers.number(word) for word in self.missing_words or ())
        return [value for value in values if value is not None]

    @property
    def text_gaps(self) -> frozenset[str]:
        """The words that stand for no category."""
        return frozenset(self.missing_words or ())


@dataclass(frozen=True)
class Rule:
    """How the cells of a column are read, each by itself.

    Attributes:
        kind: "number", "boolean" (a number; true is 1), "date" (seconds since 1970) or "category".
        order: of day, month and year.
        says_words: whether booleans are written as words, True and False.
    """

    name: str
    kind: str
    notation: Notation = PLAIN
    order: str = ""
    says_words: bool = False
    reading: Reading = Reading()

    @property
    def is_category(self) -> bool:
        """Whether cells are names rather than numbers."""
        return self.kind == "category"

    def floats(self, frame: Frame, where: str) -> NDArray[np.float64]:
        """Return the numbers of the column (N,), NaN where a cell is empty.

        Raises:
            ArgumentError: naming file, row and cell, where one is no number.
        """
        cells = frame.columns[self.name]
        if cells.kind != "text":
            self._require_readable(frame, where)
            return self._without_gaps(np.array(cells.values, dtype=np.float64))
        try:
            if self.kind == "date":
                return self._seconds(cells)
            words = numbers.WORDS if self.kind == "boolean" else {}
            return self._without_gaps(
                numbers.floats(cells.values.tolist(), self.notation, self.reading.number_gaps, words)
            )
        except LookupError as error:
            row = int(error.args[0])
            raise self._unread(frame, row, where) from None

    def _without_gaps(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        values[np.isin(values, self.reading.gap_numbers)] = np.nan
        return values

    def _require_readable(self, frame: Frame, where: str) -> None:
        """Refuse cells whose type is another kind than that of the train rows."""
        cells = frame.columns[self.name]
        if cells.kind == "unread":
            raise unreadable(where, self.name, cells.type)
        alike = {"date": ("date",), "number": ("number",)}.get(self.kind, ("number", "boolean"))
        if cells.kind not in alike and not np.isnan(cells.values.astype(float)).all():
            row = int(np.flatnonzero(~np.isnan(cells.values.astype(float)))[0])
            raise self._unread(frame, row, where)

    def _seconds(self, cells: Cells) -> NDArray[np.float64]:
        values: dict[str, float | None] = {
            cell: np.nan if cell.casefold() in self.reading.number_gaps or not cell else dates.seconds(cell, self.order)
            for cell in dict.fromkeys(cells.values)
        }
        for place, cell in enumerate(cells.values):
            if values[cell] is None:
                raise LookupError(place)
        return np.array([values[cell] for cell in cells.values], dtype=np.float64)

    def _unread(self, frame: Frame, row: int, where: str) -> Exception:
        cell = frame.columns[self.name].take(np.array([row])).texts()[0]
        what = {"date": "date", "boolean": "number"}.get(self.kind, self.kind)
        return complaint(
            where, f"{frame.place(row)}: {cell!r} in the column {self.name!r} is no {what}, as {self._wanted()}."
        )

    def _wanted(self) -> str:
        plain = "all train rows have there"
        return plain if self.notation == PLAIN else f"{plain} (written like {self.notation.example})"

    def keys(self, cells: Cells) -> list[str]:
        """Return the category of each cell, "" where it is empty: blanks at the ends and the .0 of 1.0 do not count."""
        texts = {text: self._key(text) for text in set(cells.texts())}
        return [texts[text] for text in cells.texts()]

    def _key(self, text: str) -> str:
        match = _WHOLE.fullmatch(text)
        key = match[1] if match else text
        return "" if {text.casefold(), key.casefold()} & self.reading.text_gaps else key

    def to_dict(self) -> dict[str, Any]:
        """Return what is not as usual, as plain values."""
        written = {"kind": self.kind if self.kind in ("boolean", "date") else "", "order": self.order}
        written |= {"thousands": self.notation.thousands, "unit": self.notation.unit}
        written |= {"decimal": "" if self.notation.decimal == "." else self.notation.decimal}
        return {key: value for key, value in written.items() if value}


def rule_of(name: str, kind: str, written: Mapping[str, Any], reading: Reading) -> Rule:
    """Rebuild a rule from the dict of `Rule.to_dict`; `kind` is "number" or "category"."""
    notation = Notation(written.get("decimal", "."), written.get("thousands", ""), written.get("unit", ""))
    kind = written.get("kind", kind)
    return Rule(name, kind, notation, written.get("order", ""), reading=reading)


def unreadable(where: str, name: str, kind: str) -> Exception:
    """Return the error for a column of a type that no rule reads."""
    advice = f" Add it to {knob('drop')}." if where == "train" else ""
    return complaint(where, f"the column {name!r} is of the type {kind}, which is not read ({_READ}).{advice}")


def learn_all(frame: Frame, reading: Reading) -> dict[str, Rule]:
    """Return the rule of every column by all of its cells.

    Raises:
        ArgumentError: naming a value and the knob, where numbers or dates may be read in more than one way.
    """
    rules = {name: learn(name, frame, reading) for name in frame.names}
    if reading.decimal is None and any(rule.notation.decimal == "," for rule in rules.values()):
        for name, rule in rules.items():
            if rule.kind == "number" and rule.notation.decimal == "." and frame.columns[name].kind == "text":
                _require_points_for_decimals(name, frame, rule)
    return rules


def _require_points_for_decimals(name: str, frame: Frame, rule: Rule) -> None:
    """Refuse 1.234 beside a column with decimal commas, where all cells may as well have points between thousands."""
    unit = rule.notation.unit
    fitting = [rule.notation, Notation(",", ".", unit)]
    present = [
        cell for cell in dict.fromkeys(frame.columns[name].values) if numbers.number(cell, rule.notation) is not None
    ]
    if all(numbers.number(cell, fitting[1]) is not None for cell in present):
        doubt = next((doubt for cell in present if (doubt := numbers.doubtful(cell, fitting)) is not None), None)
        if doubt is not None:
            raise in_doubt(name, frame, doubt)


def learn(name: str, frame: Frame, reading: Reading) -> Rule:
    """Return the rule of a column by all of its cells.

    Raises:
        ArgumentError: naming a value and the knob, where numbers or dates may be read in more than one way.
    """
    cells = frame.columns[name]
    if cells.kind == "unread":
        raise unreadable("train", name, cells.type)
    if cells.kind != "text":
        kind = "boolean" if cells.kind == "number" and _is_flag(cells.values) else cells.kind
        return Rule(
            name, kind, order="ymd" if kind == "date" else "", says_words=cells.kind == "boolean", reading=reading
        )
    present = [cell for cell in dict.fromkeys(cells.values) if cell and cell.casefold() not in reading.number_gaps]
    if not present:
        return Rule(name, "number", reading=reading)
    if all(cell.casefold() in numbers.WORDS or numbers.number(cell) in (0.0, 1.0) for cell in present):
        return Rule(
            name, "boolean", says_words=any(cell.casefold() in numbers.WORDS for cell in present), reading=reading
        )
    notation = numbers.learn(present, reading.decimal, reading.thousands)
    if isinstance(notation, Doubtful):
        raise in_doubt(name, frame, notation)
    if notation is not None:
        return Rule(name, "number", notation, reading=reading)
    orders = dates.orders(present)
    if len(orders) > 1:
        raise _day_or_month(name, frame, present[0])
    if orders:
        return Rule(name, "date", order=orders[0], reading=reading)
    _require_no_numbers(name, frame, present)
    return Rule(name, "category", reading=reading)


def _is_flag(values: NDArray[Any]) -> bool:
    values = values[~np.isnan(values)]
    return bool(len(values)) and bool(np.isin(values, (0.0, 1.0)).all())


def in_doubt(name: str, frame: Frame, doubt: Doubtful) -> Exception:
    """Return the error for a column whose numbers can be read in two ways."""
    row = list(frame.columns[name].values).index(doubt.cell)
    first: dict[float, Notation] = {}
    for notation, value in doubt.readings:
        first.setdefault(value, notation)
    meanings = " or ".join(f"{value:.15g} ({_knob(notation)})" for value, notation in first.items())
    return complaint("train", f"{frame.place(row)}: {doubt.cell!r} in the column {name!r} may be {meanings}. Set one.")


def _knob(notation: Notation) -> str:
    if notation.thousands:
        return f"{knob('thousands')}={notation.thousands}"
    return f"{knob('decimal')}={notation.decimal}"


def _day_or_month(name: str, frame: Frame, cell: str) -> Exception:
    row = list(frame.columns[name].values).index(cell)
    return complaint(
        "drop",
        f"{frame.place(row)}: {cell!r} in the column {name!r} may begin with the day or with the month. Write dates as "
        f"2026-12-31, or add the column to {knob('drop')}.",
    )


def _require_no_numbers(name: str, frame: Frame, present: list[str]) -> None:
    """Refuse a column of many different numbers of which some cannot be read."""
    alike = [cell for cell in present if numbers.looks_like_number(cell)]
    if len(present) <= FEW or 2 * len(alike) <= len(present):
        return
    other = next((cell for cell in present if cell not in alike), None)
    cell = other or next((cell for cell in present if numbers.number(cell) is None), present[0])
    row = list(frame.columns[name].values).index(cell)
    if other is None:
        usual = next(text for text in present if text != cell)
        raise complaint(
            "train",
            f"{frame.place(row)}: {cell!r} in the column {name!r} is not written as others are, such as {usual!r}. "
            f"Make them alike, set {knob('decimal')} or {knob('thousands')}, or add the column to {knob('drop')}.",
        )
    raise complaint(
        "train",
        f"{frame.place(row)}: {cell!r} in the column {name!r} is no number, as most are there. Mend it, or say that it "
        f"stands for nothing: {knob('missing_words')}=[{cell}].",
    )
