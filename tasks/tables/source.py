"""The settings of a table's preparation, and what they make of its train files; hashable, so that it is done once."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from kirigami.errors import ArgumentError, choose
from kirigami.tasks.files import require_file, require_path
from kirigami.tasks.tables import checks, reader
from kirigami.tasks.tables.cells import Frame
from kirigami.tasks.tables.columns import Reading, Rule, learn_all, unreadable
from kirigami.tasks.tables.labels import Labeller
from kirigami.tasks.validation import Validation


@dataclass(frozen=True)
class Source:
    """Where the files of a table are, how they are read, and what is learnt from them."""

    path: str | None
    train: tuple[str, ...]
    test: str | None
    reading: Reading
    target: str
    positive: str | None
    kind: str
    drop: tuple[str, ...]
    log: bool | tuple[str, ...]
    missing: str
    missing_category: str
    indicator: bool
    scale: str
    validation: Validation
    test_share: float

    def files(self, where: str, names: tuple[str, ...]) -> tuple[Path, ...]:
        """Return files that are there.

        Raises:
            ArgumentError: where one is not.
        """
        folder = require_path(self.path) if self.path else None
        return tuple(require_file(where, name, folder) for name in names)

    def test_frame(self) -> Frame:
        """Read the test file."""
        assert self.test is not None
        self.check_test_file()
        return reader.read("test", self.files("test", (self.test,)), self.reading)

    def check_test_file(self) -> None:
        """Look whether the test file is there and has the columns; no row of it is read.

        Raises:
            ArgumentError: where it is not.
        """
        assert self.test is not None
        (file,) = self.files("test", (self.test,))
        needed = (*rules_of(self).rules, self.target)
        reader.require_columns("test", file.name, reader.names("test", file, self.reading), needed)


@dataclass(frozen=True)
class Rules:
    """All train rows, the rules of their columns without the target's, that of the target, and what was noticed."""

    frame: Frame
    rules: Mapping[str, Rule]
    labeller: Labeller
    notices: tuple[str, ...]


@lru_cache(maxsize=8)
def rules_of(source: Source) -> Rules:
    """Read the train files and learn how their columns are read.

    Raises:
        ArgumentError: naming file, row and column, where something cannot be read or learnt from.
    """
    whole = reader.read("train", source.files("train", source.train), source.reading)
    for name in source.drop:
        choose("drop", name, whole.names)
    if len(whole.names) == 1 and len(whole.names[0].split()) > 1:
        problem = f": {whole.files[0]!r} has one column, {whole.names[0]!r}."
        raise ArgumentError("train", problem, ("separator", "' ', or to what divides its names"))
    choose("target", source.target, whole.names)
    frame = whole.drop(source.drop)
    if frame.columns[source.target].kind == "unread":
        raise unreadable("target", source.target, frame.columns[source.target].type)
    checks.refuse_names_of_target(frame, source.target)
    rules = learn_all(frame, source.reading)
    labeller = Labeller.fit(frame, rules.pop(source.target), source.positive, source.kind)
    reasons = checks.passed_over(frame, rules, source.target)
    rules = {name: rule for name, rule in rules.items() if name not in reasons}
    notices = (
        *whole.remarks,
        *reasons.values(),
        *checks.counting(frame, rules),
        *checks.codes(frame, rules),
        *checks.dates(rules),
        *checks.notations({**rules, source.target: labeller.rule}),
        *checks.words_as_categories(frame, {**rules, source.target: labeller.rule}),
        *checks.alike_but_for_capitals(labeller.classes or (), f"the target {source.target!r}"),
        *checks.guessed(labeller, source.kind, frame),
    )
    return Rules(frame.drop(tuple(reasons)), rules, labeller, notices)
