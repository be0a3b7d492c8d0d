"""Files are what docs/format.md says, by a second reader that was written from that page alone."""

from collections.abc import Callable

import pytest

from kirigami.models.compact import compress_bytes, read
from tests.models.compact_files import alike, large, sample
from tests.models.compact_reader import Bits, Plan, Rest, Second, assert_same


@pytest.mark.parametrize("data", [b"", b"features.0.weight", bytes(range(256)), b"ab" * 300])
def test_rows_of_bytes_are_what_the_page_says(data: bytes) -> None:
    plan = Plan(compress_bytes(data))
    size, in_blob = divmod(plan.varint(), 2)
    rest = bytes(plan.data[::-1])
    decoded = Rest(rest).blob(len(rest)).tobytes() if in_blob else Bits(rest).text(size, "text")
    assert decoded == data


@pytest.mark.parametrize(
    ("make", "marks"),
    [(sample, set()), (alike, {"echo", "echoed mask", "tops"}), (large, {"many", "planes"})],
    ids=["most forms", "alike", "large"],
)
def test_files_are_what_the_page_says(make: Callable[[], bytes], marks: set[str]) -> None:
    other = Second(make())
    assert_same(read(make()), other)
    assert marks <= set(other.marks)
