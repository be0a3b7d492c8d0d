"""Columns that give the answer away, that number the rows, or that hold nothing: left out with a word, or refused."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from kirigami.errors import ArgumentError, knob
from kirigami.tasks.tables.cells import Frame, complaint
from kirigami.tasks.tables.columns import Rule
from kirigami.tasks.tables.labels import Labeller
from kirigami.tasks.tables.numbers import GAPS, PLAIN

FEWEST = 10
"""Rows in which a column must equal the target before that is no chance."""
_UNNAMED = re.compile(
    r"(unnamed: \d+(_level_\d+)?|level_0|index|idx|id|obs|#|s\.?\s?no\.?|nr\.?|no\.?"
    r"|(row|record)[ ._]?(names?|id|nr|no|num|number|index)?)(\.\d+)?",
    re.IGNORECASE,
)
_CODE = re.compile(r"0\d+")
_SAME = {"no": 0, "n": 0, "false": 0, "f": 0, "0": 0, "negative": 0, "neg": 0, "off": 0}
_SAME |= {"yes": 1, "y": 1, "true": 1, "t": 1, "1": 1, "positive": 1, "pos": 1, "on": 1}


def passed_over(frame: Frame, rules: Mapping[str, Rule], target: str) -> dict[str, str]:
    """Return the columns that are left out, and for each why."""
    reasons = {}
    for name in frame.names:
        if name == target:
            continue
        if all(
            not text or (text.casefold() in GAPS and not rules[name].is_category)
            for text in frame.columns[name].texts()
        ):
            reasons[name] = f"the column {name!r} is empty in every train row, and is left out."
        elif _UNNAMED.fullmatch(name) and _numbers_rows(frame, rules[name], is_nameless=name.startswith("Unnamed")):
            reasons[name] = f"the column {name!r} numbers the rows, and is left out."
    return reasons


def _numbers_rows(frame: Frame, rule: Rule, *, is_nameless: bool) -> bool:
    """Return whether a column counts the rows of each file; one without a name need only number them."""
    if rule.kind not in ("number", "boolean"):
        return False
    values = rule.floats(frame, "train")
    for file in range(len(frame.files)):
        part = values[frame.origin[:, 0] == file]
        if np.isnan(part).any() or (part != np.round(part)).any():
            return False
        counts = part[0] in (0, 1) and bool((np.diff(part) == 1).all())
        if not counts and not (is_nameless and len(np.unique(part)) == len(part)):
            return False
    return True


def counting(frame: Frame, rules: Mapping[str, Rule]) -> list[str]:
    """Say which columns with a name count the rows."""
    names = [
        name for name, rule in rules.items() if len(frame) >= FEWEST and _numbers_rows(frame, rule, is_nameless=False)
    ]
    return [
        f"the column {name!r} counts the rows: if it means nothing else, add it to {knob('drop')}." for name in names
    ]


def refuse_names_of_target(frame: Frame, target: str) -> None:
    """Refuse a second column of the target's name, or one whose name differs by blanks and capital letters alone.

    Raises:
        ArgumentError: naming the column.
    """
    for name in frame.names:
        again = frame.repeated.get(name, name)
        if name != target and re.sub(r"[\s_]+", "", again).casefold() == re.sub(r"[\s_]+", "", target).casefold():
            raise ArgumentError(
                "drop", f": the column {name!r} has the name of the target {target!r}. Add it to {knob('drop')}."
            )


def refuse_copies_of_target(frame: Frame, rules: Mapping[str, Rule], labeller: Labeller) -> list[str]:
    """Refuse columns that equal the target in every row; return a line for each that tells it in other words.

    A column of numbers that counts the classes, such as 0 and 1 for no and yes, equals them.

    Raises:
        ArgumentError: naming the column.
    """
    lines: list[str] = []
    if len(frame) < FEWEST:
        return lines
    targets = labeller(frame, "train").reshape(len(frame))
    for name, rule in rules.items():
        if labeller.kind == "values":
            if not rule.is_category and np.allclose(rule.floats(frame, "train"), targets, rtol=1e-9, atol=0):
                raise _copy(name, labeller)
        elif _is_one_to_one(_codes(frame, rule), targets):
            if _reads_same(frame, rule, labeller):
                raise _copy(name, labeller)
            row = [int(np.flatnonzero(targets == label)[0]) for label in np.unique(targets)[:2]]
            pairs = ", ".join(f"{frame.columns[name].texts()[at]!r} is {_class(labeller, targets[at])}" for at in row)
            lines.append(
                f"the column {name!r} tells the class of every row ({pairs}): if it was made "
                f"from it, add it to {knob('drop')}."
            )
    return lines


def _copy(name: str, labeller: Labeller) -> ArgumentError:
    target = labeller.rule.name if labeller.positive is None else (labeller.classes or ("",))[-1]
    problem = f": the column {name!r} equals the target {target!r} in every row, and so would give the answer. "
    return ArgumentError("drop", problem + f"Add it to {knob('drop')}.")


def _class(labeller: Labeller, number: int) -> str:
    return (labeller.classes or ())[int(number)]


def _codes(frame: Frame, rule: Rule) -> NDArray[np.int64]:
    """Number the different cells of a column (N,)."""
    cells = (
        np.array(rule.keys(frame.columns[rule.name]), dtype=str) if rule.is_category else rule.floats(frame, "train")
    )
    return np.unique(cells, return_inverse=True)[1].reshape(len(frame))


def _is_one_to_one(column: NDArray[np.int64], targets: NDArray[np.int64]) -> bool:
    kinds = len(np.unique(targets))
    return (
        len(np.unique(column)) == kinds
        and len(np.unique(column * kinds + np.unique(targets, return_inverse=True)[1])) == kinds
    )


def _reads_same(frame: Frame, rule: Rule, labeller: Labeller) -> bool:
    """Return whether a column holds the target's words, words for yes and no that mean the same, or its code."""
    if not rule.is_category:
        codes, count = np.unique(rule.floats(frame, "train")), len(labeller.classes or ())
        return any(np.array_equal(codes, code) for code in (np.arange(count), np.arange(1, count + 1), [-1, 1]))
    ours = [_meaning(text) for text in frame.columns[rule.name].texts()]
    theirs = [_meaning(text) for text in frame.columns[labeller.rule.name].texts()]
    return ours == theirs


