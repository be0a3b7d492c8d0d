"""A task of a user's own rows, whatever gives them: the door for every kind of data."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kirigami.arguments import accept, names
from kirigami.errors import ArgumentError, at, knob
from kirigami.several import Tensors, cut, each, empty_rows, joined
from kirigami.several import run as run_module
from kirigami.targets import KEY, blamed, called, located, run
from kirigami.tasks.answers import KINDS, Answers
from kirigami.tasks.inputs import check_alike, check_differ, entries, inputs_of, shared_rows
from kirigami.tasks.pictures.wording import table_of_classes
from kirigami.tasks.sources import PARTS, Source, source_of
from kirigami.tasks.splits import TEST_STREAM, carve, check_amount, rows_of, strata_of, take
from kirigami.tasks.standardise import Standardiser
from kirigami.tasks.task import Parts, Split, Task
from kirigami.tasks.validation import Validation

PART = "part"
MOST_COUNTED = 200  # classes that are counted by part before the first trial
AT_ONCE = 1024  # rows that are prepared together


@dataclass(frozen=True)
class Recipe:
    """A target and its arguments, by which what it gives is remembered.

    Attributes:
        options: its arguments, as JSON.
        seed: of the draws, where its signature names it.
    """

    path: str
    options: str
    seed: int | None

    def source(self) -> Source:
        """Call the target, part by part where its signature names `part`, or once."""
        target, options = located(self.path), json.loads(self.options)
        if self.seed is not None:
            options["seed"] = self.seed
        if PART in names(target):
            return Source({part: partial(run, self.path, target, {**options, PART: part}) for part in PARTS})
        return source_of(run(self.path, target, options))


@lru_cache(maxsize=2)
def _source(recipe: Recipe) -> Source:
    return recipe.source()


@dataclass(frozen=True)
class Rules:
    """How rows become parts, hashable so that reading can be remembered."""

    kind: str | None
    classes: tuple[str, ...] | None
    vocabulary: str
    preprocessing: str
    validation: Validation
    test_share: float


@dataclass(frozen=True)
class Learnt:
    """What the train rows decide: parts, how targets are read, raw test rows where these are drawn from the same."""

    parts: Parts
    answers: Answers
    test: Split | None
    sample: Tensors
    notices: tuple[str, ...]


@lru_cache(maxsize=2)
def _learn(recipe: Recipe, rules: Rules, seed: int, test_seed: int, fold: int | None) -> Learnt:
    """Read the parts; without a fold, all rows but the test rows are train rows."""
    source = _source(recipe)
    rows = source.rows("train")
    if rows is None:
        raise ArgumentError(KEY, f"={recipe.path} gives no rows for train.")
    answers = Answers.learn(rows[1], rules.kind, rules.classes)
    raw, test, places = _split("train", rows, answers, rules), None, None
    if not source.has_test:
        strata = strata_of(raw.targets, answers.kind)
        aside = rows_of("test_share", rules.test_share, len(strata))
        kept, taken = carve(strata, aside, seed=test_seed, stream=TEST_STREAM)
        raw, test = _taken(raw, kept), _taken(raw, taken)
    train = _prepared("train", raw, rules)
    validation_rows = source.rows("validation")
    if validation_rows is not None:
        if rules.validation.draws > 1:
            raise ArgumentError("validation", f"={rules.validation} is not used: {recipe.path} gives validation rows.")
        judged = _split("validation", validation_rows, answers, rules)
        check_alike("validation", judged.inputs, raw.inputs)
        validation = _prepared("validation", judged, rules)
        train = train if fold is not None else Split(*(joined(pair) for pair in zip(train, validation, strict=True)))
    else:
        drawn = rules.validation.draw(strata_of(train.targets, answers.kind), seed=seed, fold=fold or 0)
        places, validation = rules.validation.places(drawn, len(train.targets)), _taken(train, drawn.validation)
        train = train if fold is None else _taken(train, drawn.train)
    check_differ(raw.inputs)
    parts = Parts(answers.kind, train, validation, answers.classes, json.loads(rules.vocabulary), places)
    notices = (_described(parts, rules), *counted(parts, test), *source.notices)
    if fold is not None:
        notices += tuple(shared_rows(train.inputs, validation.inputs))
    return Learnt(parts, answers, test, each(empty_rows, raw.inputs), notices)


def _taken(split: Split, rows: np.ndarray) -> Split:
    return Split(take(split.inputs, rows), take(split.targets, rows))


def _module(rules: Rules) -> nn.Module | None:
    """Build the module that prepares inputs.

    Raises:
        ArgumentError: it cannot be built, or would have to be trained.
    """
    config = json.loads(rules.preprocessing)
    if config is None:
        return None
    if not isinstance(config, Mapping) or KEY not in config:
        raise ArgumentError("preprocessing", f"must be a mapping with a {KEY}, but got {config!r}.")
    with at("preprocessing"):
        module = called(config, {})
        if not isinstance(module, nn.Module) or any(True for _ in module.parameters()):
            raise ArgumentError(KEY, f"must build a torch.nn.Module without parameters to train: {config[KEY]}.")
    return module.eval()


@torch.no_grad()
def _prepared(part: str, split: Split, rules: Rules) -> Split:
    """Return a part with its inputs as the network takes them."""
    module = _module(rules)
    if module is None:
        return split
    cuts = [slice(first, first + AT_ONCE) for first in range(0, len(split.targets), AT_ONCE)]
    with blamed(json.loads(rules.preprocessing)[KEY]):
        inputs = joined([run_module(module, cut(split.inputs, rows)) for rows in cuts])
    for name, tensor in entries(inputs):
        if len(tensor) != len(split.targets) or not tensor.isfinite().all():
            rows = f"{len(tensor)} rows" if len(tensor) != len(split.targets) else "numbers that are not finite"
            raise ArgumentError("preprocessing", f"gives {rows} in {name} for {len(split.targets)} rows of {part}.")
    return Split(inputs, split.targets)


def _split(part: str, rows: tuple[Any, Any], answers: Answers, rules: Rules) -> Split:
    """Return a part as tensors."""
    vocabulary = json.loads(rules.vocabulary)
    inputs = inputs_of(part, rows[0], vocabulary)
    targets = answers(part, rows[1])
    for name, tensor in entries(inputs):
        if len(tensor) != len(targets):
            raise ArgumentError(KEY, f"gives {part} {len(tensor)} rows of {name}, but {len(targets)} targets.")
    return Split(inputs, targets)


def _described(parts: Parts, rules: Rules) -> str:
    """Say what was read off the data."""
    names = f" ({', '.join(parts.classes)})" if parts.classes and len(parts.classes) <= 20 else ""
    what = f"{len(parts.classes or ())} {parts.kind}{names}" if parts.classes else parts.kind
    how = f"read off the targets; {knob('kind')} says another" if rules.kind is None else f"as {knob('kind')} says"
    rows = f"{len(parts.train.targets):,} rows to train on and {len(parts.validation.targets):,} to validate"
    return f"The task is one of {what}, {how}: {rows}."


def counted(parts: Parts, test: Split | None) -> list[str]:
    """Return the lines of a table of classes by part, of a task of classes."""
    if parts.kind != "classes" or not parts.classes or len(parts.classes) > MOST_COUNTED:
        return []
    splits = {"train": parts.train, "validation": parts.validation, **({} if test is None else {"test": test})}
    counts = {
        name: torch.bincount(split.targets, minlength=len(parts.classes)).tolist() for name, split in splits.items()
    }
    named = {name: dict(zip(parts.classes, many, strict=True)) for name, many in counts.items()}
    return table_of_classes(parts.classes, named, of="row")


class Arrays(Task):
    """Learn from rows that a target of the user's gives (see `docs/data.md`).

    The target is a function, called once, or once for each part where its signature names `part`; or a
    LightningDataModule. It gets the config's other keys, and `seed` where its signature names it. Parts that it does
    not give are drawn from its rows by the seed; test rows are read when they are asked for.

    Args:
        target: its path.
        options: its arguments.
        kind: "classes", "labels", "values" or "pixels"; None reads it off the targets.
        classes: names of class numbers or labels.
        vocabulary: below which the inputs are whole numbers, for an embedding; of several inputs one for each, by name
            or in a list, None where an input is numbers.
        preprocessing: `{_target_: package.Module, ...}`: a torch.nn.Module without parameters, from the inputs that
            the target gives to those of the network. Exported files hold it.
        validation: share or number of rows that select, folds or repeats, where the target gives none.
        test_share: the same of test rows.
    """

    def __init__(
        self,
        *,
        target: str,
        options: Mapping[str, Any],
        kind: str | None = None,
        classes: Sequence[str] | None = None,
        vocabulary: Any = None,
        preprocessing: Any = None,
        validation: Any = 0.2,
        test_share: float = 0.2,
        seed: int = 0,
        test_seed: int | None = None,
        fraction: float = 1.0,
        coreset: str = "random",
    ) -> None:
        super().__init__(seed=seed, test_seed=test_seed, fraction=fraction, coreset=coreset)
        if kind not in (None, *KINDS):
            raise ArgumentError("kind", f"must be null or one of ({', '.join(KINDS)}), but got {kind!r}.")
        check_amount("test_share", test_share)
        function = located(target)
        provided = {key: None for key in ("seed", PART) if key in names(function) and key not in options}
        accept(function, options, name=target, provided=provided)
        self._recipe = Recipe(target, json.dumps(dict(options), sort_keys=True), seed if "seed" in provided else None)
        words = None if classes is None else tuple(map(str, classes))
        known = json.dumps(vocabulary), json.dumps(preprocessing)
        self._rules = Rules(kind, words, *known, Validation.read(validation), test_share)
        _module(self._rules)
        self._values: Standardiser | None = None

    def load(self) -> Parts:
        """Read the train and validation rows."""
        return self._load(self.fold)

    def load_whole(self) -> Parts:
        """Read all rows but the test rows to train on."""
        return self._load(None)

    @property
    def draws(self) -> int:
        """How many networks a trial trains, each judged by rows that it has not seen."""
        return self._rules.validation.draws

    def _load(self, fold: int | None) -> Parts:
        with blamed(self._recipe.path):
            self._learnt = _learn(self._recipe, self._rules, self.seed, self.test_seed, fold)
        self.notices = self._learnt.notices
        return self._learnt.parts

    def load_test(self) -> Split:
        """Read the test rows."""
        return _prepared("test", self._raw_test(), self._rules)

    def raw_test(self) -> Tensors:
        """Return the test inputs as the target gives them."""
        return self._raw_test().inputs

    def _raw_test(self) -> Split:
        if self._learnt.test is not None:
            return self._learnt.test
        with blamed(self._recipe.path):
            rows = _source(self._recipe).rows("test")
            if rows is None:
                raise ArgumentError(KEY, f"={self._recipe.path} gives no rows for test.")
            split = _split("test", rows, self._learnt.answers, self._rules)
            check_alike("test", split.inputs, self._learnt.sample)
            return split

    def raw_sample(self) -> Tensors:
        """Return two zero rows of the shape and type of the inputs as the target gives them."""
        return self._learnt.sample

    def preprocessing(self) -> nn.Module | None:
        """Return the module that prepares inputs, as the config names it."""
        return _module(self._rules)

    def fit_statistics(self, train: Split) -> None:
        """Learn mean and deviation of values to learn."""
        self._values = Standardiser.fit(train.targets) if self._learnt.answers.kind == "values" else None

    def prepare(self, split: Split) -> Split:
        """Standardise values to learn."""
        return split if self._values is None else Split(split.inputs, self._values(split.targets))

    def canonical(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Bring values back to their own unit before they are scored."""
        outputs, targets = super().canonical(outputs, targets)
        return (outputs, targets) if self._values is None else (self._values.undo(outputs), self._values.undo(targets))

    def preparation(self) -> dict[str, object]:
        """Inputs are taken as they are given; values are brought to their own unit."""
        return {} if self._values is None else {"values": self._values.to_dict()}
