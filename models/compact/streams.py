"""The contents of a file: modelled bits in one range code, bare bits without a model, and large blobs.

Data too large to be coded bit by bit is compressed by zstd, floats by planes: all first bytes, all second bytes, and so
on, which brings exponents together. Bare bits are stored in writing order from the front, blobs from the back.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy
import zstandard
from numpy.typing import NDArray

from kirigami.models.compact.chances import WHOLE, BitReader, BitWriter, Numbers

LIMIT = 1 << 22  # modelled bits in a file; the rest become blobs
WINDOW = 1 << 27  # bytes of history a frame may ask a reader to hold; level 19 asks for 2^23
LARGE = 1 << 22  # bytes from which zstd's level is at most MODERATE
MODERATE = 12  # of floats by planes, level 19 saves 1.5 % more than this and takes 15 times as long
SKEWED = -1  # in place of a level: hardly any matches are searched for; the rest gets a Huffman code

Bits = NDArray[numpy.uint8]
Widths = int | Numbers
Past = defaultdict[tuple[int, ...], list[Numbers]]  # masks by (0, *shape), symbols by (1, how many, width)


class Writer(BitWriter):
    """Collects the contents of a file.

    Args:
        level: of zstd for the blobs, 1 (quick) to 19 (small).
        many: the file has so many floats that only short rows of them are modelled.
    """

    def __init__(self, level: int = 19, many: bool = False) -> None:
        super().__init__()
        self.level = level
        self.many = many
        self.past: Past = defaultdict(list)
        self.blobs: list[bytes] = []
        self.bare: list[Bits] = []
        self.left = LIMIT

    def claim(self, bits: int) -> bool:
        """Reserve bits for the model; return False, and reserve none, if too few are left."""
        if bits > self.left:
            return False
        self.left -= bits
        return True

    def put_bare(self, values: NDArray[numpy.generic], widths: Widths) -> None:
        """Append whole numbers (n,) in bits of one width or of a width each, the highest bit first."""
        same = _same(widths)
        if same is not None:
            raw = numpy.ascontiguousarray(values.astype(">u8")).view(numpy.uint8).reshape(values.size, 8)
            bytes_ = -(-same // 8)
            spread = numpy.unpackbits(raw[:, 8 - bytes_ :], axis=1)
            self.bare.append(spread[:, 8 * bytes_ - same :].reshape(-1))
            return
        widths = numpy.broadcast_to(numpy.asarray(widths, numpy.int64), values.shape)
        ends = numpy.repeat(numpy.cumsum(widths), widths)
        shifts = (ends - 1 - numpy.arange(ends.size)).astype(numpy.uint64)
        spread = numpy.repeat(values.astype(numpy.uint64), widths)
        self.bare.append((spread >> shifts & numpy.uint64(1)).astype(numpy.uint8))

    def put_blob(self, data: bytes, level: int | None = None) -> int:
        """Append compressed bytes; return the compressed size."""
        self.blobs.append(deflate(data, self.level if level is None else level))
        return len(self.blobs[-1])

    def put_planes(self, items: NDArray[numpy.generic], level: int | None = None) -> int:
        """Append numbers (n,) by planes; return the bytes of the blob."""
        return self.put_blob(planes(items), level)

    def spent(self) -> float:
        """Return the bits that the contents take so far."""
        chances, bits = numpy.array(self.chances, numpy.float64), numpy.array(self.bits)
        modelled = -numpy.log2(numpy.where(bits == 1, chances, WHOLE - chances) / WHOLE).sum()
        return float(modelled) + sum(bare.size for bare in self.bare) + 8 * sum(map(len, self.blobs))

    def rest(self) -> bytes:
        """Return the bytes after the range code."""
        bare = numpy.concatenate(self.bare) if self.bare else numpy.empty(0, numpy.uint8)
        return numpy.packbits(bare).tobytes() + b"".join(reversed(self.blobs))


class Reader(BitReader):
    """Returns the contents of a file in writing order.

    Args:
        code: the range code.
        rest: the bytes after it.
    """

    def __init__(self, code: bytes, rest: bytes) -> None:
        super().__init__(code)
        self.rest = rest
        self.bare_at, self.blob_at = 0, len(rest)
        self.left = LIMIT
        self.past: Past = defaultdict(list)

    def spend(self, bits: int) -> None:
        """Count bits that are about to be read from the range code.

        Raises:
            ValueError: where they are more than a file may have.
        """
        self.left -= bits
        if self.left < 0:
            raise ValueError(f"the file declares more than {LIMIT} modelled bits.")

    def take_bare(self, count: int, widths: Widths) -> NDArray[numpy.uint64]:
        """Return the next whole numbers (count,).

        Raises:
            ValueError: where too few are left.
        """
        total = count * widths if isinstance(widths, int) else int(widths.sum())
        first, spare = divmod(self.bare_at, 8)
        end = (self.bare_at + total + 7) // 8
        if end > self.blob_at:
            raise ValueError(f"the file is cut short: {end} bytes are needed where {self.blob_at} are.")
        bits = numpy.unpackbits(numpy.frombuffer(self.rest[first:end], numpy.uint8))[spare : spare + total]
        self.bare_at += total
        same = _same(widths)
        if same is not None:
            bytes_ = -(-same // 8)
            raw = numpy.zeros((count, 8), numpy.uint8)
            lines = numpy.pad(bits.reshape(count, same), ((0, 0), (8 * bytes_ - same, 0)))
            raw[:, 8 - bytes_ :] = numpy.packbits(lines, axis=1)
            return raw.view(">u8").reshape(-1).astype(numpy.uint64)
        widths = numpy.broadcast_to(numpy.asarray(widths, numpy.int64), (count,))
        starts = numpy.cumsum(widths) - widths
        values = numpy.zeros(count, numpy.uint64)
        for place in range(int(widths.max(initial=0))):
            longer = widths > place
            values[longer] = values[longer] << numpy.uint64(1) | bits[starts[longer] + place]
        return values

    def take_blob(self, size: int, count: int) -> bytes:
        """Return the bytes (count,) of the next blob, whose compressed size is `size`.

        Raises:
            ValueError: where it is missing, or declares another count.
        """
        if size > self.blob_at:
            raise ValueError(f"the file is cut short: a blob of {size} bytes is declared where {self.blob_at} are.")
        self.blob_at -= size
        return inflate(self.rest[self.blob_at : self.blob_at + size], count)

    def take_planes(self, size: int, width: int, count: int) -> NDArray[numpy.unsignedinteger[Any]]:
        """Return the numbers (count,) of `width` bytes each from the next blob."""
        table = numpy.frombuffer(self.take_blob(size, count * width), numpy.uint8).reshape(width, count)
        return numpy.ascontiguousarray(table.T).reshape(-1).view(f"<u{width}")

    def finish(self) -> None:
        """Check that all contents have been read.

        Raises:
            ValueError: where something is left.
        """
        end, used = -(-self.bare_at // 8), self.bare_at % 8
        if self.blob_at != end or (used and self.rest[end - 1] & 255 >> used):
            raise ValueError("the file holds more than its plan says.")


def planes(items: NDArray[numpy.generic]) -> bytes:
    """Return all first bytes of numbers (n,), all second bytes, and so on."""
    return numpy.ascontiguousarray(items).view(numpy.uint8).reshape(items.size, items.itemsize).T.tobytes()


def _same(widths: Widths) -> int | None:
    """Return the width, above 0, that all numbers share, or None if they differ."""
    if isinstance(widths, int):
        return widths or None
    first = int(widths[0]) if widths.size else 0
    return first if first and (widths == first).all() else None


def deflate(data: bytes, level: int = 19) -> bytes:
    """Compress into one zstd frame that declares its size, above `LARGE` at level `MODERATE` at most.

    Level `SKEWED` is for bytes that have no order, only frequent and rare ones.
    """
    if level == SKEWED:
        chosen = zstandard.ZstdCompressionParameters.from_level(
            1, source_size=len(data), strategy=zstandard.STRATEGY_FAST, min_match=7, hash_log=6, write_checksum=False
        )
        return zstandard.ZstdCompressor(compression_params=chosen).compress(data)
    level = min(level, MODERATE) if len(data) > LARGE else level
    return zstandard.ZstdCompressor(level=level, write_checksum=False).compress(data)


def inflate(data: bytes, size: int) -> bytes:
    """Return the `size` bytes of one zstd frame, which must declare that size.

    Raises:
        ValueError: where the size differs, or the frame is damaged.
    """
    try:
        declared = zstandard.get_frame_parameters(data).content_size
        if declared != size:
            raise ValueError(f"a compressed stream must declare exactly {size} bytes.")
        contents = zstandard.ZstdDecompressor(max_window_size=WINDOW).decompress(data, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ValueError(f"a compressed stream cannot be read: {error}") from error
    if len(contents) != declared:
        raise ValueError(f"a compressed stream declares {declared} bytes, but holds {len(contents)}.")
    return contents


def packed(values: Sequence[int]) -> bytes:
    """Return whole numbers from 0 as variable-length bytes: seven bits a byte, the lowest first."""
    out = bytearray()
    for value in values:
        while value > 127:
            out.append(value & 127 | 128)
            value >>= 7
        out.append(value)
    return bytes(out)
