"""A second reader of compact files, written from docs/format.md alone; the usual text is all that is ours."""

import hashlib
import json
import math
import zlib
from collections import defaultdict
from typing import Any

import numpy
import zstandard

from kirigami.models.compact import File
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


FLOATS = {0: (8, 23, "u4"), 1: (5, 10, "u2"), 2: (8, 7, "u2"), 3: (11, 52, "u8")}


SIZES = (4, 2, 2, 8, 8, 4, 2, 1, 1, 1)


class Second:
    """The tensors, by name, as bit patterns; and the streams."""

    def __init__(self, data: bytes) -> None:
        header = int.from_bytes(data[:8], "little")
        assert json.loads(data[8 : 8 + header])["kgm"]["shape"] == [len(data) - 8 - header]
        inside = data[8 + header :]
        assert inside[0] == 2
        assert int.from_bytes(inside[1:5], "little") == zlib.crc32(inside[5:])
        sizes = Plan(inside[21:])
        planned, coded = sizes.varint(), sizes.varint()
        body = bytes(sizes.data[::-1])
        self.bits, self.rest = Bits(body[:coded]), Rest(body[coded:])
        self.marks: list[Any] = []
        self.masks: Any = defaultdict(list)
        self.rows: Any = defaultdict(list)
        self.plan = plan = Plan(self.bits.text(planned, "text"))
        records, name, shape = [], "", ()
        for _ in range(plan.varint()):
            name, code = plan.name(name), plan.data.pop()
            shape = plan.shape(shape)
            records.append((name, code // 16, code % 16, shape, self.arguments(code // 16)))
        streams = [(plan.name(""), plan.varint(), plan.varint()) for _ in range(plan.varint())]
        small = {name: self.bits.text(size, "text") for name, size, blob in streams if not blob}
        self.values: list[Any] = []
        first: dict[Any, int] = {}
        for t, (name, form, kind, shape, arguments) in enumerate(records):
            self.t, self.kind, self.shape = t, kind, shape
            self.l = t if form == 0 else first.setdefault((name.split(".")[-1], min(len(shape), 2)), t)
            self.values.append(self.tensor(form, arguments).reshape(shape))
        self.streams = {name: self.rest.blob(blob).tobytes() if blob else small[name] for name, _, blob in streams}
        self.tensors = {one[0]: value for one, value in zip(records, self.values, strict=True) if one[0]}
        digests = [value.tobytes() for value in self.tensors.values()] + list(self.streams.values())
        sealed = inside[:1] + inside[21:] + b"".join(hashlib.sha256(one).digest() for one in digests)
        assert hashlib.sha256(sealed).digest()[:16] == inside[5:21]

    def arguments(self, form: int) -> list[int]:
        found = [self.plan.varint() for _ in range((1, 2, 3, 5, 5, 7, 1, 1, 2)[form])]
        if form == 4:
            widths = found[3].bit_count()
            found += [self.plan.varint() for _ in range(widths + (widths > 1))]
        return found

    def tensor(self, form: int, a: list[int]) -> Any:
        count = math.prod(self.shape)
        if form == 0:
            return self.values[self.t - a[0]]
        if form == 6:
            size = SIZES[self.kind]
            if a[0]:
                return self.rest.planes(a[0], size)
            return numpy.frombuffer(self.bits.text(count * size, "whole"), f"<u{size}")
        if form == 7:
            return self.mask(a[0]).astype(numpy.uint8)
        kind = FLOATS[self.kind][2]
        if form == 1:
            return self.numbers(count, *a)
        if form == 8:
            return numpy.repeat(self.numbers(1, *a), count)
        kept = self.mask(a[0])
        found = numpy.zeros(self.shape, kind)
        some = int(kept.sum())
        if form == 2:
            found[kept] = self.numbers(some, *a[1:])
        elif form == 3:
            colours = self.numbers(a[1], a[2], a[3])
            found[kept] = colours[self.symbols(some, (a[1] - 1).bit_length(), a[4])]
        elif form == 4:
            found = self.levels(kept, *a[1:])
        elif form == 5:
            self.l, real = self.t, kind.replace("u", "f")
            numbers = self.numbers(1 + len(self.values[self.t - a[1]]), a[3], a[4]).view(real)
            wide = "f8" if a[2] else real
            total = numpy.zeros(self.shape, wide)
            for row, template in zip(numbers[1:], self.values[self.t - a[1]].view(real), strict=True):
                total = total + row.astype(wide) * template.astype(wide)
                total = total.astype(real).astype(wide) if a[2] == 1 else total
            mixed = (total.astype(real) * numbers[0]).view(kind)[kept].astype(numpy.int64)
            z = self.symbols(some, a[5], a[6])
            found[kept] = mixed + numpy.where(z % 2, -(z + 1) // 2, z // 2)
        return found

    def levels(self, kept: Any, k: int, g: int, widths: int, sides: int, *x: int) -> Any:
        self.l, kind = self.t, FLOATS[self.kind][2]
        scale = self.numbers(1, k, g)
        some, used, x_ = int(kept.sum()), [p for p in range(9) if widths >> p & 1], list(x)
        bits = numpy.full(self.shape, used[0] if used else 0)
        if len(used) > 1:
            shape = [side if sides >> axis & 1 else 1 for axis, side in enumerate(self.shape)]
            whole = math.prod(shape) == kept.size
            table = self.symbols(some if whole else math.prod(shape), (len(used) - 1).bit_length(), x_.pop(0))
            if whole:
                bits[kept] = numpy.array(used)[table]
            else:
                bits[...] = numpy.array(used)[table].reshape(shape)
        found = numpy.zeros(self.shape, kind.replace("u", "f"))
        for p in used:
            chosen_ = kept & (bits == p)
            level = 2 * self.symbols(int(chosen_.sum()), p, x_.pop(0)) - 2**p + 1
            found[chosen_] = (level * 2.0 ** (1 - p)).astype(found.dtype) * scale.view(found.dtype)[0]
        return found.view(kind)

    def numbers(self, count: int, k: int, g: int) -> Any:
        exponent, mantissa, kind = FLOATS[self.kind]
        if k == 255:
            self.marks.append("planes")
            return self.rest.planes(g, SIZES[self.kind])
        l, t, many = self.l, self.t, k >= 64  # noqa: E741
        if many:
            self.marks.append("many")
            k, g, size = k - 64, g & 4095, g >> 12
            exponents = self.rest.planes(size, 1 + (exponent > 8)).tolist()
            signs = [self.rest.bare(1) for _ in range(count)]
        else:
            exponents = []
            for _ in range(count):
                chain = lambda node: ((c := exponent << 16 | node), l << 32 | c, t << 32 | c)  # noqa: E731
                exponents.append(self.bits.number(exponent, "exponent", chain))
            signs = [self.bits.bit("sign", l, t) for _ in range(count)]
        widths = [min(k, max(0, mantissa - g + max(e, 1))) if g else k for e in exponents]
        tops = [0 if many or not w else self.bits.bit("top", l, l << 16 | e) for w, e in zip(widths, exponents)]  # noqa: B905
        found = []
        for e, s, w, top in zip(exponents, signs, widths, tops, strict=True):
            low = self.rest.bare(w if many else max(0, w - 1))
            m = low if many or not w else top << w - 1 | low
            found.append((s << exponent | e) << mantissa | m << mantissa - w)
        return numpy.array(found, kind)

    def symbols(self, count: int, w: int, x: int) -> Any:
        if not w or not count:
            return numpy.zeros(count, numpy.int64)
        if x > 16:
            return self.rest.blob(x - 16).astype(numpy.int64)
        found: list[int] = []
        self.marks += ["tops"] if x == 16 else ["echo"] if x > 2 else []
        low = max(0, w - 4) if x == 16 else 0
        for at in range(count):
            if x == 0:
                found.append(self.rest.bare(w))
            elif x < 3 or x == 16:
                v = found[-1] if x == 2 and found else 0
                chain = lambda n, v=v: (g := w << 8 | n, h := self.t << 12 | g, h << 8 | v)  # noqa: E731
                found.append(self.bits.number(w - low, "symbol", chain))
            else:
                v = int(self.rows[count, w][2 - x][at])
                found.append(self.bits.number(w, "echo", lambda n, v=v: (g := w << 16 | v << 8 | n, self.t << 20 | g)))
        found = [top << low | self.rest.bare(low) for top in found]
        self.rows[count, w].append(found)
        return numpy.array(found)

    def mask(self, m: int) -> Any:
        count = math.prod(self.shape)
        if m == 0:
            return numpy.ones(self.shape, bool)
        if m > 16:
            return numpy.unpackbits(self.rest.blob(m - 16))[:count].astype(bool).reshape(self.shape)
        a, bits = min(m - 1, 6), []
        self.marks += ["echoed mask"] if m > 6 else []
        sides = list(self.shape) if len(self.shape) > 1 else [1, *(self.shape or (1,))]
        inputs, places = sides[1], math.prod(sides[2:])
        line = sides[-1] if len(sides) > 2 else 1
        row, columns = 0, [0] * inputs
        for at in range(count):
            o, i, q = at // (inputs * places), at // places % inputs, at % places
            row = row if i or q else 0
            left = bits[-1] if q % line else 0
            above = bits[-line] if q >= line else 0
            before = bits[-places] if i else 0
            last = bits[-inputs * places] if o else 0
            r = (64 * row // (i * places + q + 1)).bit_length()
            c = (64 * columns[i] // (o * places + q + 1)).bit_length()
            some = (left + above + before + last + 1) // 2
            echo = self.masks[self.shape][6 - m][at] if a == 6 else 0
            f = (0, left + 2 * above + 4 * before + 8 * last, r, c, 8 * r + c, 64 * some + 8 * r + c, echo)[a]
            bits.append(self.bits.bit("mask", 0, self.t, self.t << 16 | a << 8 | f))
            row, columns[i] = row + bits[-1], columns[i] + bits[-1]
        self.masks[self.shape].append(bits)
        return numpy.array(bits, bool).reshape(self.shape)


def assert_same(ours: File, other: Second) -> None:
    assert other.streams == ours.extra
    assert list(other.tensors) == list(ours.patterns)
    for name, value in other.tensors.items():
        assert list(value.shape) == list(ours.patterns[name].shape)
        assert value.tobytes() == ours.patterns[name].tobytes()
