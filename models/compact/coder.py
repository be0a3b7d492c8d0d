"""A binary range coder in integers: bits, each with its probability, to bytes and back, alike on every machine.

The interval has 32 bits. A chance is the probability of a one, in 65,536ths, and splits the interval in the order one,
zero; when fewer than 24 bits are left, a byte is written. Bytes beyond the end read as zero, so trailing zeros are
not stored.
G. N. N. Martin, "Range encoding: an algorithm for removing redundancy from a digitised message", 1979.
"""

from collections.abc import Iterable

UNIT = 16  # bits of a chance
FULL, LEAST = (1 << 32) - 1, 1 << 24  # of the interval


def encode(bits: Iterable[int], chances: Iterable[int]) -> bytes:
    """Return the code of bits, each with its chance of being 1, from 1 to 65,535."""
    low, size, out = 0, FULL, bytearray()
    for bit, chance in zip(bits, chances, strict=True):
        bound = (size >> UNIT) * chance
        if bit:
            size = bound
        else:
            low += bound
            size -= bound
        while size < LEAST:
            if low > FULL:
                _carry(out)
            out.append(low >> 24 & 255)
            low = (low & 0xFFFFFF) << 8
            size <<= 8
    for shift in range(32, -1, -8):  # the shortest code within the interval
        code = (low + (1 << shift) - 1) >> shift << shift
        if code < low + size:
            break
    if code > FULL:
        _carry(out)
    return bytes(out + (code & FULL).to_bytes(4, "big")).rstrip(b"\0")


def _carry(out: bytearray) -> None:
    """Propagate a carry: add one to the bytes as one big-endian number."""
    place = len(out) - 1
    while out[place] == 255:
        out[place] = 0
        place -= 1
    out[place] += 1


class Decoder:
    """Reads the bits of a code, given their chances in the same order.

    Args:
        data: the result of `encode`.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.place = 4
        self.size = FULL
        self.code = int.from_bytes(data[:4].ljust(4, b"\0"), "big")

    def bit(self, chance: int) -> int:
        """Return the next bit, which was coded with this chance of being 1."""
        bound = (self.size >> UNIT) * chance
        if self.code < bound:
            self.size = bound
            bit = 1
        else:
            self.code -= bound
            self.size -= bound
            bit = 0
        while self.size < LEAST:
            self.code = self.code << 8 | (self.data[self.place] if self.place < len(self.data) else 0)
            self.place += 1
            self.size <<= 8
        return bit
