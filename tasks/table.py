"""Learn a column of a table from the others."""

import codecs
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from kirigami.errors import ArgumentError, choose, knob
from kirigami.tasks.serving import Filled
from kirigami.tasks.splits import TEST_STREAM, Places, carve, check_amount, rows_of, strata_of
from kirigami.tasks.standardise import SCALES, Standardiser, fit_scale
from kirigami.tasks.tables import checks
from kirigami.tasks.tables.cells import Frame
from kirigami.tasks.tables.columns import Reading
from kirigami.tasks.tables.features import MISSING, MISSING_CATEGORY, Features
from kirigami.tasks.tables.filling import Filling
from kirigami.tasks.tables.labels import KINDS, Labeller
from kirigami.tasks.tables.source import Rules, Source, rules_of
from kirigami.tasks.task import Parts, Split, Task
from kirigami.tasks.validation import Validation


@dataclass(frozen=True)
class _Learnt:
    """The rows as numbers, and the rules that made them; `test` has the rows put aside from a single table."""

    parts: Parts
    features: Features
    filling: Filling
    labeller: Labeller
    test: Frame | None
    notices: tuple[str, ...]

    def inputs(self, raw: Tensor) -> Tensor:
        """Return float64 rows: numbers logged and filled, marks of gaps, categories."""
        return Filled(self.filling.to_dict() | {"columns": self.filling.columns})(raw)

    @property
    def flags(self) -> int:
        """Count the columns of the inputs, the last ones, that are 0 or 1."""
        return len(self.filling.indicators) + len(self.features.names) - len(self.filling.columns)


@lru_cache(maxsize=8)
def _learn(source: Source, seed: int, test_seed: int, fold: int | None) -> _Learnt:
    whole = rules_of(source)
    train_rows, validation_rows, test_rows, places = _drawn(source, whole, seed, test_seed, fold)
    frame, labeller = whole.frame, whole.labeller
    train, validation = frame.take(train_rows), frame.take(validation_rows)
    copies = checks.refuse_copies_of_target(frame.take(np.union1d(train_rows, validation_rows)), whole.rules, labeller)
    checks.refuse_long_numbers(train, whole.rules)
    features = Features.fit(
        train, whole.rules, source.reading, missing=source.missing, missing_category=source.missing_category
    )
    everything = features.raw(frame, "train")  # so that a cell that cannot be read is found now, wherever it stands
    raw, columns = everything[train_rows], tuple(rule.name for rule in features.numbers)
    filling = Filling.fit(
        raw[:, : len(columns)], columns, log=source.log, missing=source.missing, indicator=source.indicator
    )
    fill = Filled(filling.to_dict() | {"columns": columns})
    targets = [torch.from_numpy(labeller(part, "train")) for part in (train, validation)]
    parts = Parts(
        labeller.kind,
        Split(fill(torch.from_numpy(raw)), targets[0]),
        Split(fill(torch.from_numpy(everything[validation_rows])), targets[1]),
        labeller.classes,
        places=places,
    )
    notices = [*whole.notices, *copies]
    if labeller.classes:
        notices.append(
            checks.by_part(labeller.classes, {"train": targets[0].numpy(), "validation": targets[1].numpy()})
        )
    learnt = _Learnt(
        parts, features, filling, labeller, None if test_rows is None else frame.take(test_rows), tuple(notices)
    )
    _refuse_collapse(source, learnt, train, raw)
    return learnt


class _Drawn(NamedTuple):
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray | None
    places: Places | None


def _drawn(source: Source, whole: Rules, seed: int, test_seed: int, fold: int | None) -> _Drawn:
    """Draw the rows of train, validation and, where there is no test file, test; without a fold all others train."""
    strata = strata_of(torch.from_numpy(whole.labeller(whole.frame, "train")), whole.labeller.kind)
    rest, aside = np.arange(len(whole.frame)), None
    if source.test is None:
        wanted = rows_of("test_share", source.test_share, len(rest))
        rest, aside = carve(strata, wanted, seed=test_seed, stream=TEST_STREAM)
    files = whole.frame.origin[rest, 0]
    last_file = int((files == len(whole.frame.files) - 1).sum()) if len(whole.frame.files) > 1 else None
    drawn = source.validation.draw(strata[rest], seed=seed, fold=fold or 0, last_file=last_file)
    places = source.validation.places(drawn, len(rest))
    return _Drawn(rest if fold is None else rest[drawn.train], rest[drawn.validation], aside, places)


