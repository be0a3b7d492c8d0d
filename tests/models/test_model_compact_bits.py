"""Range code, counts, plan and blobs, written from docs/format.md alone; the usual text is all that is ours."""

from collections import defaultdict
from typing import Any

import numpy
import pytest
import zstandard

from kirigami.models.compact import compress_bytes
from kirigami.models.compact.usual import USUAL

STRENGTHS = {
    "text": (32, 48, 48, 32, 24, 16),
    "whole": (16, 16, 12, 8, 6, 4),
    "mask": (32, 32, 128),
    "symbol": (32, 64, 128),
    "echo": (8, 16),
    "exponent": (16, 32, 32),
    "sign": (128, 128),
    "top": (128, 128),
}


class Bits:
    """The range code and the counts; without a code it learns bits that it is given."""

    def __init__(self, code: bytes) -> None:
        self.data = code.ljust(4, b"\0")
        self.size, self.code, self.at = 2**32 - 1, int.from_bytes(self.data[:4], "big"), 4
        self.counts: Any = {name: [defaultdict(lambda: [0, 0]) for _ in STRENGTHS[name]] for name in STRENGTHS}
        self.known: list[int] = []
        self.known = [int(bit) for byte in USUAL for bit in f"{byte:08b}"][::-1]
        assert self.text(len(USUAL), "text") == USUAL
        assert not self.known

    def bit(self, model: str, *contexts: int) -> int:
        p, rows = 32768, [table[c] for table, c in zip(self.counts[model], contexts, strict=True)]
        for (n, k), s in zip(rows, STRENGTHS[model], strict=True):
            p = (16 * 65536 * k + s * p) // (16 * n + s)
        found = self.known.pop() if self.known else self._decoded(min(max(p, 4), 65532))
        for row in rows:
            row[0] += 1
            row[1] += found
        return found

    def _decoded(self, p: int) -> int:
        bound = (self.size >> 16) * p
        found = int(self.code < bound)
        if found:
            self.size = bound
        else:
            self.code, self.size = self.code - bound, self.size - bound
        while self.size < 2**24:
            self.code = self.code << 8 | (self.data[self.at] if self.at < len(self.data) else 0)
            self.at, self.size = self.at + 1, self.size << 8
        return found

    def number(self, width: int, model: str, contexts: Any) -> int:
        node = 1
        for _ in range(width):
            node = node << 1 | self.bit(model, *contexts(node))
        return node - (1 << width)

    def text(self, count: int, model: str) -> bytes:
        found = b""
        for _ in range(count):
            pasts = [int.from_bytes(found[max(0, len(found) - o) :] if o else b"", "big") for o in (0, 1, 2, 3, 4, 6)]
            found += bytes([self.number(8, model, lambda node, pasts=pasts: [past << 8 | node for past in pasts])])
        return found


class Rest:
    """Bare bits from the front, blobs from the back."""

    def __init__(self, data: bytes) -> None:
        self.bits = numpy.unpackbits(numpy.frombuffer(data, numpy.uint8)).tolist()[::-1]
        self.blobs = data

    def bare(self, width: int) -> int:
        found = 0
        for _ in range(width):
            found = found << 1 | self.bits.pop()
        return found

    def blob(self, size: int) -> Any:
        frame, self.blobs = self.blobs[len(self.blobs) - size :], self.blobs[: len(self.blobs) - size]
        return numpy.frombuffer(zstandard.ZstdDecompressor().decompress(frame), numpy.uint8)

    def planes(self, size: int, width: int) -> Any:
        return numpy.ascontiguousarray(self.blob(size).reshape(width, -1).T).view(f"<u{width}").reshape(-1)


class Plan:
    def __init__(self, data: bytes) -> None:
        self.data = list(data)[::-1]

    def varint(self) -> int:
        byte = self.data.pop()
        return byte if byte < 128 else byte - 128 + 128 * self.varint()

    def name(self, before: str) -> str:
        alike, rest = self.data.pop(), bytearray()
        while (byte := self.data.pop()) != 10:
            rest.append(byte)
        return ".".join([*before.split(".")[:alike], rest.decode()])

    def shape(self, before: tuple[int, ...]) -> tuple[int, ...]:
        code = self.data.pop()
        return (before, before[:1])[code] if code < 2 else tuple(self.varint() for _ in range(code - 2))


@pytest.mark.parametrize("data", [b"", b"features.0.weight", bytes(range(256)), b"ab" * 300])
def test_rows_of_bytes_are_what_the_page_says(data: bytes) -> None:
    plan = Plan(compress_bytes(data))
    size, large = divmod(plan.varint(), 2)
    rest = bytes(plan.data[::-1])
    found = Rest(rest).blob(len(rest)).tobytes() if large else Bits(rest).text(size, "text")
    assert found == data
