"""How a column writes its numbers, and what number a cell is: a function of the cell alone."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_EMPTY = "? - -- --- – — . .. na n/a #n/a #na <na> nan -nan null none nil #null! #div/0! #value! #ref! #num! #name?"
GAPS = frozenset(["", "#n/a n/a", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan", *_EMPTY.split()])
"""Words that stand for no number, in small letters."""
WORDS = {"true": 1.0, "false": 0.0}
_INFINITIES = {"inf": math.inf, "infinity": math.inf, "∞": math.inf}
_ALIKE = str.maketrans({"−": "-", "\u00a0": " ", "\u2007": " ", "\u2009": " ", "\u202f": " ", "’": "'"})
_CODES = "USD|EUR|GBP|CHF|JPY|CNY|INR|RUB|SEK|NOK|DKK|PLN|CZK|HUF|BRL|MXN|CAD|AUD|NZD|TRY|ZAR|KRW"
_UNIT = rf"(?:R\$|[$€£¥₹₽₩₺₪₴฿¢%‰]|{_CODES}|kr\.?|zł|Kč|Fr\.)"
_CELL = re.compile(rf"([-+]?)\s*({_UNIT}?)\s*([-+]?)\s*([\d.,' ]*\d[\d.,' ]*(?:[eE][-+]?\d+)?)\s*({_UNIT}?)")
_FOREIGN = re.compile(r"[^0-9eE+\-.\n]")


@dataclass(frozen=True)
class Notation:
    """How numbers are written: the mark before decimals, that between thousands, and the unit beside each number."""

    decimal: str = "."
    thousands: str = ""
    unit: str = ""

    @property
    def example(self) -> str:
        """Write 1234.5 so."""
        return f"1{self.thousands}234{self.decimal}5 {self.unit}".strip()


PLAIN = Notation()


class Doubtful(NamedTuple):
    """A cell that two notations read as different numbers."""

    cell: str
    readings: tuple[tuple[Notation, float], ...]


def notations(decimal: str | None, thousands: str | None) -> list[Notation]:
    """Return the notations to choose from, the likelier first, where the knobs leave a choice."""
    pairs = [(point, group) for group in ("", " ", "'", ",", ".") for point in (".", ",") if group != point]
    if decimal is None and thousands is None:
        return [Notation(*pair) for pair in pairs]
    point = decimal or ("," if thousands == "." else ".")
    groups = [""] if thousands is None else ["", thousands]
    return [Notation(point, group) for group in groups if group != point]


def learn(cells: Iterable[str], decimal: str | None, thousands: str | None) -> Notation | Doubtful | None:
    """Return the notation of all cells (none of them a gap); None where they are not numbers.

    Of several notations that fit, one is chosen only where all read the same numbers, or where one is the plain one.
    """
    distinct = [cell for cell in dict.fromkeys(cells) if not _is_infinite(cell)]
    if decimal in (None, ".") and thousands != "." and _plain_floats(distinct) is not None:
        return PLAIN
    parts = [_split(cell) for cell in distinct]
    if not all(parts):
        return None
    units = {part[1] for part in parts if part is not None}
    unit = max(units, key=len, default="")
    if len(units - {""}) > 1 or (units == {"", unit} and unit in ("%", "‰")):
        return None
    fitting = [replace(notation, unit=unit) for notation in notations(decimal, thousands)]
    fitting = [notation for notation in fitting if all(number(cell, notation) is not None for cell in distinct)]
    if not fitting or (fitting[0].decimal, fitting[0].thousands) == (".", ""):
        return fitting[0] if fitting else None
    return next((doubt for cell in distinct if (doubt := doubtful(cell, fitting)) is not None), fitting[0])


def doubtful(cell: str, fitting: Sequence[Notation]) -> Doubtful | None:
    """Return what a cell may be where the notations do not agree on it."""
    readings = tuple((notation, value) for notation in fitting if (value := number(cell, notation)) is not None)
    return Doubtful(cell, readings) if len({value for _, value in readings}) > 1 else None


def looks_like_number(cell: str) -> bool:
    """Return whether a cell is written with digits, marks, signs and units alone."""
    return _split(cell) is not None or _is_infinite(cell)


def number(cell: str, notation: Notation = PLAIN) -> float | None:
    """Return the number that a cell is, or None; words such as inf are infinite."""
    if _is_infinite(cell):
        return -math.inf if cell.startswith(("-", "−")) else math.inf
    part = _split(cell)
    if part is None or (part[1] != notation.unit and (part[1] or notation.unit in ("%", "‰"))):
        return None
    sign, _, body = part
    digits, _, power = body.lower().partition("e")
    if not _fits(digits, notation.decimal, notation.thousands):
        return None
    plain = digits.replace(notation.thousands, "") if notation.thousands else digits
    value = float(plain.replace(notation.decimal, ".") + (f"e{power}" if power else ""))
    return -value if sign == "-" else value


def floats(
    cells: Sequence[str], notation: Notation, words: frozenset[str], extra: dict[str, float]
) -> NDArray[np.float64]:
    """Return the numbers of a column's cells (N,), NaN for a gap.

    Args:
        cells: texts.
        notation: of the column.
        words: that stand for nothing, in small letters.
        extra: numbers of words, such as true.

    Raises:
        LookupError: with the place of the first cell that is no number.
    """
    plain = _plain_floats(cells) if notation == PLAIN else None
    if plain is not None:
        return np.array(plain)
    values = {cell: _value(cell, notation, words, extra) for cell in dict.fromkeys(cells)}
    for place, cell in enumerate(cells):
        if values[cell] is None:
            raise LookupError(place)
    return np.array([values[cell] for cell in cells], dtype=np.float64)


def _plain_floats(cells: Sequence[str]) -> list[float] | None:
    """Return the numbers of cells, NaN for an empty one; None where one is not plainly a number. It is quick."""
    if _FOREIGN.search("\n".join(cells)):
        return None
    try:
        return [float(cell) if cell else math.nan for cell in cells]
    except ValueError:
        return None  # a lone sign or point, or a gap such as "-"


def _value(cell: str, notation: Notation, words: frozenset[str], extra: dict[str, float]) -> float | None:
    small = cell.casefold()
    if not cell or small in words:
        return math.nan
    return extra[small] if small in extra else number(cell, notation)


def _split(cell: str) -> tuple[str, str, str] | None:
    """Part a cell into sign, unit and the rest; None where it is no number in any notation."""
    match = _CELL.fullmatch(cell.translate(_ALIKE).strip())
    if match is None or (match[1] and match[3]) or (match[2] and match[5]):
        return None
    return match[1] or match[3], (match[2] or match[5]).strip(), match[4].strip()


def _fits(digits: str, decimal: str, thousands: str) -> bool:
    whole = rf"(?:\d*|[1-9]\d{{0,2}}(?:{re.escape(thousands)}\d{{3}})+)" if thousands else r"\d*"
    return re.fullmatch(rf"{whole}(?:{re.escape(decimal)}\d*)?", digits) is not None and any(map(str.isdigit, digits))


def _is_infinite(cell: str) -> bool:
    return cell.lstrip("+-−").casefold() in _INFINITIES
