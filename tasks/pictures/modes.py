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
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
SCALED_TO_SIXTEEN = ("PNG", "PPM")
"""Forms whose 16 bits Pillow opens as mode I, whole."""


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
        kind: what it holds: "grey", "colour", "16 bits" (grey) or "values" (measured, grey).
        changes: what opening did to it, as keys of `wording.CHANGES`.
    """

    image: Any
    kind: str
    changes: tuple[str, ...]


def open_picture(encoded: Encoded, where: str) -> Opened:
    """Open a picture whole.

    Raises:
        UnusablePicture: where it cannot be decoded.
    """
    from PIL import ExifTags, ImageOps

    with _named(where):
        image = _open(encoded)
        is_halved = any(";16" in str(tile.args) for tile in image.tile) and image.mode not in ("I", *SIXTEEN_BITS)
        has_frames = bool(getattr(image, "is_animated", False))
        image.load()
        is_turned = image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)
        changes = (("frames", has_frames), ("turned", is_turned), ("halved", is_halved))
        turned = ImageOps.exif_transpose(image) if is_turned else image
        return Opened(turned, _kind(image), tuple(name for name, is_so in changes if is_so))


def _open(encoded: Encoded, *, whole: bool = True) -> Any:
    """Open a file as bytes where its pixels are wanted: by its path, Pillow maps some and forgets to turn them."""
    from PIL import Image

    if isinstance(encoded, Path):
        return Image.open(io.BytesIO(encoded.read_bytes()) if whole else encoded, formats=FORMATS)
    return Image.open(io.BytesIO(encoded), formats=FORMATS)


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
        raise UnusablePicture(where, f"cannot be decoded: {_reason(error)}") from None


def _reason(error: BaseException) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "it is damaged, or no picture of a kind that is read here"
    return first_line(error).rstrip(".")


def kind_of(encoded: Encoded, where: str) -> str:
    """Return the `Opened.kind` of a picture by its header, and of one with a palette by its pixels."""
    with _named(where), _open(encoded, whole=False) as image:
        return _kind(image)


def _kind(image: Any) -> str:
    if image.mode in SIXTEEN_BITS or (image.mode == "I" and image.format in SCALED_TO_SIXTEEN):
        return "16 bits"
    if image.mode in ("I", "F"):
        return "values"
    return "colour" if has_colours(image) else "grey"


def has_colours(image: Any) -> bool:
    """Say whether an open picture of 8 bits has colours; of a palette, those count that its pixels show."""
    if image.mode not in ("P", "PA"):
        return image.mode not in ("1", "L", "LA", "La")
    shown = np.unique(np.asarray(image.getchannel(0) if image.mode == "PA" else image))
    palette = np.array(image.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
    colours = palette[shown[shown < len(palette)]]
    return bool((colours != colours[:, :1]).any())
