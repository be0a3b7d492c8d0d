"""Random damage: flipped bits, cuts, swapped and foreign parts, lying sizes. None loads, or ends in another error.

`python tests/models/test_model_compact_fuzz.py 10000` runs as many as are asked for, and says what became of them.
"""

import resource
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator

import numpy
import pytest
from test_model_compact_damage import sample
from test_model_compact_format import alike, large

from kirigami.models.compact import container, decode_state

Damage = Callable[[bytearray, numpy.random.Generator], object]


def places(data: bytearray, generator: numpy.random.Generator) -> tuple[int, int]:
    """Return two places in order, in one of two cases near the start."""
    end = min(len(data), 130) if generator.random() < 0.5 else len(data)
    one, other = sorted(generator.integers(0, end, 2).tolist())
    return one, max(other, one + 1)


def flip(data: bytearray, generator: numpy.random.Generator) -> None:
    for _ in range(int(generator.integers(1, 4))):
        data[places(data, generator)[0]] ^= 1 << int(generator.integers(8))


def cut(data: bytearray, generator: numpy.random.Generator) -> None:
    one, other = places(data, generator)
    del data[one : other if generator.random() < 0.5 else None]


def grow(data: bytearray, generator: numpy.random.Generator) -> None:
    one, other = places(data, generator)
    data[one:one] = generator.bytes(other - one)


def swap(data: bytearray, generator: numpy.random.Generator) -> None:
    one, other = places(data, generator)
    middle = (one + other) // 2
    data[one:other] = data[middle:other] + data[one:middle]


def fill(data: bytearray, generator: numpy.random.Generator) -> None:
    one, other = places(data, generator)
    data[one:other] = bytes([int(generator.choice([0, 255, 127, 128]))]) * (other - one)


def shuffle(data: bytearray, generator: numpy.random.Generator) -> None:
    one, other = places(data, generator)
    data[one:other] = generator.permutation(numpy.frombuffer(bytes(data[one:other]), numpy.uint8)).tobytes()


def lie(data: bytearray, generator: numpy.random.Generator) -> None:
    """Put a large number where a number may stand."""
    one, _ = places(data, generator)
    sizes = [b"99999999", b"\xff" * 8, b"\xff\xff\xff\xff\x0f", (1 << 40).to_bytes(8, "little")]
    lied = sizes[int(generator.integers(len(sizes)))]
    data[one : one + len(lied)] = lied


DAMAGE: tuple[Damage, ...] = (flip, cut, grow, swap, fill, shuffle, lie)


def damaged(data: bytes, count: int, seed: int, repaired: bool) -> Iterator[bytes]:
    """Yield files damaged at random; if repaired, the body only, behind a right header and quick check."""
    generator = numpy.random.default_rng(seed)
    body, sealed = container.unseal(data)
    done = 0
    while done < count:
        found = bytearray(body if repaired else data)
        DAMAGE[int(generator.integers(len(DAMAGE)))](found, generator)
        if found != (body if repaired else data):
            done += 1
            yield rebuilt(bytes(found), sealed) if repaired else bytes(found)


def rebuilt(body: bytes, sealed: bytes) -> bytes:
    """Return a file with a right header and quick check, and any seal."""
    inside = zlib.crc32(sealed + body).to_bytes(4, "little") + sealed + body
    return container._header(1 + len(inside)) + bytes([container.VERSION]) + inside


def outcome(data: bytes) -> str:
    """Return what became of a file: the error that refused it, or `loaded`."""
    try:
        decode_state(data)
    except ValueError as error:
        return "refused" if "\n" not in str(error) else "refused in several lines"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "loaded"


FILES = {"most forms": sample, "alike": alike, "large": large}


@pytest.mark.parametrize("case", FILES)
@pytest.mark.parametrize(("repaired", "count"), [(False, 1000), (True, 30)])
def test_damage_is_refused_in_one_line(case: str, repaired: bool, count: int) -> None:
    found = Counter(outcome(data) for data in damaged(FILES[case](), count, 0, repaired))
    assert found == {"refused": count}


@pytest.mark.parametrize("case", FILES)
def test_sound_files_load(case: str) -> None:
    data = FILES[case]()
    assert outcome(rebuilt(*container.unseal(data))) == outcome(data) == "loaded"


if __name__ == "__main__":
    number = -(-int(sys.argv[1]) // len(FILES))
    for behind in (False, True):
        for name, make in FILES.items():
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            found = Counter(outcome(data) for data in damaged(make(), number, 1, behind))
            more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
            print(
                "behind a repaired check" if behind else "as it is", name, dict(found), f"{more:.0f} MiB more at most"
            )