def _meaning(text: str) -> object:
    return _SAME.get(text.casefold(), text.casefold())


def words_as_categories(frame: Frame, rules: Mapping[str, Rule]) -> list[str]:
    """Say of columns of words which of theirs often stand for nothing, and how to have them read so."""
    lines = []
    for name, rule in rules.items():
        if not rule.is_category:
            continue
        texts = [
            text for text in frame.columns[name].texts() if text and text.casefold() in GAPS - rule.reading.text_gaps
        ]
        for word in sorted(set(texts)):
            lines.append(
                f"{word!r} in the column {name!r} ({texts.count(word)} rows) is read as a category of its own; "
                f"{knob('missing_words')}=[{word}] makes it an empty cell."
            )
    return lines


def alike_but_for_capitals(names: tuple[str, ...], what: str) -> list[str]:
    """Say which names differ by capital letters alone."""
    first: dict[str, str] = {}
    lines = []
    for name in names:
        other = first.setdefault(name.casefold(), name)
        if other != name:
            lines.append(f"{what} has {other!r} and {name!r}, which differ in capital letters alone.")
    return lines


def dates(rules: Mapping[str, Rule]) -> list[str]:
    """Say which columns are read as dates."""
    names = [name for name, rule in rules.items() if rule.kind == "date"]
    return [f"the column {name!r} holds dates or times, read as seconds." for name in names]


def codes(frame: Frame, rules: Mapping[str, Rule]) -> list[str]:
    """Say which columns of numbers are written with zeros before them, as codes are, and which names occur again."""
    nameless = [name for name in rules if re.fullmatch(r"Unnamed: \d+", name)]
    repeated = [(name, first) for name, first in frame.repeated.items() if name in rules]
    lines = [f"the column {name!r} is a second one of the name {first!r}." for name, first in repeated]
    lines += [f"a column has no name in the header: it is called {name!r}, and is learnt from." for name in nameless]
    for name, rule in rules.items():
        cells = frame.columns[name]
        if rule.kind == "number" and cells.kind == "text":
            code = next((cell for cell in cells.values if _CODE.fullmatch(cell)), None)
            if code is not None:
                lines.append(f"the column {name!r} holds numbers such as {code!r}: a code belongs in {knob('drop')}.")
    return lines


def notations(rules: Mapping[str, Rule]) -> list[str]:
    """Say which columns are read as numbers that are not written plainly."""
    return [
        f"the column {name!r} holds numbers written like {rule.notation.example}, read as 1234.5."
        for name, rule in rules.items()
        if rule.kind == "number" and rule.notation != PLAIN
    ]


