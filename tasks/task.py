"""What must be learnt: rows to train on, rows to judge by, rows nobody has seen, and how outputs are scored."""

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn

from kirigami.errors import ArgumentError, shown
from kirigami.several import Tensors, each, empty_rows, joined, listed, shape_of
from kirigami.targets import blamed
from kirigami.tasks import metrics
from kirigami.tasks.batches import Batches, Transform
from kirigami.tasks.coreset import check_coreset, check_kind, order
from kirigami.tasks.fraction import check_fraction, first
from kirigami.tasks.imbalance import Imbalance
from kirigami.tasks.metrics import IGNORED, Metric, pixel_form
from kirigami.tasks.row_scores import FEWER, GROUPS, Groups, mean_parts, parts, quick_parts
from kirigami.tasks.serving import Preparation
from kirigami.tasks.splits import Places, strata_of, take
from kirigami.tasks.standardise import holds


class Split(NamedTuple):
    """Rows in one tensor each: inputs (N, ...), of which there may be several, and targets (N, ...)."""

    inputs: Tensors
    targets: Tensor


@dataclass(frozen=True)
class Parts:
    """The data of a task before the test set is opened: all train rows, validation rows, and their description.

    `kind` "classes": targets int64 (N,); "labels", of which a row has any number: float32 0/1 (N, C); "values": float32
    (N, D); "pixels": float32 0/1 (N, H, W), or with `classes` int64 (N, H, W), where -100 does not count; "characters":
    int64 (N, T). `classes` names class numbers or labels, `vocabulary` counts characters. Rows of a table are float64
    before they are prepared; `places` where a trial trains several networks, each judged by other rows. Parts are
    shared between tasks of one process: nobody may modify their tensors.
    """

    kind: str
    train: Split
    validation: Split
    classes: tuple[str, ...] | None = None
    vocabulary: int | None = None
    places: Places | None = None
    _orders: dict[tuple[str, int], list[np.ndarray]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def out_features(self) -> int:
        """Count the outputs a network needs for one target."""
        if self.classes:
            return len(self.classes)
        return {"characters": self.vocabulary or 0, "values": self.train.targets.shape[-1]}.get(self.kind, 1)

    @cached_property
    def fingerprint(self) -> str:
        """Hash every train and validation tensor with its shape and type."""
        digest = hashlib.sha256()
        for tensor in (part for value in (*self.train, *self.validation) for part in listed(value)):
            short = tensor.float() if tensor.dtype == torch.float64 else tensor
            for form in (short,) if holds(short, tensor) else (short, tensor):
                digest.update(f"{form.dtype}{tuple(form.shape)}".encode())
                digest.update(form.contiguous().numpy().data)
        return digest.hexdigest()[:16]

    def order(self, coreset: str, seed: int) -> list[np.ndarray]:
        """Return the train rows of each stratum, those to keep first (`tasks.coreset.order`); worked out once."""
        if (coreset, seed) not in self._orders:
            strata = strata_of(self.train.targets, self.kind)
            self._orders[coreset, seed] = order(self.train.inputs, strata, coreset, seed)
        return self._orders[coreset, seed]


class Task(pl.LightningDataModule):
    """A data module that also defines the meaning and the metrics of a network's outputs.

    A subclass has these obligations: `load()` returns `Parts` and never touches a test row; `load_test()` returns
    the test rows; both give the same for the same arguments. It may override `fit_statistics` and `prepare`
    (statistics of the kept train rows, applied to every split) and `transform` (batch by batch, on the device).

    `seed` draws the validation rows and the fraction, `test_seed` (the same by default) the test rows, where a task has
    no test part of its own: runs of one `test_seed` never train on its test rows, whatever their `seed`.

    Of several inputs, in a tuple or a dictionary, `in_shape` has the same form.

    An `imbalance` set before `setup` acts on the kept train rows, prepared, and on nothing else. Metrics `added` before
    it, by name, stand beside those of the kind of task. A `fold` set before it says by which of `draws` draws the
    validation rows are taken, where the task has several; None trains on all of them, and then those of the first draw,
    which are among the train rows, judge nothing.

    `load` and `load_test` may set `notices`.

    After `setup("fit")`: `kind`, `in_shape` (one sample), `out_features`, `vocabulary`, `classes`, `metrics`,
    `default_metric`, `train` and `validation`, and `class_weights` for the loss, None where all rows count alike. After
    `setup("test")` also `test`, None before.
    """

    kind: str
    in_shape: Any
    out_features: int
    vocabulary: int | None
    classes: tuple[str, ...] | None
    metrics: tuple[str, ...]
    default_metric: str
    train: Split
    validation: Split

    def __init__(
        self, *, seed: int = 0, test_seed: int | None = None, fraction: float = 1.0, coreset: str = "random"
    ) -> None:
        super().__init__()
        check_fraction(fraction)
        check_coreset(coreset)
        self.seed = seed
        self.test_seed = seed if test_seed is None else test_seed
        self.fraction = fraction
        self.coreset = coreset
        self.batch_size = 64
        self.evaluation_batch_size = 1024
        self.shuffle_seed = seed
        self.fold: int | None = 0
        self.places: Places | None = None
        self.device: torch.device | str = "cpu"
        self.imbalance: Imbalance | None = None
        self.added: Mapping[str, Metric] = {}
        self.class_weights: Tensor | None = None
        self.test: Split | None = None
        self._notices: tuple[str, ...] = ()
        self._parts: Parts | None = None

    @property
    def notices(self) -> tuple[str, ...]:
        """Lines about the data that a user should read before the first trial."""
        return self.notices_at("")

    @notices.setter
    def notices(self, lines: Iterable[str]) -> None:
        self._notices = tuple(dict.fromkeys(lines))

    def say(self, line: str) -> None:
        """Add a sentence to the notices, unless it is there."""
        self._notices = tuple(dict.fromkeys((*self._notices, line)))

    def notices_at(self, path: str) -> tuple[str, ...]:
        """Return the lines with this task's arguments by their path in a config."""
        return tuple(shown(line, path) for line in self._notices)

    def load(self) -> Parts:
        """Return train and validation rows, all of them, raw."""
        raise NotImplementedError

    def load_whole(self) -> Parts:
        """Return all rows but the test rows to train on, and among them validation rows, which then judge nothing."""
        parts = self.load()
        pairs = zip(parts.train, parts.validation, strict=True)
        return replace(parts, train=Split(*(joined(pair) for pair in pairs)), _orders={})

    @property
    def draws(self) -> int:
        """How many networks a trial trains, each judged by rows that it has not seen."""
        return 1

    def load_test(self) -> Split:
        """Return the test rows, raw."""
        raise NotImplementedError

    def check_test_part(self) -> None:
        """Check what names of files, folders and columns tell of the test rows, none of which is opened.

        Raises:
            ArgumentError: for what `load_test` would refuse.
        """

    def fit_statistics(self, train: Split) -> None:
        """Fit the statistics of `prepare` and `transform` on the kept train rows; none by default."""

    def prepare(self, split: Split) -> Split:
        """Return a split as it goes to the device; unchanged by default."""
        return split

    def transform(self, training: bool) -> Transform | None:
        """Return the transform of each batch of inputs on the device; None by default."""
        return None

    def preparation(self) -> dict[str, object]:
        """Say in plain values how a raw sample becomes the network's input, for whoever uses the network later."""
        return {}

    def preprocessing(self) -> nn.Module | None:
        """Return the module that exported files hold before the network: from raw inputs to those of the network."""
        return Preparation(self.preparation()) if isinstance(self.train.inputs, Tensor) else None

    def raw_sample(self) -> Tensors:
        """Return two zero rows of the shape and type of raw inputs; no test row is opened."""
        return each(empty_rows, self.train.inputs)

    def raw_test(self) -> Tensors:
        """Return the raw test inputs, as a user of the network has them: the input of `preparation`."""
        return self.load_test().inputs

    def setup(self, stage: str) -> None:
        """Load train and validation rows once; "test" loads the test rows too. Repeated calls cost nothing."""
        of = type(self)
        with nullcontext() if of.__module__.startswith("kirigami.") else blamed(f"{of.__module__}.{of.__qualname__}"):
            if self._parts is None:
                self._setup_fit()
            if stage == "test" and self.test is None:
                self.test = self.prepare(self.load_test())

    def _setup_fit(self) -> None:
        parts = self.load() if self.fold is not None else self.load_whole()
        self.places = parts.places
        self.kind, self.classes, self.vocabulary = parts.kind, parts.classes, parts.vocabulary
        self.out_features = parts.out_features
        self.metrics = (*metrics.available(parts.kind, len(parts.classes or ())), *self.added)
        self.default_metric = self.metrics[0]
        train_part = self._train_part(parts)
        self.fit_statistics(train_part)
        self.train, self.validation = self.prepare(train_part), self.prepare(parts.validation)
        if self.imbalance is not None:
            self.train = self._balanced(self.imbalance)
        self.in_shape = shape_of(self.train.inputs)
        self._parts = parts

    def _train_part(self, parts: Parts) -> Split:
        check_kind(self.coreset, parts.kind)
        if self.coreset != "random" and not isinstance(parts.train.inputs, Tensor):
            raise ArgumentError("coreset", f"must be random for several inputs, but got {self.coreset!r}.")
        if self.fraction == 1:
            return parts.train
        rows = first(parts.order(self.coreset, self.seed), self.fraction)
        return Split(take(parts.train.inputs, rows), take(parts.train.targets, rows))

    def _balanced(self, imbalance: Imbalance) -> Split:
        if self.kind != "classes":
            raise ValueError(
                f"imbalance {imbalance.method!r} needs a task of classes, but this one is of {self.kind}. "
                "Set imbalance=none."
            )
        if not isinstance(self.train.inputs, Tensor) and imbalance.method != "weights":
            raise ValueError(f"imbalance {imbalance.method!r} needs one input, not several. Set imbalance=weights.")
        self.class_weights = imbalance.class_weights(self.train.targets, self.out_features)
        return Split(*imbalance.resample(*self.train, self.seed))

    def train_dataloader(self) -> Batches:
        """Return shuffled batches of the kept train rows; the order comes from (`shuffle_seed`, epoch)."""
        return Batches(
            *self.train,
            batch_size=self.batch_size,
            generator_seed=self.shuffle_seed,
            transform=self.transform(training=True),
            device=self.device,
        )

    def val_dataloader(self) -> Batches:
        """Return large batches of the validation rows, in order."""
        return self.in_order(self.validation)

    def test_dataloader(self) -> Batches:
        """Return large batches of the test rows, in order; `setup("test")` must have opened them."""
        if self.test is None:
            raise ValueError("the test rows are not open. Call setup('test') first.")
        return self.in_order(self.test)

    def in_order(self, split: Split) -> Batches:
        """Return large batches of prepared rows, in order, as a network sees rows that judge it."""
        transform = self.transform(training=False)
        return Batches(*split, batch_size=self.evaluation_batch_size, transform=transform, device=self.device)

    def canonical(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Bring outputs and targets to the form the metrics take (see `kirigami.tasks.metrics`)."""
        outputs, targets = outputs.detach(), targets.detach()
        if self.kind == "values":
            outputs, targets = outputs.float(), targets.float()
            is_vector = targets.dim() > 1 and targets.shape[-1] > 1
            return (outputs.view_as(targets), targets) if is_vector else (outputs.flatten(), targets.flatten())
        if self.kind == "labels":
            return outputs.float(), targets
        if self.kind == "pixels":
            return pixel_form(outputs, targets, has_classes=self.classes is not None)
        return outputs.reshape(-1, outputs.shape[-1]), targets.flatten()

    def evaluate(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Return every metric of the task for a network's outputs.

        outputs: classes (N, C) scores; labels (N, C) logits; values (N, D); pixels (N, H, W) logits, of classes (N, C,
        H, W); characters (N, T, V) logits.
        """
        form = self.canonical(outputs, targets)
        return {name: self._metric(name).function(*form) for name in self.metrics}

    def direction(self, name: str) -> str:
        """Return "maximize" or "minimize" for a metric of this task."""
        return self._metric(name).direction

    def _metric(self, name: str) -> Metric:
        return self.added[name] if name in self.added else metrics.METRICS[name]

    def row_scores(self, metric: str, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return what each row, or each group of rows, adds to a metric (see `tasks.row_scores`)."""
        is_added = metric in self.added
        groups = self.groups(len(targets), FEWER if is_added else GROUPS)  # one of a user's may take its time
        form = self.canonical(outputs, targets)
        is_whole = not is_added and form[1].numel() == targets.numel()
        exact = mean_parts(metric, *form, groups) if is_whole else None
        if exact is None and is_whole and self.kind == "classes":
            exact = quick_parts(metric, *form, groups)
        score = self._metric(metric).function
        return parts(lambda *some: score(*self.canonical(*some)), outputs, targets, groups) if exact is None else exact

    def groups(self, rows: int, most: int = GROUPS) -> Groups:
        """Deal rows into groups: validation rows by their places, where these are known, test rows among themselves."""
        if self.places is None or rows != len(self.places.rows):
            return Groups.deal(rows, most=most)
        return Groups.deal(rows, *self.places, most=most)

    def baselines(self, targets: Tensor) -> dict[str, dict[str, float]]:
        """Return every metric of the task for networks that learnt nothing, by name (see `metrics.baselines`).

        Empty for labels, values and characters, whose scores need no such yardstick.
        """
        if self.kind not in ("classes", "pixels"):
            return {}
        flat = targets.detach().flatten().long()
        scores = {name: self._metric(name) for name in self.metrics}
        return metrics.baselines(flat[flat != IGNORED], len(self.classes or "01"), scores)

    def judged_rows(self) -> bytes:
        """Return the raw targets of the validation rows: the same rows have the same, whatever is trained on."""
        self.setup("fit")
        assert self._parts is not None
        return self._parts.validation.targets.contiguous().numpy().tobytes()

    def fingerprint(self) -> str:
        """Return 16 hex digits of the SHA-256 of all train and validation rows, whatever the fraction."""
        self.setup("fit")
        assert self._parts is not None
        return self._parts.fingerprint
