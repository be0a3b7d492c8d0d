"""From an encoded picture to numbers, by rules that training writes down and `predict` reads: one function for both."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kirigami.tasks.pictures.modes import Encoded, Opened, UnusablePicture, open_picture

EIGHT, SIXTEEN = 255, 65_535
EXACT = 2**24  # up to which float32 holds every whole number


@dataclass(frozen=True)
class Rules:
    """What every picture of a task is brought to.

    Attributes:
        channels: 1 (grey) or 3 (red, green, blue).
        height: in pixels.
        width: in pixels.
        white: the number that full brightness becomes; 255 keeps whole numbers of 8 bits (uint8), any other makes
            float32. None keeps measured values (float pictures) as they are.
        resize: whether pictures of another size are resized (bicubic, both sides by themselves) or refused.
        background: the grey (0 to 255) that transparent parts are laid over.
    """

    channels: int
    height: int
    width: int
    white: float | None = EIGHT
    resize: bool = False
    background: int = EIGHT

    @property
    def dtype(self) -> type:
        """Return the type of the numbers."""
        return np.uint8 if self.white == EIGHT else np.float32

    def to_dict(self) -> dict[str, Any]:
        """Return the rules in plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, rules: Mapping[str, Any]) -> "Rules":
        """Build the rules from `to_dict`, whatever else it holds."""
        return cls(**{name: rules[name] for name in cls.__dataclass_fields__ if name in rules})


@dataclass(frozen=True)
class Picture:
    """A decoded picture.

    Attributes:
        pixels: uint8 or float32 (channels, height, width).
        changes: what was done to it that its owner may not expect, as keys of `wording.CHANGES`.
    """

    pixels: NDArray[Any]
    changes: tuple[str, ...]


def decode(encoded: Encoded, rules: Rules, where: str) -> Picture:
    """Decode a picture: its first frame, turned as its orientation tag says, brought to channels, size and scale.

    Raises:
        UnusablePicture: where it cannot be decoded, or not be brought to the rules.
    """
    opened = open_picture(encoded, where)
    changes = list(opened.changes)
    _check_size(opened.image, rules, where)
    bring = _shallow if opened.kind in ("grey", "colour") else _deep
    pixels = bring(opened, rules, where, changes)
    if _is_even(pixels) and not _is_even(np.asarray(opened.image)):
        changes.append("collapsed")
    return Picture(pixels, tuple(changes))


def size_of(encoded: Encoded, where: str) -> tuple[int, int]:
    """Return width and height of a picture after it is turned as its orientation tag says."""
    width, height = open_picture(encoded, where).image.size
    return width, height


def _check_size(image: Any, rules: Rules, where: str) -> None:
    if image.size != (rules.width, rules.height) and not rules.resize:
        sizes = f"is {image.size[0]}x{image.size[1]} pixels, not {rules.width}x{rules.height}"
        raise UnusablePicture(where, sizes, "size")


def _is_even(values: NDArray[Any]) -> bool:
    """Say whether all numbers are the same; of most pictures two tell that they are not."""
    first = values.flat[0]
    return bool(values.flat[-1] == first and (values == first).all())


def _shallow(opened: Opened, rules: Rules, where: str, changes: list[str]) -> NDArray[Any]:
    """Bring a picture of 8 bits to the rules."""
    if rules.white is None:
        raise UnusablePicture(where, "has 8 bits, and the others are measured values, which have no scale in common")
    image = opened.image
    if rules.channels == 1 and opened.kind == "colour":
        changes.append("grey")
    if image.mode == "CMYK":
        changes.append("cmyk")
    if image.has_transparency_data:
        image = _opaque(image, rules.background, changes)
    mode = "L" if rules.channels == 1 else "RGB"
    try:
        image = image if image.mode == mode else image.convert(mode)
    except ValueError:
        raise UnusablePicture(where, f"has the colours {image.mode}, which cannot be converted to {mode}") from None
    image = _resized(image, rules)
    pixels = np.asarray(image).reshape(rules.height, rules.width, rules.channels).transpose(2, 0, 1)
    if rules.white == EIGHT:
        return pixels
    if rules.white == SIXTEEN:
        changes.append("8 to 16 bits")
    return (pixels * (rules.white / EIGHT)).astype(np.float32)


def _opaque(image: Any, background: int, changes: list[str]) -> Any:
    """Lay a picture over grey where it is transparent."""
    from PIL import Image

    layer = image.convert("RGBA")
    if layer.getchannel("A").getextrema()[0] < EIGHT:
        changes.append("transparent")
    return Image.alpha_composite(Image.new("RGBA", layer.size, (background, background, background, EIGHT)), layer)


def _deep(opened: Opened, rules: Rules, where: str, changes: list[str]) -> NDArray[Any]:
    """Bring a picture of 16 bits, or of measured values, to the rules, whole."""
    from PIL import Image

    values = np.asarray(opened.image).astype(np.float64)
    if not np.isfinite(values).all():
        raise UnusablePicture(where, "holds values that are not finite (NaN or infinite)")
    if (opened.kind == "values") != (rules.white is None):
        depths = ("16 bits", "measured values") if opened.kind == "16 bits" else ("measured values", "16 bits or fewer")
        raise UnusablePicture(where, f"holds {depths[0]}, and the others {depths[1]}; they have no scale in common")
    if opened.image.mode == "I" and (values != values.astype(np.float32)).any():
        raise UnusablePicture(where, f"holds whole numbers above {EXACT}, of which neighbours would become the same")
    if rules.white is not None:
        values *= rules.white / SIXTEEN
    pixels = np.asarray(_resized(Image.fromarray(values.astype(np.float32)), rules))
    if rules.white == EIGHT:
        changes.append("16 to 8 bits")
        pixels = np.rint(pixels.clip(0, EIGHT))
    return np.repeat(pixels[None], rules.channels, axis=0).astype(rules.dtype)


def _resized(image: Any, rules: Rules) -> Any:
    from PIL import Image

    size = (rules.width, rules.height)
    return image if image.size == size else image.resize(size, Image.Resampling.BICUBIC)