def guessed(labeller: Labeller, kind: str, frame: Frame) -> list[str]:
    """Say that whole numbers are taken as values, where the knob did not say so."""
    if kind != "auto" or labeller.kind != "values":
        return []
    values = labeller(frame, "train")
    if (values != np.round(values)).any():
        return []
    return [
        f"the target {labeller.rule.name!r} has {len(np.unique(values))} different whole numbers, which are learnt as "
        f"values; {knob('kind')}=classes learns each as a class."
    ]


def by_part(classes: tuple[str, ...], parts: Mapping[str, NDArray[np.int64]]) -> str:
    """Return a line that counts the rows of each class in each part."""
    counts = {name: np.bincount(targets, minlength=len(classes)) for name, targets in parts.items()}
    shown = [f"{name} {' / '.join(str(part[at]) for part in counts.values())}" for at, name in enumerate(classes[:30])]
    more = f", and {len(classes) - 30} more" if len(classes) > 30 else ""
    return f"rows of each class ({' / '.join(counts)}): {', '.join(shown)}{more}."


def refuse_collapse(
    frame: Frame, names: Sequence[str], raw: NDArray[np.float64], scaled: NDArray[np.float32], where: str = "train"
) -> None:
    """Refuse a column in which different numbers become one when they are scaled and cast to float32.

    Rounding errors may: what differs by less than 1e-12, or by its last digit in float64. So may rare neighbours, of
    which fewer than one row in a hundred is part.

    Args:
        frame: the rows.
        names: of the columns of `raw` and `scaled`, both (N, F).

    Raises:
        ArgumentError: naming the column, two values and their rows.
    """
    for column, name in enumerate(names):
        rows = np.flatnonzero(~np.isnan(raw[:, column]))
        values, results = raw[rows, column], scaled[rows, column]
        wrong = np.flatnonzero(~np.isfinite(results))
        if len(wrong):
            row = int(rows[wrong[0]])
            raise complaint(where, f"{frame.place(row)}: {values[wrong[0]]:.15g} in the column {name!r} is too large.")
        order = np.argsort(values, kind="stable")
        first = _merged(values[order], results[order], len(frame))
        if first is not None:
            low, high = rows[order[first]], rows[order[first + 1]]
            largest = rows[np.abs(values).argmax()]
            raise complaint(
                where,
                f"the column {name!r} holds {float(raw[low, column])!r} ({frame.place(int(low))}) and "
                f"{float(raw[high, column])!r} ({frame.place(int(high))}), which float32 cannot tell apart beside "
                f"{raw[largest, column]:.15g} ({frame.place(int(largest))}). Set {knob('scale')}=ranks, "
                f"or add it to {knob('drop')}.",
            )


def _merged(values: NDArray[np.float64], results: NDArray[np.float32], total: int) -> int | None:
    """Return the place of the first of sorted values that differs from the next but has its result, or None."""
    if len(values) < 2:
        return None
    differs = np.diff(values) > np.maximum(1e-12, 1e-14 * np.abs(values[1:]))
    lost = differs & (np.diff(results) == 0)
    if not lost.any():
        return None
    group = np.concatenate([[0], np.cumsum(np.diff(results) != 0)])
    sizes = np.bincount(group)
    large = lost & (sizes[group[1:]] > total / 100)
    return int(np.flatnonzero(large)[0]) if large.any() else None


def refuse_long_numbers(frame: Frame, rules: Mapping[str, Rule]) -> None:
    """Refuse whole numbers too long for float64, where that makes one of several.

    Raises:
        ArgumentError: naming the column and two of them.
    """
    for name, rule in rules.items():
        cells = frame.columns[name]
        if rule.kind != "number" or cells.kind != "text":
            continue
        long = [cell for cell in dict.fromkeys(cells.values) if len(cell) > 15 and re.fullmatch(r"[+-]?\d{16,}", cell)]
        seen: dict[float, str] = {}
        for cell in long:
            other = seen.setdefault(float(cell), cell)
            if int(other) != int(cell):
                places = " and ".join(
                    f"{text} ({frame.place(list(cells.values).index(text))})" for text in (other, cell)
                )
                raise complaint(
                    "drop",
                    f"the column {name!r} holds {places}, which are one number in float64. Add it to {knob('drop')}.",
                )
