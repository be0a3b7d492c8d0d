"""Random damage: flipped bits, cuts, moved and foreign parts, lying sizes. None loads, or ends in another error.

`python -m pytest --hypothesis-profile thorough tests/models/test_compact_fuzz.py` tries thousands of each.
"""

import zlib
from collections.abc import Callable

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kirigami.models.compact import container, decode_state
from tests.models.compact_files import alike, large, sample

FILES = {"most forms": sample, "alike": alike, "large": large}
LIES = [b"99999999", b"\xff" * 8, b"\xff\xff\xff\xff\x0f", (1 << 40).to_bytes(8, "little")]


@st.composite
def spans(draw: st.DrawFn, size: int) -> tuple[int, int]:
    """Return two places in order, most often near the start, where the sizes stand."""
    end = min(size, 130) if draw(st.booleans()) else size
    start = draw(st.integers(0, end - 1))
    return start, draw(st.integers(start + 1, end))


def flip(draw: st.DrawFn, data: bytes, start: int, end: int) -> bytes:
    return data[:start] + bytes([data[start] ^ 1 << draw(st.integers(0, 7))]) + data[start + 1 :]


def cut(draw: st.DrawFn, data: bytes, start: int, end: int) -> bytes:
    return data[:start] + (data[end:] if draw(st.booleans()) else b"")


def grow(draw: st.DrawFn, data: bytes, start: int, end: int) -> bytes:
    return data[:start] + draw(st.binary(min_size=1, max_size=200)) + data[start:]


def swap(draw: st.DrawFn, data: bytes, start: int, end: int) -> bytes:
    middle = (start + end) // 2
    return data[:start] + data[middle:end] + data[start:middle] + data[end:]


def fill(draw: st.DrawFn, data: bytes, start: int, end: int) -> bytes:
    return data[:start] + draw(st.sampled_from([b"\0", b"\xff", b"\x7f", b"\x80"])) * (end - start) + data[end:]


def lie(draw: st.DrawFn, data: bytes, start: int, end: int) -> bytes:
    """Put a large number where a number may stand."""
    number = draw(st.sampled_from(LIES))
    return data[:start] + number + data[start + len(number) :]


@st.composite
def damaged(draw: st.DrawFn, case: str, checked: bool) -> bytes:
    """Return a damaged file, or one whose body alone is damaged, behind a right header and quick check."""
    data, sealed = container.unseal(FILES[case]()) if checked else (FILES[case](), b"")
    harmed = data
    for _ in range(draw(st.integers(1, 3))):
        change: Callable[..., bytes] = draw(st.sampled_from([flip, cut, grow, swap, fill, lie]))
        harmed = change(draw, harmed, *draw(spans(len(harmed)))) if harmed else harmed
    assume(harmed != data)
    return rebuilt(harmed, sealed) if checked else harmed


def rebuilt(body: bytes, sealed: bytes) -> bytes:
    """Return a file with a right header and quick check, and any seal."""
    inside = zlib.crc32(sealed + body).to_bytes(4, "little") + sealed + body
    return container._header(1 + len(inside)) + bytes([container.VERSION]) + inside


def assert_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"\A[^\n]+\Z"):  # one line
        decode_state(data)


@pytest.mark.parametrize("case", FILES)
class TestDamage:
    @settings(max_examples=10 * settings.default.max_examples)
    @given(drawn=st.data())
    def test_is_refused_in_one_line(self, case: str, drawn: st.DataObject) -> None:
        assert_refused(drawn.draw(damaged(case, checked=False)))

    @given(drawn=st.data())
    def test_behind_a_right_check_is_refused_in_one_line(self, case: str, drawn: st.DataObject) -> None:
        assert_refused(drawn.draw(damaged(case, checked=True)))

    def test_undamaged_loads(self, case: str) -> None:
        data = FILES[case]()
        assert decode_state(rebuilt(*container.unseal(data))).keys() == decode_state(data).keys()
