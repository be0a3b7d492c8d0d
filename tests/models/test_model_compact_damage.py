"""A file that is damaged, foreign, cut short or made to harm is refused in one line, and takes no memory."""

import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch
import zstandard
from safetensors.torch import save
from torch import nn

from models.bits.uniform import Uniform
from models.compact import decode_state, encode
from models.compact.container import seal, unseal
from models.compact.pack import CODINGS, deflate, expand, inflate, pack, packed_size, shrink, unpack
from models.sharing.soft import SoftSharing
from models.sparsity.magnitude import MagnitudePruning


def sample() -> bytes:
    """Return a file with most of the forms there are."""
    torch.manual_seed(0)
    network = nn.Sequential(
        *[nn.Linear(12, 12) for _ in range(4)], nn.Linear(12, 9), nn.BatchNorm1d(9), nn.Linear(9, 2)
    )
    for technique in (
        SoftSharing(templates=2, groups=[["0", "1", "2"]]),
        MagnitudePruning(0.5, names=["0", "3", "4"]),
        Uniform(3, names=["4"]),
    ):
        technique.attach(network)
        technique.harden()
    return encode(network)


def remade(change: Callable[[dict[str, Any], dict[str, bytes]], object]) -> bytes:
    """Return the sample with its plan or its streams changed, and a digest that is right."""
    streams = unseal(sample())
    plan = json.loads(inflate(streams.pop("plan"), 1 << 20))
    change(plan, streams)
    return seal({**streams, "plan": deflate(json.dumps(plan).encode())})


def refusal(data: bytes) -> str:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:  # one line
        decode_state(data)
    return str(caught.value)


class TestDamage:
    def test_sample_is_sound(self) -> None:
        plan = json.loads(inflate(unseal(sample())["plan"], 1 << 20))
        forms = {form for _, _, _, form, *_ in plan["tensors"]}
        assert forms == {"mixed", "sparse", "levels", "plain", "palette", "same"}
        assert len(decode_state(sample())) == 16

    def test_every_flipped_bit_is_refused(self) -> None:
        data = sample()
        generator = numpy.random.default_rng(0)
        places = {*range(8), *generator.integers(0, len(data), 400).tolist()}
        for place in places:
            flipped = bytearray(data)
            flipped[place] ^= 1 << int(generator.integers(8))
            refusal(bytes(flipped))

    def test_every_cut_is_refused(self) -> None:
        data = sample()
        for length in [*range(0, 400, 7), *range(400, len(data), 97)]:
            refusal(data[:length])
        refusal(data + b"\0")

    def test_foreign_files_are_refused(self) -> None:
        assert "another format" in refusal(save({"weight": torch.ones(3)}))
        assert "another format" in refusal(save({"weight": torch.ones(3)}, metadata={"format": "pt"}))
        assert "another format" in refusal(b"PK\x03\x04" + bytes(100))
        assert "another format" in refusal(b"")
        assert "no JSON" in refusal((8).to_bytes(8, "little") + b"\xff" * 8)
        nested = b"[" * 100_000
        assert "no JSON" in refusal(len(nested).to_bytes(8, "little") + nested)

    def test_later_versions_are_refused(self) -> None:
        data = sample().replace(b"version=1 ", b"version=9 ")
        assert refusal(data) == "the file has version 9, and this program reads 1. Update kirigami-search."

    def test_damage_is_named(self) -> None:
        data = bytearray(sample())
        data[-1] ^= 1
        assert "the file is damaged: the SHA-256 of its bytes is" in refusal(bytes(data))


