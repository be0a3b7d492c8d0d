"""Turn the target column of a table into the targets of a network: class numbers, or values."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kirigami.errors import ArgumentError, did_you_mean, knob
from kirigami.tasks.tables.cells import Frame, complaint
from kirigami.tasks.tables.columns import Rule
from kirigami.tasks.tables.numbers import number

KINDS = ("auto", "classes", "values")
_COMPARISONS = {
    ">=": np.greater_equal,
    "<=": np.less_equal,
    "==": np.equal,
    "!=": np.not_equal,
    ">": np.greater,
    "<": np.less,
}
_MOST_CLASSES = 20


@dataclass(frozen=True)
class Labeller:
    """The rules from a target column to targets: how its cells are read, its kind, and the names of its classes.

    Attributes:
        classes: in order; those of numbers are sorted as numbers. None for values.
        positive: the condition of a positive row.
    """

    rule: Rule
    kind: str
    classes: tuple[str, ...] | None
    positive: str | None

    @classmethod
    def fit(cls, frame: Frame, rule: Rule, positive: str | None, kind: str) -> "Labeller":
        """Decide from the train rows.

        Raises:
            ArgumentError: where the column is empty in places, holds one class only, or is nothing to learn.
        """
        if rule.kind == "date":
            raise ArgumentError("target", f": {rule.name!r} holds dates. Take a column of numbers or of classes.")
        _require_full(frame, rule, "target")
        if positive is not None:
            return cls._of_condition(frame, rule, positive)
        if (kind == "auto" and _guess(frame, rule) == "values") or kind == "values":
            if rule.is_category:
                raise ArgumentError(
                    "kind", f"must be classes, but got 'values': the target {rule.name!r} is not a number."
                )
            return cls(rule, "values", None, None)
        classes = _classes(frame, rule)
        if len(classes) < 2:
            raise ArgumentError(
                "target", f": {rule.name!r} is {classes[0]} in every train row, but two classes are needed."
            )
        if rule.is_category and len(classes) > max(2, len(frame) / 2):
            raise ArgumentError(
                "target",
                f": {rule.name!r} holds {len(classes)} different texts in {len(frame)} rows, such as {classes[0]!r}. "
                f"A class needs several rows, and these are no numbers. See {knob('decimal')} and {knob('thousands')}.",
            )
        return cls(rule, "classes", classes, None)

    @classmethod
    def _of_condition(cls, frame: Frame, rule: Rule, positive: str) -> "Labeller":
        name = f"{rule.name}{_sign(positive)}"
        labeller = cls(rule, "classes", (f"not {name}", name), positive)
        holds = int(labeller(frame, "train").sum())
        if holds in (0, len(frame)):
            raise ArgumentError(
                "positive",
                f": {name} holds for {holds} of {len(frame)} rows, but two classes are "
                "needed. Set positive to a value or comparison that divides them.",
            )
        return labeller

    def __call__(self, frame: Frame, where: str) -> NDArray[Any]:
        """Return targets: int64 (N,) class numbers, or float64 (N, 1) values.

        Raises:
            ArgumentError: naming file and row of an empty cell, or of a class that the train rows do not have.
        """
        _require_full(frame, self.rule, where)
        if self.kind == "values":
            return _finite(frame, self.rule, where)[:, None]
        if self.positive is not None:
            return _is_positive(frame, self.rule, self.positive, where).astype(np.int64)
        place = {name: position for position, name in enumerate(self.classes or ())}
        names = _names(frame, self.rule)
        targets = np.array([place.get(name, -1) for name in names], dtype=np.int64)
        if (targets < 0).any():
            row = int(np.flatnonzero(targets < 0)[0])
            meant = (
                did_you_mean(names[row], place)
                or did_you_mean(names[row].casefold(), place)
                or f" They have ({', '.join(list(place)[:30])})."
            )
            raise complaint(
                where,
                f"{frame.place(row)}: the class {names[row]!r} of {self.rule.name!r} does not occur in the "
                f"train rows.{meant}",
            )
        return targets


def _names(frame: Frame, rule: Rule) -> list[str]:
    """Return the name of each row's class: of numbers, their shortest form; of other cells, what they hold."""
    cells = frame.columns[rule.name]
    texts = cells.texts()
    if rule.is_category:
        return rule.keys(cells)
    values = {text: _value(text, rule) for text in set(texts)}
    written = {text: _shortest(text, value, rule) for text, value in values.items()}
    return [written[text] for text in texts]


def _value(text: str, rule: Rule) -> float | None:
    word = {"true": 1.0, "false": 0.0}.get(text.casefold()) if rule.kind == "boolean" else None
    return word if word is not None else number(text, rule.notation)


def _shortest(text: str, value: float | None, rule: Rule) -> str:
    if value is None:
        return text
    if rule.says_words and value in (0, 1):
        return ("False", "True")[int(value)]
    return str(int(value)) if np.isfinite(value) and value == int(value) else repr(value)


def _classes(frame: Frame, rule: Rule) -> tuple[str, ...]:
    names = set(_names(frame, rule))
    if rule.is_category or rule.says_words:
        return tuple(sorted(names))
    return tuple(sorted(names, key=float))


def _require_full(frame: Frame, rule: Rule, where: str) -> None:
    cells = frame.columns[rule.name]
    gaps = rule.reading.text_gaps if rule.is_category else rule.reading.number_gaps
    empty = [row for row, text in enumerate(cells.texts()) if not text or text.casefold() in gaps]
    if empty:
        rows = f"{len(empty)} of {len(frame)} rows" if len(frame) > 1 else "the row"
        raise complaint(
            where, f"{frame.place(empty[0])}: the target {rule.name!r} is empty, as in {rows}. Remove those rows."
        )


def _finite(frame: Frame, rule: Rule, where: str) -> NDArray[np.float64]:
    values = rule.floats(frame, where)
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        raise complaint(where, f"{frame.place(int(wrong[0]))}: the target {rule.name!r} is not finite.")
    return values


def _guess(frame: Frame, rule: Rule) -> str:
    if rule.is_category or rule.kind == "boolean":
        return "classes"
    values = np.unique(rule.floats(frame, "train"))
    return "classes" if bool((values == np.round(values)).all()) and len(values) <= _MOST_CLASSES else "values"


def _sign(positive: str) -> str:
    return positive if positive.startswith(tuple("<>=!")) else f"={positive}"


def _is_positive(frame: Frame, rule: Rule, positive: str, where: str) -> NDArray[np.bool_]:
    """Apply a comparison such as ">0", or equality with a plain value, to the target: bool (N,)."""
    match = re.fullmatch(r"(>=|<=|==|!=|>|<)?\s*(.*?)\s*", positive.strip())
    assert match is not None
    sign, value = match[1] or "==", match[2]
    limit = _value(value, rule)
    if not rule.is_category and limit is not None:
        return np.asarray(_COMPARISONS[sign](rule.floats(frame, where), limit))
    if sign in ("==", "!="):
        return np.asarray(_COMPARISONS[sign](np.array(_names(frame, rule), dtype=object), value), dtype=bool)
    raise ArgumentError("positive", f"compares with a number, but got {positive!r} for the target {rule.name!r}.")
