"""A picture becomes the numbers that its owner sees, whatever its mode, form and orientation."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from kirigami.tasks.pictures.decode import EIGHT, SIXTEEN, Rules, decode
from kirigami.tasks.pictures.modes import UnusablePicture
from tests.tasks.picture_files import Drawn, encode, image_of, pictures

EXAMPLES = int(os.environ.get("KIRIGAMI_EXAMPLES", "50"))
LUMA = np.array([0.299, 0.587, 0.114])


def turned(pixels: NDArray, orientation: int) -> NDArray:
    """Turn pixels (H, W, ...) as the tag of a camera says: the standard's own table."""
    rows = pixels[::-1] if orientation in (3, 4, 6, 7) else pixels
    rows = rows[:, ::-1] if orientation in (2, 3, 7, 8) else rows
    return rows.swapaxes(0, 1) if orientation >= 5 else rows


def seen(picture: Drawn, background: int) -> NDArray:
    """Return what one sees of a picture of 8 bits: (H, W, 3), or (H, W) where it is grey."""
    stored, mode = picture.stored, picture.mode
    if mode == "1":
        return np.asarray(stored).astype(float) * 255
    if mode == "P":
        return np.array(stored.getpalette()).reshape(-1, 3)[np.asarray(stored)].astype(float)
    values = np.asarray(stored).astype(float)
    if mode in ("LA", "RGBA"):
        share = values[..., -1:] / 255
        laid = values[..., :-1] * share + background * (1 - share)
        return laid[..., 0] if mode == "LA" else laid
    if mode == "CMYK":
        return (255 - values[..., :3]) * (255 - values[..., 3:]) / 255
    return values


def is_exact(picture: Drawn) -> bool:
    """Say whether a file holds a picture of 8 or 16 bits without loss."""
    return picture.form != "JPEG" and picture.mode not in ("I", "F")


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    pictures().filter(is_exact),
    st.sampled_from([1, 3]),
    st.sampled_from([0, 100, 255]),
    st.sampled_from([EIGHT, SIXTEEN]),
)
def test_numbers_are_what_one_sees(picture: Drawn, channels: int, background: int, white: int) -> None:
    if picture.mode == "I;16":
        wanted, tolerance = np.asarray(picture.stored) * (white / SIXTEEN), 0.5
    else:
        wanted, tolerance = seen(picture, background) * (white / EIGHT), 2 * white / EIGHT
    wanted = turned(wanted, picture.orientation)
    if wanted.ndim == 3 and channels == 1:
        wanted = wanted @ LUMA
    elif wanted.ndim == 2:
        wanted = wanted[..., None].repeat(channels, axis=-1)
    wanted = wanted.reshape(*wanted.shape[:2], channels).transpose(2, 0, 1)
    rules = Rules(channels, *wanted.shape[1:], white=white, background=background)
    pixels = decode(picture.encoded, rules, "here").pixels
    assert pixels.dtype == (np.uint8 if white == EIGHT else np.float32)
    assert np.abs(pixels - wanted).max() <= tolerance


@settings(max_examples=EXAMPLES, deadline=None)
@given(pictures(), st.floats(0, 1), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4))
def test_a_damaged_file_is_named_or_read(picture: Drawn, share: float, changes: list[tuple[int, int]]) -> None:
    damaged = bytearray(picture.encoded[: round(share * len(picture.encoded))] if not changes else picture.encoded)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    white = None if picture.mode in ("I", "F") else EIGHT
    rules = Rules(1, 5, 5, white=white, resize=True)
    try:
        pixels, line = decode(bytes(damaged), rules, "some/file.png, row 7").pixels, None
    except UnusablePicture as error:
        pixels, line = np.zeros((1, 5, 5)), str(error)
    assert line is None or line.startswith("some/file.png, row 7 ")
    assert line is None or ("\n" not in line and "0x" not in line)
    assert pixels.shape == (1, 5, 5)
    assert np.isfinite(pixels.astype(float)).all()


@pytest.mark.parametrize("top", [200, 4096, 65_536])
def test_sixteen_bits_stay_whole(top: int) -> None:
    image = image_of("I;16", 6, 4, seed=1, top=top)
    for form in ("PNG", "TIFF", "PPM"):
        pixels = decode(encode(image, form), Rules(1, 4, 6, white=SIXTEEN), "here").pixels
        assert np.array_equal(pixels[0], np.asarray(image))


def test_changes_are_said() -> None:
    def changes(image: Image.Image, form: str = "PNG", orientation: int = 1, **rules: object) -> tuple[str, ...]:
        arguments = {"channels": 3, "height": 4, "width": 4, "resize": True, **rules}
        return decode(encode(image, form, orientation), Rules(**arguments), "here").changes  # type: ignore[arg-type]

    assert changes(image_of("RGB", 4, 4, 0)) == ()
    assert changes(image_of("RGB", 4, 4, 0), orientation=6) == ("turned",)
    assert changes(image_of("RGB", 4, 4, 0), channels=1) == ("grey",)
    assert changes(image_of("RGBA", 4, 4, 0)) == ("transparent",)
    assert changes(image_of("CMYK", 4, 4, 0), "TIFF") == ("cmyk",)
    assert changes(image_of("I;16", 4, 4, 0)) == ("16 to 8 bits",)
    assert changes(image_of("I;16", 4, 4, 0, top=90)) == ("16 to 8 bits", "collapsed")
    assert changes(image_of("L", 4, 4, 0), white=SIXTEEN) == ("8 to 16 bits",)
    frames = io.BytesIO()
    image_of("P", 4, 4, 0).save(frames, "GIF", save_all=True, append_images=[image_of("P", 4, 4, 1)])
    assert "frames" in decode(frames.getvalue(), Rules(3, 4, 4), "here").changes


def test_what_has_no_scale_in_common_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.tif").write_bytes(encode(image_of("F", 4, 4, 0), "TIFF"))
    with pytest.raises(UnusablePicture, match=r"x\.tif holds measured values, and the others 16 bits or fewer"):
        decode(tmp_path / "x.tif", Rules(1, 4, 4), str(tmp_path / "x.tif"))
    with pytest.raises(UnusablePicture, match="has 8 bits, and the others are measured values"):
        decode(encode(image_of("L", 4, 4, 0), "PNG"), Rules(1, 4, 4, white=None), "here")
    with pytest.raises(UnusablePicture, match="here holds values that are not finite"):
        decode(encode(Image.fromarray(np.full((4, 4), np.nan, np.float32)), "TIFF"), Rules(1, 4, 4, white=None), "here")
    with pytest.raises(UnusablePicture, match="here holds whole numbers above 16777216"):
        decode(
            encode(Image.fromarray(np.full((4, 4), 2**24 + 1, np.int32)), "TIFF"), Rules(1, 4, 4, white=None), "here"
        )
