"""Draw pictures of every mode that files have, and write them."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as arrow
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet

FORMS = {
    "1": ("PNG", "TIFF", "BMP"),
    "L": ("PNG", "TIFF", "BMP", "PPM", "WEBP", "JPEG"),
    "P": ("PNG", "GIF", "BMP", "TIFF"),
    "LA": ("PNG", "TIFF"),
    "RGB": ("PNG", "TIFF", "WEBP", "JPEG", "BMP", "PPM"),
    "RGBA": ("PNG", "TIFF", "WEBP"),
    "CMYK": ("JPEG", "TIFF"),
    "I;16": ("PNG", "TIFF", "PPM"),
    "I": ("TIFF",),
    "F": ("TIFF",),
}
TAGGED = ("PNG", "TIFF", "WEBP", "JPEG")
SUFFIXES = {"PNG": ".png", "TIFF": ".tif", "BMP": ".bmp", "PPM": ".pgm", "WEBP": ".webp", "JPEG": ".JPG", "GIF": ".gif"}


@dataclass(frozen=True)
class Drawn:
    """A picture in a file.

    Attributes:
        mode: of Pillow.
        form: of the file.
        orientation: of the tag, 1 to 8.
        stored: the picture as it lies in the file, not turned.
        encoded: the file.
    """

    mode: str
    form: str
    orientation: int
    stored: Any
    encoded: bytes

    @property
    def suffix(self) -> str:
        return SUFFIXES[self.form]


def encode(image: Any, form: str, orientation: int = 1) -> bytes:
    """Write a picture, without loss where the form can, with its orientation tag."""
    buffer = io.BytesIO()
    tag = Image.Exif()
    tag[0x112] = orientation
    options: dict[str, Any] = {"lossless": True} if form == "WEBP" else {}
    if orientation != 1 and form in TAGGED:
        options["exif"] = tag
    image.save(buffer, form, **options)
    return buffer.getvalue()


def image_of(mode: str, width: int, height: int, seed: int, top: int = 65_536) -> Any:
    """Make a picture of random pixels; `top` bounds those of 16 bits."""
    drawn = np.random.default_rng(seed)
    if mode == "I;16":
        return Image.fromarray(drawn.integers(0, top, (height, width), dtype=np.uint16))
    if mode == "I":
        return Image.fromarray(drawn.integers(0, top, (height, width), dtype=np.int32))
    if mode == "F":
        return Image.fromarray(drawn.normal(size=(height, width)).astype(np.float32))
    bands = {"1": 1, "L": 1, "P": 3, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}[mode]
    values = drawn.integers(0, 256, (height, width, bands), dtype=np.uint8)
    if mode == "1":
        return Image.fromarray(values[..., 0]).point(lambda value: 255 * (value > 127)).convert("1")
    if mode == "P":
        return Image.fromarray(values).quantize(int(drawn.integers(2, 17)))
    return Image.fromarray(values.squeeze(), mode if mode == "CMYK" else None)


@st.composite
def pictures(draw: st.DrawFn) -> Drawn:
    """Draw a picture of any mode, form and orientation."""
    mode = draw(st.sampled_from(sorted(FORMS)))
    form = draw(st.sampled_from(FORMS[mode]))
    orientation = draw(st.integers(1, 8)) if form in TAGGED else 1
    width, height = draw(st.integers(2, 9)), draw(st.integers(2, 9))
    top = draw(st.sampled_from([200, 4096, 65_536]))
    stored = image_of(mode, width, height, draw(st.integers(0, 999)), top)
    return Drawn(mode, form, orientation, stored, encode(stored, form, orientation))


def write_parquet(file: Path, encoded: list[bytes], labels: list[Any] | None = None) -> None:
    """Write pictures, with labels or without, as cells of a Parquet file."""
    columns: dict[str, list[Any]] = {"image": [{"bytes": cell, "path": None} for cell in encoded]}
    parquet.write_table(arrow.table({**columns, **({} if labels is None else {"label": labels})}), file)
