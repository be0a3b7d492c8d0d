"""Decode images to uint8 tensors, each once in a process and only those asked for."""

import io
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kirigami.errors import ArgumentError
from kirigami.tasks.files import first_line
from kirigami.tasks.image_files import Encoded, open_part


class ImageStore:
    """The images of one part: labels known at once, pixels decoded when first asked for and kept.

    `shape` (C, H, W) is what every image is brought to; images of another size are an error unless `resize`.
    """

    def __init__(self, source: Encoded, shape: tuple[int, int, int], resize: bool) -> None:
        self._source = source
        self._resize = resize
        self.shape = shape
        self._pixels = np.empty((len(source.labels), *shape), dtype=np.uint8)
        self._decoded = np.zeros(len(source.labels), dtype=bool)
        self.classes = source.names or tuple(str(label) for label in sorted(set(source.labels)))
        self.labels = self.number(self.classes)

    def __len__(self) -> int:
        return len(self._decoded)

    def number(self, classes: tuple[str, ...]) -> np.ndarray:
        """Number the labels by these classes: int64 (N,); `ValueError` for a label that is none of them."""
        labels = np.array(self._source.labels)
        if self._source.names is not None:
            numbers, is_known = labels.astype(np.int64), (labels >= 0) & (labels < len(classes))
        else:
            place = {name: number for number, name in enumerate(classes)}
            numbers = np.array([place.get(str(label), -1) for label in self._source.labels])
            is_known = numbers >= 0
        if not is_known.all():
            wrong = self._source.labels[int(np.flatnonzero(~is_known)[0])]
            raise ArgumentError("label_column", f": the label {wrong!r} is none of the {len(classes)} classes.")
        return numbers

    def pixels(self, rows: np.ndarray) -> Tensor:
        """Return the images of these rows: uint8 (N, C, H, W), a copy."""
        missing = rows[~self._decoded[rows]]
        if len(missing):
            for row, encoded in zip(missing, self._source.read(missing), strict=True):
                self._pixels[row] = self._decode(encoded, int(row))
            self._decoded[missing] = True
        return torch.from_numpy(self._pixels[rows])

    def _decode(self, encoded: bytes, row: int) -> np.ndarray:
        image = _open(encoded, row)
        channels, height, width = self.shape
        mode = "L" if channels == 1 else "RGB"
        if image.mode != mode:
            image = image.convert(mode)
        if image.size != (width, height):
            if not self._resize:
                sizes = f"{image.size[0]}x{image.size[1]}, not {width}x{height}"
                raise ArgumentError("size", f"is not set, but image {row} is {sizes}.", ("size", min(width, height)))
            image = image.resize((width, height))
        pixels = np.asarray(image)
        return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _open(encoded: bytes, row: int) -> Any:
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(encoded))
        image.load()
    except (OSError, TypeError, SyntaxError) as error:
        raise ArgumentError("path", f": image {row} cannot be decoded: {first_line(error)}") from None
    return image


def _shape_of_first(source: Encoded, channels: int | None, size: int | None) -> tuple[int, int, int]:
    first = _open(next(iter(source.read(np.array([0])))), 0)
    if channels is None:
        channels = 1 if first.mode in ("1", "L") else 3
    width, height = (size, size) if size is not None else first.size
    return channels, height, width


@lru_cache(maxsize=6)
def open_store(
    path: str,
    part: str,
    columns: tuple[str | None, str | None],
    shape: tuple[int, int, int] | None,
    channels: int | None,
    size: int | None,
) -> ImageStore:
    """Open the images of one part, once in a process.

    `shape` is what another part has; without it `channels` and `size` say it, and the first image what they do not.
    """
    source = open_part(path, part, *columns)
    if not source.labels:
        raise ArgumentError("path", f": the {part} part of {path!r} holds no images.")
    if any(label is None for label in source.labels):
        raise ArgumentError("label_column", f": some images of the {part} part have no label.")
    return ImageStore(source, shape or _shape_of_first(source, channels, size), resize=size is not None)
