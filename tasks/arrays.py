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
from kirigami.errors import ArgumentError, at
from kirigami.several import Tensors, cut, each, empty_rows, joined
from kirigami.several import run as run_module
from kirigami.targets import KEY, blamed, called, located, run
from kirigami.tasks.answers import KINDS, Answers, array_of
from kirigami.tasks.sources import PARTS, Source, source_of
from kirigami.tasks.splits import TEST_STREAM, carve, check_amount, rows_of, strata_of, take
from kirigami.tasks.standardise import Standardiser
from kirigami.tasks.task import Parts, Split, Task
from kirigami.tasks.validation import Validation

CLOSE = 1e-3  # of a column's deviation that float32 may round off
PART = "part"
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
    given = source.rows("validation")
    if given is not None:
        if rules.validation.draws > 1:
            raise ArgumentError("validation", f"={rules.validation} is not used: {recipe.path} gives validation rows.")
        validation = _prepared("validation", _split("validation", given, answers, rules), rules)
        train = train if fold is not None else Split(*(joined(pair) for pair in zip(train, validation, strict=True)))
    else:
        drawn = rules.validation.draw(strata_of(train.targets, answers.kind), seed=seed, fold=fold or 0)
        places, validation = rules.validation.places(drawn, len(train.targets)), _taken(train, drawn.validation)
        train = train if fold is None else _taken(train, drawn.train)
    parts = Parts(answers.kind, train, validation, answers.classes, json.loads(rules.vocabulary), places)
    return Learnt(parts, answers, test, each(empty_rows, raw.inputs), (_described(parts, rules), *source.notices))


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
    for name, tensor in _entries(inputs):
        if len(tensor) != len(split.targets) or not tensor.isfinite().all():
            rows = f"{len(tensor)} rows" if len(tensor) != len(split.targets) else "numbers that are not finite"
            raise ArgumentError("preprocessing", f"gives {rows} in {name} for {len(split.targets)} rows of {part}.")
    return Split(inputs, split.targets)


def _split(part: str, rows: tuple[Any, Any], answers: Answers, rules: Rules) -> Split:
    """Return a part as tensors."""
    vocabulary = json.loads(rules.vocabulary)
    inputs = _inputs(part, rows[0], vocabulary)
    targets = answers(part, rows[1])
    for name, tensor in _entries(inputs):
        if len(tensor) != len(targets):
            raise ArgumentError(KEY, f"gives {part} {len(tensor)} rows of {name}, but {len(targets)} targets.")
    return Split(inputs, targets)


def _inputs(part: str, value: Any, vocabulary: Any) -> Tensors:
    """Return inputs as tensors, of one, or of several by place or by name."""
    if isinstance(value, Mapping):
        by_name = vocabulary if isinstance(vocabulary, Mapping) else {}
        return {str(name): _tensor(part, str(name), one, by_name.get(name)) for name, one in value.items()}
    if isinstance(value, tuple):
        counts = vocabulary if isinstance(vocabulary, list) else [None] * len(value)
        pairs = zip(value, counts, strict=True)
        return tuple(_tensor(part, f"input {place}", *pair) for place, pair in enumerate(pairs))
    return _tensor(part, "the inputs", value, vocabulary)


def _entries(inputs: Tensors) -> list[tuple[str, Tensor]]:
    if isinstance(inputs, dict):
        return list(inputs.items())
    if isinstance(inputs, tuple):
        return [(f"input {place}", tensor) for place, tensor in enumerate(inputs)]
    return [("the inputs", inputs)]


def _tensor(part: str, name: str, value: Any, vocabulary: int | None) -> Tensor:
    """Return numbers as float32, uint8 included, or as int64 below a vocabulary; nothing is lost in silence."""
    array = array_of(f"{part} {name}", value)
    if array.dtype.kind not in "iufb" or array.ndim < 1:
        raise ArgumentError(KEY, f"gives {part} {name} of {array.dtype}, but numbers of one shape are needed.")
    if array.ndim == 1:
        array = array[:, None]
    if vocabulary is not None:
        return _codes(part, name, array, vocabulary)
    wide = array.astype(np.float64)
    with np.errstate(over="ignore"):
        narrow = array.astype(np.float32)
    wrong = np.argwhere(~np.isfinite(narrow))
    if len(wrong):
        row, number = int(wrong[0][0]), float(wide[tuple(wrong[0])])
        raise ArgumentError(KEY, f"gives row {row} of {part} a value in {name} that float32 does not hold: {number!r}.")
    if array.dtype.itemsize > 2:
        lost, spread = np.abs(wide - narrow).max(initial=0), wide.std(axis=0)
        spread = spread[spread > 0].min(initial=np.inf)
        if lost > CLOSE * spread:
            raise ArgumentError(
                KEY, f"gives {part} numbers in {name} that float32 rounds by {lost:.3g}. Subtract their mean first."
            )
    return torch.from_numpy(narrow)


def _codes(part: str, name: str, array: Any, vocabulary: int) -> Tensor:
    whole = array.astype(np.int64)
    if not (whole == array).all() or whole.min(initial=0) < 0 or whole.max(initial=0) >= vocabulary:
        raise ArgumentError(
            "vocabulary", f"={vocabulary} needs whole numbers of 0 to {vocabulary - 1} in {name} of {part}."
        )
    return torch.from_numpy(whole)


def _described(parts: Parts, rules: Rules) -> str:
    """Say what was read off the data."""
    names = f" ({', '.join(parts.classes)})" if parts.classes and len(parts.classes) <= 20 else ""
    what = f"{len(parts.classes or ())} {parts.kind}{names}" if parts.classes else parts.kind
    how = "read off the targets; task.kind says another" if rules.kind is None else "as task.kind says"
    rows = f"{len(parts.train.targets):,} rows to train on and {len(parts.validation.targets):,} to validate"
    return f"The task is one of {what}, {how}: {rows}."


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
            return _split("test", rows, self._learnt.answers, self._rules)

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
