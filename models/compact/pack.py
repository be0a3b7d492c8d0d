"""Bit packing: small whole numbers at their own width, and streams of them shrunk by whichever coding is smallest."""

from collections.abc import Iterator

import numpy
import zstandard
from numpy.typing import NDArray

Items = NDArray[numpy.generic]

# Codings of a stream: packed; packed, then zstd; loosely, then zstd. Loosely, items of less than a byte stand in a
# byte each, which keeps entropy coding on items, and larger ones are split into planes of first bytes, second bytes, …,
# which brings the exponents of floats together.
CODINGS = ("raw", "zstd", "loose")
WINDOW = 1 << 27  # bytes of history a frame may ask a reader to hold; level 19 asks for 2^23
LARGE = 1 << 22  # bytes from which a stream's coding is chosen on a sample of so many, at a level of at most MODERATE
MODERATE = 12  # of floats by planes, level 19 saves 1.5 % more than this and takes 15 times as long


def pack(values: Items, width: int) -> bytes:
    """Pack whole numbers below 2^width at `width` bits each, most significant bit first.

    Args:
        values: unsigned bytes (n,).
        width: 1 to 8.
    """
    assert 1 <= width <= 8
    assert values.size == 0 or int(values.max()) < 1 << width
    bits = numpy.unpackbits(values.view(numpy.uint8)[:, None], axis=1)[:, 8 - width :]
    return numpy.packbits(bits).tobytes()


def unpack(data: bytes, width: int, count: int) -> NDArray[numpy.uint8]:
    """Return the `count` numbers that `pack` made into `data`.

    Raises:
        ValueError: where the data has another length, or its last byte's spare bits are not zero.
    """
    if len(data) != packed_size(count, width):
        raise ValueError(f"{count} items of {width} bits must be {packed_size(count, width)} bytes, not {len(data)}.")
    bits = numpy.unpackbits(numpy.frombuffer(data, numpy.uint8))
    if bits[count * width :].any():
        raise ValueError("the spare bits of a packed stream must be zero.")
    parts = numpy.zeros((count, 8), numpy.uint8)
    parts[:, 8 - width :] = bits[: count * width].reshape(count, width)
    return numpy.packbits(parts)


def packed_size(count: int, width: int) -> int:
    """Return the bytes that `count` items of `width` bits fill."""
    return (count * width + 7) // 8


def shrink(items: Items, width: int, level: int = 19) -> tuple[str, bytes]:
    """Return the name of the smallest coding of a stream, and its bytes.

    Args:
        items: bytes below 2^width (n,) for a width of less than 8, else numbers of width / 8 bytes (n,).
        width: bits of an item.
        level: of zstd; 1 is quick, 19 small. Large streams are compressed at most at level 12.
    """
    large = items.nbytes > LARGE
    sample, level = (items[: LARGE // items.itemsize], min(level, MODERATE)) if large else (items, level)
    found = {coding: _code(sample, width, coding, level) for coding in CODINGS}
    best = min(CODINGS, key=lambda coding: len(found[coding]))
    return best, _code(items, width, best, level) if large else found[best]


def expand(data: bytes, coding: str, width: int, count: int) -> Items:
    """Return the items of a stream: bytes for a width of less than 8, else unsigned numbers of width / 8 bytes.

    Memory is bounded by the count: a zstd frame that declares another size is refused unread.

    Raises:
        ValueError: where the data is no stream of this coding, width and count.
    """
    if coding not in CODINGS:
        raise ValueError(f"the coding of a stream must be one of ({', '.join(CODINGS)}), but is {coding!r}.")
    if coding != "loose":
        size = packed_size(count, width)
        packed = _inflate(data, size) if coding == "zstd" else data
        if width < 8:
            return unpack(packed, width, count)
        if len(packed) != size:
            raise ValueError(f"{count} items of {width} bits must be {size} bytes, not {len(packed)}.")
        return numpy.frombuffer(packed, f"u{width // 8}")
    if width >= 8:
        planes = numpy.frombuffer(_inflate(data, count * width // 8), numpy.uint8).reshape(width // 8, count)
        return numpy.ascontiguousarray(planes.T).view(f"u{width // 8}")[:, 0]
    items = numpy.frombuffer(_inflate(data, count), numpy.uint8)
    if count and int(items.max()) >= 1 << width:
        raise ValueError(f"an item of {width} bits must be below {1 << width}, but one is {int(items.max())}.")
    return items


def _code(items: Items, width: int, coding: str, level: int) -> bytes:
    if coding == "loose":
        return deflate(b"".join(_loose(items, width)), level)
    packed = pack(items, width) if width < 8 else items.tobytes()
    return deflate(packed, level) if coding == "zstd" else packed


def _loose(items: Items, width: int) -> Iterator[bytes]:
    if width < 8:
        yield items.tobytes()
        return
    planes = items.view(numpy.uint8).reshape(items.size, width // 8).T
    yield from (plane.tobytes() for plane in planes)


def deflate(data: bytes, level: int = 19) -> bytes:
    """Compress into one zstd frame that declares its size."""
    return zstandard.ZstdCompressor(level=level, write_checksum=False).compress(data)


def _inflate(data: bytes, size: int) -> bytes:
    return inflate(data, size, exact=True)


def inflate(data: bytes, limit: int, *, exact: bool = False) -> bytes:
    """Return what one zstd frame holds, which must declare at most, or exactly, `limit` bytes.

    Raises:
        ValueError: where it does not, or is damaged.
    """
    try:
        declared = zstandard.get_frame_parameters(data).content_size
        if declared > limit or (exact and declared != limit):
            bound = "exactly" if exact else "at most"
            raise ValueError(f"a compressed stream must declare {bound} {limit} bytes.")
        found = zstandard.ZstdDecompressor(max_window_size=WINDOW).decompress(data, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ValueError(f"a compressed stream cannot be read: {error}") from error
    if len(found) != declared:
        raise ValueError(f"a compressed stream declares {declared} bytes, but holds {len(found)}.")
    return found