class TestMalice:
    """These files have a right digest: somebody made them so."""

    CHANGES: dict[str, Callable[[dict[str, Any], dict[str, bytes]], object]] = {
        "no columns": lambda plan, streams: plan.pop("columns"),
        "columns of another kind": lambda plan, streams: plan.update(columns=[]),
        "tensors of another kind": lambda plan, streams: plan.update(tensors=[3]),
        "a name that is none": lambda plan, streams: plan["tensors"][0].__setitem__(0, 3),
        "a name twice": lambda plan, streams: plan["tensors"].append(plan["tensors"][0]),
        "a negative side": lambda plan, streams: plan["tensors"][0].__setitem__(1, [-12, -12]),
        "a side that is no number": lambda plan, streams: plan["tensors"][0].__setitem__(1, ["12", 12]),
        "a type that is none": lambda plan, streams: plan["tensors"][0].__setitem__(2, "complex64"),
        "a type that is a list": lambda plan, streams: plan["tensors"][0].__setitem__(2, []),
        "another type": lambda plan, streams: [tensor.__setitem__(2, "int8") for tensor in plan["tensors"]],
        "truths for numbers": lambda plan, streams: [tensor.__setitem__(2, "bool") for tensor in plan["tensors"]],
        "a form that is none": lambda plan, streams: plan["tensors"][0].__setitem__(3, "pickle"),
        "a form that is a list": lambda plan, streams: plan["tensors"][0].__setitem__(3, []),
        "arguments too many": lambda plan, streams: [tensor.append(1) for tensor in plan["tensors"]],
        "arguments of another kind": lambda plan, streams: [tensor.__setitem__(-1, {}) for tensor in plan["tensors"]],
        "a tensor too few": lambda plan, streams: plan["tensors"].pop(),
        "a tensor too many": lambda plan, streams: plan["tensors"].append(["more", [5], "float32", "plain"]),
        "the same as what is not there": lambda plan, streams: plan["tensors"].append(
            ["x", [5], "float32", "same", 99]
        ),
        "the same as another type": lambda plan, streams: plan["tensors"].append(["x", [12], "int8", "same", 1]),
        "a bank that is not there": lambda plan, streams: plan.update(banks=[]),
        "a bank of another shape": lambda plan, streams: plan["banks"][0].__setitem__(0, [2, 144]),
        "a bank of no shape": lambda plan, streams: plan["banks"][0].__setitem__(0, []),
        "a stream too few": lambda plan, streams: streams.pop("mask1"),
        "a stream too many": lambda plan, streams: streams.update(mask2=b"12"),
        "an unknown column": lambda plan, streams: (streams.update(x1=b"1"), plan["columns"].update(x1=["raw", 8])),
        "an unknown coding": lambda plan, streams: plan["columns"]["mask1"].__setitem__(0, "lzma"),
        "a coding that is a list": lambda plan, streams: plan["columns"]["mask1"].__setitem__(0, []),
        "a count that is too large": lambda plan, streams: plan["columns"]["mask1"].__setitem__(1, 1 << 47),
        "a count that is too small": lambda plan, streams: plan["columns"]["float32"].__setitem__(1, 3),
        "a count that is no number": lambda plan, streams: plan["columns"]["float32"].__setitem__(1, 3.5),
        "a stream that is no frame": lambda plan, streams: streams.update(float32=b"not compressed at all"),
        "levels of many bits": lambda plan, streams: [
            t.__setitem__(5, [99]) for t in plan["tensors"] if t[3] == "levels"
        ],
        "bits of an odd shape": lambda plan, streams: [
            (t.__setitem__(5, [3, 4]), t.__setitem__(6, [7])) for t in plan["tensors"] if t[3] == "levels"
        ],
        "bits of no shape": lambda plan, streams: [
            (t.__setitem__(5, [3, 4]), t.__setitem__(6, ["a"])) for t in plan["tensors"] if t[3] == "levels"
        ],
        "a palette of nothing": lambda plan, streams: [
            t.__setitem__(5, 0) for t in plan["tensors"] if t[3] == "palette"
        ],
    }

    @pytest.mark.parametrize("change", CHANGES)
    def test_is_refused(self, change: str) -> None:
        refusal(remade(self.CHANGES[change]))

    def test_unchanged_is_not(self) -> None:
        decode_state(remade(lambda plan, streams: None))

    @pytest.mark.parametrize("size", [1 << 33, 1 << 46])
    def test_takes_no_memory_for_what_is_declared(self, size: int) -> None:
        """Zeros by the gigabyte compress to nothing; what is declared is refused before it is made."""
        empty = {"columns": {}, "banks": [], "tensors": [["x", [size], "float32", "levels", 0, [], None]]}
        column = {"columns": {"uint8": ["zstd", size]}, "banks": [], "tensors": []}
        tracemalloc.start()
        try:
            found = refusal(seal({"plan": deflate(json.dumps(empty).encode())}))
            assert found == f"the file declares {8 * size} bytes of tensors, and at most {1 << 32} are allowed."
            refusal(seal({"plan": deflate(json.dumps(column).encode()), "uint8": deflate(bytes(1 << 20))}))
            assert tracemalloc.get_traced_memory()[1] < 1 << 24
        finally:
            tracemalloc.stop()

    def test_refuses_a_frame_that_declares_another_size(self) -> None:
        big = deflate(bytes(1 << 26))
        with pytest.raises(ValueError, match="must declare exactly 1000 bytes"):
            expand(big, "zstd", 8, 1000)
        with pytest.raises(ValueError, match="must declare at most 1000 bytes"):
            inflate(big, 1000)
        unsized = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(1000))
        with pytest.raises(ValueError, match="must declare"):
            inflate(unsized, 1 << 20)
        with pytest.raises(ValueError, match="cannot be read"):
            inflate(deflate(b"some") + b"more", 100)

    def test_limit_is_the_callers(self) -> None:
        with pytest.raises(ValueError, match="at most 1000 are allowed"):
            decode_state(sample(), limit=1000)


