"""Tell pictures apart: Parquet files as the Hugging Face hub keeps them, folders of classes, or the hub itself."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kirigami.errors import ArgumentError, choose
from kirigami.tasks.augment import FlipCrop, Normalise, Standardise, channel_statistics, value_statistics
from kirigami.tasks.batches import Transform
from kirigami.tasks.files import UNSET
from kirigami.tasks.pictures.decode import Rules
from kirigami.tasks.pictures.folders import class_name
from kirigami.tasks.pictures.source import Source
from kirigami.tasks.pictures.sources import Stamp, check_classes, counts_of, parts_of, stamp_of
from kirigami.tasks.pictures.store import PictureStore, learn_rules, open_source, open_store
from kirigami.tasks.pictures.wording import changes_in_words, repeated_in_words, table_of_classes
from kirigami.tasks.splits import LIMIT_STREAM, TEST_STREAM, Places, carve, check_amount, rows_of
from kirigami.tasks.task import Parts, Split, Task
from kirigami.tasks.validation import NAME, Validation

AUGMENTATIONS = ("none", "flip_crop")


@dataclass(frozen=True)
class _Settings:
    """Everything that decides which pictures go where, hashable so that reading can be memoised."""

    path: str
    rows: int | None
    validation: Validation
    test_share: float
    image_column: str | None
    label_column: str | None
    drop: tuple[str, ...]
    channels: int | None
    size: int | None
    background: int
    stamp: Stamp

    @property
    def columns(self) -> tuple[str | None, str | None]:
        return self.image_column, self.label_column

    def source(self, part: str) -> Source:
        return open_source(self.path, part, self.columns, self.drop, self.stamp)

    def rules(self) -> Rules:
        return learn_rules(self.path, self.columns, self.drop, self.stamp, self.channels, self.size, self.background)

    def store(self, part: str) -> PictureStore:
        return open_store(self.path, part, self.columns, self.drop, self.stamp, self.rules())


@lru_cache(maxsize=8)
def _numbers(settings: _Settings, part: str) -> NDArray[np.int64]:
    """Number the labels of a part by the classes of the train part."""
    return settings.source(part).number(settings.source("train").classes, part)


@lru_cache(maxsize=8)
def _indices(settings: _Settings, seed: int, test_seed: int, fold: int) -> dict[str, NDArray[np.int64]]:
    """Choose the rows of the train files that serve each part; a part with files of its own is left out."""
    parts = parts_of(settings.path)
    strata = _numbers(settings, "train")
    rest, chosen = np.arange(len(strata)), {}
    if "test" not in parts:
        wanted = rows_of("test_share", settings.test_share, len(rest))
        rest, chosen["test"] = carve(strata, wanted, seed=test_seed, stream=TEST_STREAM)
    if "validation" not in parts:
        drawn = _validation(settings, len(rest)).draw(strata[rest], seed=seed, fold=fold)
        rest, chosen["validation"] = rest[drawn.train], rest[drawn.validation]
    elif settings.validation.draws > 1:
        raise ArgumentError(
            "validation", "must be a share, which is not used, where there is a part of validation files."
        )
    if settings.rows is not None and settings.rows > len(rest):
        raise ArgumentError("rows", f"must be at most {len(rest)}, the train rows there are, but got {settings.rows}.")
    if settings.rows is not None:
        rest = rest[carve(strata[rest], settings.rows, seed=seed, stream=LIMIT_STREAM)[1]]
    return {**chosen, "train": rest}


def _validation(settings: _Settings, total: int) -> Validation:
    """Turn a share into rows: of all train rows, or of as many as leave `task.rows` to train on."""
    how = settings.validation
    if how.folds > 1 or how.amount is None or how.amount >= 1 or settings.rows is None:
        return how
    return replace(how, amount=rows_of(NAME, how.amount, min(total, round(settings.rows / (1 - how.amount)))))


@lru_cache(maxsize=4)
def _parts(settings: _Settings, seed: int, test_seed: int, fold: int) -> Parts:
    chosen, classes = _indices(settings, seed, test_seed, fold), settings.source("train").classes
    if len(classes) < 2:
        raise ArgumentError("path", f": {settings.path!r} holds one class only, {classes}; two are needed.")
    train = _split(settings, chosen, "train")
    _check_content(settings.store("train"), train)
    places = None
    if settings.validation.draws > 1:
        total, is_apart = len(_numbers(settings, "train")), settings.validation.repeats == 1
        places = Places(chosen["validation"], total, is_apart)
    return Parts("classes", train, _split(settings, chosen, "validation"), classes, places=places)


@lru_cache(maxsize=8)
def _notices(settings: _Settings, seed: int, test_seed: int, fold: int) -> tuple[str, ...]:
    parts, chosen = _parts(settings, seed, test_seed, fold), _indices(settings, seed, test_seed, fold)
    classes = parts.classes or ()
    targets = {"train": parts.train.targets, "validation": parts.validation.targets}
    counts = {part: Counter(classes[number] for number in numbers.tolist()) for part, numbers in targets.items()}
    if "test" in chosen:
        counts["test"] = Counter(settings.source("train").labels[row] for row in chosen["test"])
    elif (test := counts_of(settings.path, "test", settings.drop)) is not None:
        counts["test"] = test
    lines = table_of_classes(classes, counts)
    for part in ("train", "validation"):
        lines += [] if part in chosen and part != "train" else _of_store(settings.store(part), part)
    return (*lines, *repeated_in_words(parts.train.inputs.numpy(), parts.validation.inputs.numpy(), "validation"))


def _split(settings: _Settings, chosen: dict[str, NDArray[np.int64]], part: str) -> Split:
    """Return a part: rows of the train files, or all rows of files of its own."""
    place = "train" if part in chosen else part
    numbers = _numbers(settings, place)
    rows = chosen.get(part, np.arange(len(numbers)))
    return Split(torch.from_numpy(settings.store(place).pixels(rows)), torch.from_numpy(numbers[rows]))


def _check_content(store: PictureStore, train: Split) -> None:
    """Refuse pictures of which decoding leaves nothing to tell apart."""
    low, high = train.inputs.min().item(), train.inputs.max().item()
    if low == high or store.changes["collapsed"] == store.decoded:
        first = store.source.where(0)
        values = f"the value {low:g}" if low == high else "one value each"
        raise ArgumentError(
            "path",
            f": the {len(train.inputs)} train pictures have {values} only, once they are decoded; the first is "
            f"{first}. Look at its depth, its transparent parts (background) and size.",
        )


class Images(Task):
    """Tell images apart. Pixels stay uint8 on the device and become normalised floats batch by batch.

    `path`: a folder with train-*.parquet and test-*.parquet, a folder with a subfolder of images for each class (under
    train/ and test/, or at once), or a name on the Hugging Face hub. Without a test part `test_share` of the train part
    is put aside; without a validation part `validation`: a share or a number of rows, `{folds: 5}` or `{repeats: 3,
    share: 0.25}`. `rows` limits the train rows. All three are drawn class by class with the seed. `augment: flip_crop`
    shifts images by up to 4 pixels while training and, with `flip`, mirrors half of them. `channels` (1, 3) and `size`
    (pixels) convert. Transparent parts show the grey `background` (0 to 255). `drop` names classes, that is folders, to
    leave out.

    Classes are those of the train part, whose names number every part; a class that it lacks is an error. Pictures are
    decoded as `tasks.pictures.decode` says, by rules which `preparation` returns.
    """

    def __init__(
        self,
        *,
        path: str | None,
        rows: int | None = None,
        validation: float | Mapping[str, Any] = 0.1,
        test_share: float = 0.2,
        augment: str = "none",
        flip: bool = True,
        image_column: str | None = None,
        label_column: str | None = None,
        channels: int | None = None,
        size: int | None = None,
        background: int = 255,
        drop: Sequence[str] = (),
        seed: int = 0,
        test_seed: int | None = None,
        fraction: float = 1.0,
        coreset: str = "random",
    ) -> None:
        super().__init__(seed=seed, test_seed=test_seed, fraction=fraction, coreset=coreset)
        if path is None or not str(path).strip():
            raise ArgumentError(*UNSET)
        choose("augment", augment, AUGMENTATIONS)
        how = Validation.read(validation)
        if how.is_last:
            raise ArgumentError(NAME, f"must be a share or folds of pictures, but got {validation!r}.", (NAME, 0.1))
        check_amount("test_share", test_share)
        if channels not in (None, 1, 3):
            raise ArgumentError("channels", f"must be one of (null, 1, 3), but got {channels!r}.", ("channels", 3))
        for name, number in (("rows", rows), ("size", size)):
            if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
                raise ArgumentError(name, f"must be null or a whole number of at least 1, but got {number!r}.")
        if isinstance(background, bool) or not isinstance(background, int) or not 0 <= background <= 255:
            raise ArgumentError("background", f"must be a whole number of 0 to 255, but got {background!r}.")
        self.augment, self.flip = augment, flip
        self._settings = _Settings(
            *(str(path), rows, how, test_share, image_column, label_column, _names(drop)),
            *(channels, size, background, stamp_of(str(path))),
        )

    def load(self) -> Parts:
        """Decode the train and validation pictures."""
        self.notices = _notices(self._settings, self.seed, self.test_seed, self.fold or 0)
        return _parts(self._settings, self.seed, self.test_seed, self.fold or 0)

    @property
    def draws(self) -> int:
        """How many networks a trial trains, each judged by pictures that it has not seen."""
        return self._settings.validation.draws

    def load_test(self) -> Split:
        """Decode the test pictures; what there is to say of them becomes notices too."""
        place = self.seed, self.test_seed, self.fold or 0
        chosen = _indices(self._settings, *place)
        split = _split(self._settings, chosen, "test")
        lines = [] if "test" in chosen else _of_store(self._settings.store("test"), "test")
        lines += repeated_in_words(_parts(self._settings, *place).train.inputs.numpy(), split.inputs.numpy(), "test")
        self.notices = (*self._notices, *lines)
        return split

    def check_test_part(self) -> None:
        """Check by names of folders and columns that the test part has no class which the train part lacks."""
        settings = self._settings
        if "test" in parts_of(settings.path):
            classes = settings.source("train").classes
            check_classes(settings.path, "test", settings.columns, settings.drop, classes)

    def fit_statistics(self, train: Split) -> None:
        """Learn each channel's mean and deviation."""
        statistics = channel_statistics if train.inputs.dtype == torch.uint8 else value_statistics
        self._mean, self._deviation = statistics(train.inputs)

    def transform(self, training: bool) -> Transform:
        """Normalise on the device; while training, shift and flip first if asked to."""
        kind = Normalise if self._settings.rules().dtype is np.uint8 else Standardise
        normalise = kind(self._mean, self._deviation, self.device)
        return FlipCrop(normalise, self.flip) if training and self.augment == "flip_crop" else normalise

    def preparation(self) -> dict[str, object]:
        """How a picture becomes pixels, and how these are standardised per channel, those of 8 bits in [0, 1]."""
        rules, column = self._settings.rules(), self._settings.source("train").column
        picture = {**rules.to_dict(), **({} if column is None else {"column": column})}
        statistics = {"mean": list(self._mean), "scale": list(self._deviation)}
        divide = {"divide": 255} if rules.dtype is np.uint8 else {}
        return {**divide, "standardise": statistics, "picture": picture}


def _of_store(store: PictureStore, part: str) -> list[str]:
    """Say what was passed over in the files of a part, and what was done to its pictures."""
    return [f"{part}: {line}" for line in (*store.source.passed_over, *changes_in_words(store.changes, store.decoded))]


def _names(drop: object) -> tuple[str, ...]:
    if isinstance(drop, str) or not isinstance(drop, Sequence):
        raise ArgumentError("drop", f"must be a list of names, but got {drop!r}.", ("drop", "[name]"))
    return tuple(class_name(name) for name in drop)