def _refuse_collapse(source: Source, learnt: _Learnt, train: Frame, raw: np.ndarray) -> None:
    """Refuse columns, and values to learn, of which float32 would not keep the differences."""
    columns = learnt.filling.columns
    scaled = fit_scale(source.scale, learnt.parts.train.inputs, learnt.flags)(learnt.parts.train.inputs)
    checks.refuse_collapse(train, columns, raw[:, : len(columns)], scaled[:, : len(columns)].numpy())
    if learnt.labeller.kind == "values":
        targets = learnt.parts.train.targets
        scaled = Standardiser.fit(targets)(targets)
        checks.refuse_collapse(train, [source.target], targets.numpy(), scaled.numpy())


class Table(Task):
    """Learn a column of CSV or Parquet tables from the other columns.

    `train`: a file or several, joined; `test`: a file, else `test_share` of the train rows is put aside; relative names
    stand in the folder `path`. `validation` of the train rows judges: a share or a number of rows, `{folds: 5}`,
    `{repeats: 3, share: 0.25}`, `{last: true}` (the last train file) or `{last: 0.2}`. Other rows are drawn with the
    seed, class by class or decile by decile. `target` is the column to learn: with `positive` (">0", "yes") whether
    that holds, class 1, else `kind`: classes, values, or auto (text or few whole numbers are classes). `drop`: columns
    left out.

    Files: `separator`, `encoding`, `decimal`, `thousands` and `missing_words` are found out from the train file where
    they are None; where a number can be read in two ways, that is an error. A column is read by one rule, learnt from
    all cells of the train files, in every other file too.

    Columns: `log`: true takes log1p of every column without negative train values, a list of those named. `missing`:
    what fills an empty cell of a number, with `indicator` marked by a column. Texts become a 0/1 column for each
    category of the train rows; `missing_category`: an empty cell is one of its "own", or counts as the most "frequent".
    `scale`: numbers are brought to mean 0 and deviation 1 ("standard"), to the median and the quartiles ("robust"), or
    to the ranks of a normal distribution ("ranks"), by the kept train rows. Values to learn are standardised; scores
    of values are in their own unit.
    """

    def __init__(
        self,
        *,
        train: str | list[str],
        target: str,
        test: str | None = None,
        path: str | None = None,
        separator: str | None = None,
        encoding: str | None = None,
        decimal: str | None = None,
        thousands: str | None = None,
        missing_words: list[str] | tuple[str, ...] | None = None,
        positive: str | None = None,
        drop: list[str] | tuple[str, ...] = (),
        log: bool | list[str] = False,
        missing: str = "median",
        missing_category: str = "own",
        indicator: bool = False,
        scale: str = "standard",
        kind: str = "auto",
        validation: float | Mapping[str, Any] = 0.25,
        test_share: float = 0.2,
        seed: int = 0,
        test_seed: int | None = None,
        fraction: float = 1.0,
        coreset: str = "random",
    ) -> None:
        super().__init__(seed=seed, test_seed=test_seed, fraction=fraction, coreset=coreset)
        for key, choice, allowed in (
            ("missing", missing, MISSING),
            ("missing_category", missing_category, MISSING_CATEGORY),
            ("scale", scale, SCALES),
            ("kind", kind, KINDS),
        ):
            choose(key, choice, allowed)
        check_amount("test_share", test_share)
        for key, value in (("train", train), ("target", target)):
            if not value:
                raise ArgumentError(key, "is not set.", (key, "FILE" if key == "train" else "COLUMN"))
        self._source = Source(
            path=str(path) if path else None,
            train=(train,) if isinstance(train, str) else tuple(train),
            test=test or None,
            reading=_reading(separator, encoding, decimal, thousands, missing_words),
            target=target,
            positive=None if positive is None else str(positive),
            kind=kind,
            drop=(drop,) if isinstance(drop, str) else tuple(drop),
            log=log if isinstance(log, bool) else tuple(log),
            missing=missing,
            missing_category=missing_category,
            indicator=indicator,
            scale=scale,
            validation=Validation.read(validation),
            test_share=test_share,
        )

    def load(self) -> Parts:
        """Read and encode the train and validation rows."""
        return self._load(self.fold)

    def load_whole(self) -> Parts:
        """Read and encode all rows but the test rows, by rules learnt from all of them."""
        return self._load(None)

    def _load(self, fold: int | None) -> Parts:
        self._learnt = _learn(self._source, self.seed, self.test_seed, fold)
        self.notices = self._learnt.notices
        return self._learnt.parts

    def fingerprint(self) -> str:
        """Return 16 hex digits of the SHA-256 of all train and validation rows, whatever the knobs of columns are."""
        self.setup("fit")
        usual = replace(
            self._source, log=False, missing="median", missing_category="own", indicator=False, scale="ranks"
        )
        return _learn(usual, self.seed, self.test_seed, 0).parts.fingerprint

    @property
    def draws(self) -> int:
        """How many networks a trial trains, each judged by rows that it has not seen."""
        return self._source.validation.draws

    def check_test_part(self) -> None:
        """Look whether the test file is there and has the columns; no row of it is read.

        Raises:
            ArgumentError: naming file and column.
        """
        if self._source.test is not None:
            self._source.check_test_file()

    def raw_test(self) -> Tensor:
        """Return the test rows, float64: numbers (NaN where one is missing), then 0/1 for each category."""
        return torch.from_numpy(self._learnt.features.raw(self._test_frame(), "test"))

    def raw_sample(self) -> Tensor:
        """Return two zero rows, float64, of as many numbers as raw rows have: flags of gaps are none of them."""
        return torch.zeros(2, self.in_shape[0] - len(self._learnt.filling.indicators), dtype=torch.float64)

    def _test_frame(self) -> Frame:
        return self._source.test_frame() if self._learnt.test is None else self._learnt.test

    def load_test(self) -> Split:
        """Read and encode the test rows by the rules of the train rows."""
        targets = self._learnt.labeller(self._test_frame(), "test")
        return Split(self._learnt.inputs(self.raw_test()), torch.from_numpy(targets))

    def fit_statistics(self, train: Split) -> None:
        """Learn the scale of each number, and of the values to learn."""
        self._inputs = fit_scale(self._source.scale, train.inputs, self._learnt.flags)
        self._values = Standardiser.fit(train.targets) if self._learnt.labeller.kind == "values" else None

    def prepare(self, split: Split) -> Split:
        """Scale the numbers, and the values to learn, in float64, and cast them to float32."""
        targets = split.targets if self._values is None else self._values(split.targets)
        inputs = self._inputs(split.inputs)
        if not bool(torch.isfinite(inputs).all()):
            row, column = (~torch.isfinite(inputs)).nonzero()[0].tolist()
            number, name = split.inputs[row, column].item(), self._learnt.filling.columns[column]
            raise ArgumentError(
                "train",
                f": {number:.15g} in the column {name!r} is too far from the train rows for float32. Mend it, set "
                f"{knob('scale')}=ranks, or add the column to {knob('drop')}.",
            )
        return Split(inputs, targets)

    def canonical(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Bring values back to their own unit before they are scored."""
        outputs, targets = super().canonical(outputs, targets)
        if self._values is None:
            return outputs, targets
        return self._values.undo(outputs), self._values.undo(targets)

    def preparation(self) -> dict[str, object]:
        """The rules of reading and of each column, then the scale of the result's columns and of the values."""
        key = "standardise" if isinstance(self._inputs, Standardiser) else "ranks"
        rules = {**self._learnt.features.to_dict(), **self._learnt.filling.to_dict(), key: self._inputs.to_dict()}
        return rules if self._values is None else {**rules, "values": self._values.to_dict()}


def _reading(
    separator: str | None,
    encoding: str | None,
    decimal: str | None,
    thousands: str | None,
    missing_words: list[str] | tuple[str, ...] | None,
) -> Reading:
    """Check the knobs of reading."""
    if separator is not None and len(separator := {"\\t": "\t", "tab": "\t"}.get(separator, separator)) != 1:
        raise ArgumentError("separator", f"must be one character, or tab, but got {separator!r}.", ("separator", "';'"))
    if decimal is not None:
        choose("decimal", decimal, (".", ","))
    if thousands is not None:
        choose("thousands", thousands, (",", ".", " ", "'"))
    if thousands is not None and thousands == decimal:
        raise ArgumentError("thousands", f"must differ from decimal, but both are {decimal!r}.")
    try:
        codecs.lookup(encoding or "utf-8")
    except LookupError:
        raise ArgumentError("encoding", f"names no encoding: {encoding!r}.", ("encoding", "latin-1")) from None
    words = (missing_words,) if isinstance(missing_words, str) else missing_words
    return Reading(
        separator,
        decimal,
        thousands,
        encoding,
        None if words is None else tuple(str(word).casefold() for word in words),
    )