class TestPacking:
    @pytest.mark.parametrize("width", range(1, 9))
    def test_goes_round(self, width: int) -> None:
        generator = numpy.random.default_rng(width)
        for count in [0, 1, 2, 3, 7, 8, 9, 1000, *generator.integers(1, 5000, 20).tolist()]:
            values = generator.integers(0, 1 << width, count).astype(numpy.uint8)
            data = pack(values, width)
            assert len(data) == packed_size(count, width) == -(-count * width // 8)
            assert numpy.array_equal(unpack(data, width, count), values)

    def test_order_of_bits(self) -> None:
        assert pack(numpy.array([5, 1, 7], numpy.uint8), 3) == bytes([0b10100111, 0b10000000])

    @pytest.mark.parametrize("width", [*range(1, 9), 16, 32, 64])
    @pytest.mark.parametrize("kind", ["random", "skewed", "constant"])
    def test_streams_go_round_in_every_coding(self, width: int, kind: str) -> None:
        generator = numpy.random.default_rng(0)
        whole = numpy.dtype(f"u{max(8, width) // 8}")
        high = {"random": (1 << width) - 1, "skewed": 1, "constant": 0}[kind]
        items = generator.integers(0, high, 3000, dtype=whole, endpoint=True)
        coding, data = shrink(items, width)
        assert numpy.array_equal(expand(data, coding, width, 3000), items)
        assert len(data) <= packed_size(3000, width)
        assert {"random": coding == "raw", "skewed": len(data) <= 600, "constant": len(data) < 30}[kind]

    def test_planes_bring_exponents_together(self) -> None:
        items = torch.randn(10_000, generator=torch.Generator().manual_seed(0)).view(torch.int32).numpy().view("u4")
        coding, data = shrink(items, 32)
        assert coding == "loose"
        assert len(data) < 0.95 * len(deflate(items.tobytes()))

    def test_large_streams_go_round(self) -> None:
        """Their coding is chosen on a sample: here zeros, with what follows them unlike."""
        items = torch.randn(1_300_000, generator=torch.Generator().manual_seed(0)).view(torch.int32).numpy().view("u4")
        items[:1_100_000] = 0
        coding, data = shrink(items, 32)
        assert numpy.array_equal(expand(data, coding, 32, items.size), items)
        assert len(data) < 4 * 210_000

    def test_spare_bits_are_zero(self) -> None:
        with pytest.raises(ValueError, match="spare bits"):
            unpack(b"\x01", 3, 2)

    def test_items_beyond_their_width_are_refused(self) -> None:
        with pytest.raises(ValueError, match="must be below 8, but one is 9"):
            expand(deflate(bytes([1, 9])), "loose", 3, 2)

    def test_codings_are_named(self) -> None:
        with pytest.raises(ValueError, match=rf"must be one of \({', '.join(CODINGS)}\), but is 'lzma'"):
            expand(b"", "lzma", 8, 0)
