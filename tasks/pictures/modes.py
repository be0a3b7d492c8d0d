"""Open a picture, and tell from its mode what it holds: grey or colours, 8 bits, 16 bits, or measured values."""

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kirigami.tasks.files import first_line

Encoded = bytes | Path
SIXTEEN_BITS = ("I", "I;16", "I;16L", "I;16B", "I;16N")
VALUES = "F"
GREY = ("1", "L", "LA", "La", VALUES, *SIXTEEN_BITS)


class UnusablePicture(ValueError):
    """A picture cannot be had as the rules want it; the message begins with its file, and its row where it has one.

    Args:
        where: the picture.
        problem: the rest of the sentence.
        argument: the argument of the task that it is about.
    """

    def __init__(self, where: str, problem: str, argument: str = "path") -> None:
        super().__init__(f"{where} {problem}")
        self.where, self.problem, self.argument = where, problem, argument


@dataclass(frozen=True)
class Opened:
    """A picture as Pillow has it.

    Attributes:
        image: the first frame with its pixels, turned as its orientation tag says.
        has_frames: whether there are more.
        is_turned: whether the tag said something.
    """

    image: Any
    has_frames: bool
    is_turned: bool


def open_picture(encoded: Encoded, where: str) -> Opened:
    """Open a picture whole.

    Raises:
        UnusablePicture: where it cannot be decoded.
    """
    from PIL import ExifTags, ImageOps

    with _named(where):
        image = _open(encoded)
        has_frames = bool(getattr(image, "is_animated", False))
        image.load()
        is_turned = image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)
        return Opened(ImageOps.exif_transpose(image) if is_turned else image, has_frames, is_turned)


def _open(encoded: Encoded, *, whole: bool = True) -> Any:
    """Open a file as bytes where its pixels are wanted: by its path, Pillow maps some and forgets to turn them."""
    from PIL import Image

    if isinstance(encoded, Path):
        return Image.open(io.BytesIO(encoded.read_bytes()) if whole else encoded)
    return Image.open(io.BytesIO(encoded))


@contextmanager
def _named(where: str) -> Iterator[None]:
    """Turn whatever Pillow says of a broken file into one line that begins with its name."""
    from PIL import Image

    broken = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, ArithmeticError, MemoryError)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (*broken, struct.error, zlib.error, Image.DecompressionBombError) as error:
        raise UnusablePicture(where, f"cannot be decoded: {_reason(error)}.") from None


def _reason(error: BaseException) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "it is no picture of a kind that is read here"
    return first_line(error).rstrip(".")


def kind_of(encoded: Encoded, where: str) -> str:
    """Return what a picture holds, by its header: "grey", "colour", "16 bits" or "values"."""
    with _named(where), _open(encoded, whole=False) as image:
        if image.mode == VALUES:
            return "values"
        if image.mode in SIXTEEN_BITS:
            return "16 bits"
        return "colour" if has_colours(image) else "grey"


def has_colours(image: Any) -> bool:
    """Say whether an open picture has colours; of a palette, those colours count that its pixels show."""
    if image.mode not in ("P", "PA"):
        return image.mode not in GREY
    shown = np.unique(np.asarray(image.getchannel(0) if image.mode == "PA" else image))
    palette = np.array(image.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
    colours = palette[shown[shown < len(palette)]]
    return bool((colours != colours[:, :1]).any())
