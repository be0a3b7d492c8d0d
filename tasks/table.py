"""Learn a column of a table from the others."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from kirigami.errors import ArgumentError, choose
from kirigami.tasks.features import MISSING, Features
from kirigami.tasks.files import require_file, require_path
from kirigami.tasks.frames import read_frame, require_columns
from kirigami.tasks.labels import KINDS, Labeller
from kirigami.tasks.splits import TEST_STREAM, VALIDATION_STREAM, carve, check_amount, rows_of, strata_of
from kirigami.tasks.standardise import Standardiser
from kirigami.tasks.task import Parts, Split, Task


@dataclass(frozen=True)
class _Source:
    """All settings of a table's preparation, hashable so that reading can be memoised."""

    path: str | None
    train: tuple[str, ...]
    test: str | None
    target: str
    positive: str | None
    drop: tuple[str, ...]
    log: bool | tuple[str, ...]
    missing: str
    indicator: bool
    kind: str
    validation: float
    test_share: float

    def files(self, where: str, names: tuple[str, ...]) -> tuple[Path, ...]:
        folder = require_path(self.path) if self.path else None
        return tuple(require_file(where, name, folder) for name in names)

    def train_frame(self) -> Any:
        frame = read_frame("train", self.files("train", self.train))
        for name in self.drop:
            choose("drop", name, frame.columns)
        choose("target", self.target, frame.columns)
        return frame.drop(columns=list(self.drop))

    def test_frame(self) -> Any:
        assert self.test is not None
        frame = read_frame("test", self.files("test", (self.test,)))
        require_columns(f"test: {self.test!r}", frame, self.train_frame().columns)
        return frame


@dataclass(frozen=True)
class _Learnt:
    """The rows as raw numbers, and the rules that made them; `test` has the rows put aside from a single table."""

    parts: Parts
    features: Features
    labeller: Labeller
    test: Any


@lru_cache(maxsize=8)
def _learn(source: _Source, seed: int, test_seed: int) -> _Learnt:
    frame = source.train_frame()
    labeller = Labeller.fit(frame[source.target], source.target, source.positive, source.kind)
    strata = strata_of(labeller(frame[source.target]), labeller.kind)
    rest, test = np.arange(len(frame)), None
    if source.test is None:
        wanted = rows_of("test_share", source.test_share, len(rest))
        rest, aside = carve(strata, wanted, seed=test_seed, stream=TEST_STREAM)
        test = frame.iloc[aside]
    wanted = rows_of("validation", source.validation, len(rest))
    train_rows, validation_rows = carve(strata[rest], wanted, seed=seed, stream=VALIDATION_STREAM)
    train, validation = frame.iloc[rest[train_rows]], frame.iloc[rest[validation_rows]]
    columns = train.drop(columns=[source.target])
    features = Features.fit(columns, log=source.log, missing=source.missing, indicator=source.indicator)
    parts = Parts(
        labeller.kind,
        Split(features(train), labeller(train[source.target])),
        Split(features(validation, "the validation rows"), labeller(validation[source.target])),
        labeller.classes,
    )
    return _Learnt(parts, features, labeller, test)


class Table(Task):
    """Learn a column of CSV or Parquet tables from the other columns.

    `train`: a file or several, joined; `test`: a file, else `test_share` of the train rows is put aside; relative
    names stand in the folder `path`. `validation` of the train rows judges. Both are drawn with the seed, class by
    class or decile by decile. `target` is the column to learn: with `positive` (">0", "yes") whether that holds,
    class 1, else `kind`: classes, values, or auto (text or few whole numbers are classes). `drop`: columns left
    out. `log`: true takes log1p of every column without negative train values, a list of those named. `missing`:
    what fills a gap, with `indicator` marked by a column. Text columns become a 0/1 column for each category of
    the train rows. Numbers, and values to learn, are standardised by the kept train rows; scores of values are in
    their own unit.
    """

    def __init__(
        self,
        *,
        train: str | list[str],
        target: str,
        test: str | None = None,
        path: str | None = None,
        positive: str | None = None,
        drop: list[str] | tuple[str, ...] = (),
        log: bool | list[str] = False,
        missing: str = "median",
        indicator: bool = False,
        kind: str = "auto",
        validation: float = 0.25,
        test_share: float = 0.2,
        seed: int = 0,
        test_seed: int | None = None,
        fraction: float = 1.0,
        coreset: str = "random",
    ) -> None:
        super().__init__(seed=seed, test_seed=test_seed, fraction=fraction, coreset=coreset)
        choose("missing", missing, MISSING)
        choose("kind", kind, KINDS)
        check_amount("validation", validation)
        check_amount("test_share", test_share)
        for key, value in (("train", train), ("target", target)):
            if not value:
                raise ArgumentError(key, "is not set.", (key, "FILE" if key == "train" else "COLUMN"))
        self._source = _Source(
            path=str(path) if path else None,
            train=(train,) if isinstance(train, str) else tuple(train),
            test=test or None,
            target=target,
            positive=None if positive is None else str(positive),
            drop=(drop,) if isinstance(drop, str) else tuple(drop),
            log=log if isinstance(log, bool) else tuple(log),
            missing=missing,
            indicator=indicator,
            kind=kind,
            validation=validation,
            test_share=test_share,
        )

    def load(self) -> Parts:
        """Read and encode the train and validation rows."""
        self._learnt = _learn(self._source, self.seed, self.test_seed)
        return self._learnt.parts

    def raw_test(self) -> Tensor:
        """Return the test rows as numbers (NaN where one is missing), then 0/1 for each category."""
        return self._learnt.features.raw(self._test_frame(), "the test rows")

    def _test_frame(self) -> Any:
        return self._source.test_frame() if self._learnt.test is None else self._learnt.test

    def load_test(self) -> Split:
        """Read and encode the test rows by the rules of the train rows."""
        frame = self._test_frame()
        inputs = self._learnt.features(frame, "the test rows")
        return Split(inputs, self._learnt.labeller(frame[self._source.target]))

    def fit_statistics(self, train: Split) -> None:
        """Learn mean and deviation of each number, and of the values to learn."""
        self._inputs = Standardiser.fit(train.inputs, skip=self._learnt.features.flags)
        self._values = Standardiser.fit(train.targets) if self._learnt.labeller.kind == "values" else None

    def prepare(self, split: Split) -> Split:
        """Standardise the numbers, and the values to learn."""
        targets = split.targets if self._values is None else self._values(split.targets)
        return Split(self._inputs(split.inputs), targets)

    def canonical(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Bring values back to their own unit before they are scored."""
        outputs, targets = super().canonical(outputs, targets)
        if self._values is None:
            return outputs, targets
        return self._values.undo(outputs), self._values.undo(targets)

    def preparation(self) -> dict[str, object]:
        """The rules for each column, then mean and deviation of the result's columns and of the values."""
        rules = {**self._learnt.features.to_dict(), "standardise": self._inputs.to_dict()}
        return rules if self._values is None else {**rules, "values": self._values.to_dict()}
