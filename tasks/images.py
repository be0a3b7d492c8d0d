"""Tell images apart: Parquet files as the Hugging Face hub keeps them, folders of classes, or the hub itself."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from kirigami.errors import ArgumentError, choose
from kirigami.tasks.augment import FlipCrop, Normalise, channel_statistics
from kirigami.tasks.batches import Transform
from kirigami.tasks.files import UNSET
from kirigami.tasks.image_files import parts_of
from kirigami.tasks.image_store import ImageStore, open_store
from kirigami.tasks.splits import LIMIT_STREAM, TEST_STREAM, VALIDATION_STREAM, carve, check_amount, rows_of
from kirigami.tasks.task import Parts, Split, Task

AUGMENTATIONS = ("none", "flip_crop")


@dataclass(frozen=True)
class _Source:
    """Everything that decides which images go where, hashable so that reading can be memoised."""

    path: str
    rows: int | None
    validation: float
    test_share: float
    image_column: str | None
    label_column: str | None
    channels: int | None
    size: int | None

    def store(self, part: str, shape: tuple[int, int, int] | None = None) -> ImageStore:
        columns = (self.image_column, self.label_column)
        return open_store(self.path, part, columns, shape, self.channels, self.size)


@lru_cache(maxsize=8)
def _indices(source: _Source, seed: int, test_seed: int) -> dict[str, np.ndarray]:
    """Choose the rows of the train files that serve each part; a part with files of its own is left out."""
    parts = parts_of(source.path)
    strata = source.store("train").labels
    rest, chosen = np.arange(len(strata)), {}
    if "test" not in parts:
        wanted = rows_of("test_share", source.test_share, len(rest))
        rest, chosen["test"] = carve(strata, wanted, seed=test_seed, stream=TEST_STREAM)
    if "validation" not in parts:
        kept, taken = carve(strata[rest], _validation_rows(source, len(rest)), seed=seed, stream=VALIDATION_STREAM)
        rest, chosen["validation"] = rest[kept], rest[taken]
    if source.rows is not None and source.rows > len(rest):
        raise ArgumentError("rows", f"must be at most {len(rest)}, the train rows there are, but got {source.rows}.")
    if source.rows is not None:
        rest = rest[carve(strata[rest], source.rows, seed=seed, stream=LIMIT_STREAM)[1]]
    return {**chosen, "train": rest}


def _validation_rows(source: _Source, total: int) -> int:
    """Turn a share into rows: of all train rows, or of as many as leave `task.rows` to train on."""
    if source.validation >= 1 or source.rows is None:
        return rows_of("validation", source.validation, total)
    return rows_of("validation", source.validation, min(total, round(source.rows / (1 - source.validation))))


@lru_cache(maxsize=4)
def _parts(source: _Source, seed: int, test_seed: int) -> Parts:
    chosen, store = _indices(source, seed, test_seed), source.store("train")
    if len(store.classes) < 2:
        raise ArgumentError("path", f": {source.path!r} holds one class only, {store.classes}; two are needed.")
    if "validation" in chosen:
        validation = _split(store, chosen["validation"], store.classes)
    else:
        other = source.store("validation", store.shape)
        validation = _split(other, np.arange(len(other)), store.classes)
    return Parts("classes", _split(store, chosen["train"], store.classes), validation, store.classes)


def _split(store: ImageStore, rows: np.ndarray, classes: tuple[str, ...]) -> Split:
    return Split(store.pixels(rows), torch.from_numpy(store.number(classes)[rows]))


class Images(Task):
    """Tell images apart. Pixels stay uint8 on the device and become normalised floats batch by batch.

    `path`: a folder with train-*.parquet and test-*.parquet, a folder with a subfolder of images for each class
    (under train/ and test/, or at once), or a name on the Hugging Face hub. Without a test part `test_share` of the
    train part is put aside; without a validation part `validation`, a share or a number of rows. `rows` limits the
    train rows. All three are drawn class by class with the seed. `augment: flip_crop` shifts images by up to 4
    pixels while training and, with `flip`, mirrors half of them. `channels` (1, 3) and `size` (pixels) convert.
    """

    def __init__(
        self,
        *,
        path: str | None,
        rows: int | None = None,
        validation: float = 0.1,
        test_share: float = 0.2,
        augment: str = "none",
        flip: bool = True,
        image_column: str | None = None,
        label_column: str | None = None,
        channels: int | None = None,
        size: int | None = None,
        seed: int = 0,
        test_seed: int | None = None,
        fraction: float = 1.0,
        coreset: str = "random",
    ) -> None:
        super().__init__(seed=seed, test_seed=test_seed, fraction=fraction, coreset=coreset)
        if path is None or not str(path).strip():
            raise ArgumentError(*UNSET)
        choose("augment", augment, AUGMENTATIONS)
        check_amount("validation", validation)
        check_amount("test_share", test_share)
        if channels not in (None, 1, 3):
            raise ArgumentError("channels", f"must be one of (null, 1, 3), but got {channels!r}.", ("channels", 3))
        for name, number in (("rows", rows), ("size", size)):
            if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
                raise ArgumentError(name, f"must be null or a whole number of at least 1, but got {number!r}.")
        self.augment, self.flip = augment, flip
        self._source = _Source(str(path), rows, validation, test_share, image_column, label_column, channels, size)

    def load(self) -> Parts:
        """Decode the train and validation images."""
        return _parts(self._source, self.seed, self.test_seed)

    def load_test(self) -> Split:
        """Decode the test images."""
        train, chosen = self._source.store("train"), _indices(self._source, self.seed, self.test_seed)
        if "test" in chosen:
            return _split(train, chosen["test"], train.classes)
        other = self._source.store("test", train.shape)
        return _split(other, np.arange(len(other)), train.classes)

    def fit_statistics(self, train: Split) -> None:
        """Learn each channel's mean and deviation."""
        self._mean, self._deviation = channel_statistics(train.inputs)

    def transform(self, training: bool) -> Transform:
        """Normalise on the device; while training, shift and flip first if asked to."""
        normalise = Normalise(self._mean, self._deviation, self.device)
        return FlipCrop(normalise, self.flip) if training and self.augment == "flip_crop" else normalise

    def preparation(self) -> dict[str, object]:
        """Pixels of 0 to 255 are divided by 255, then standardised per channel."""
        return {"divide": 255, "standardise": {"mean": list(self._mean), "scale": list(self._deviation)}}
