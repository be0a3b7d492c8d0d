"""A file that is damaged, foreign, cut short or made to harm is refused in one line, and takes no memory."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch
from safetensors.torch import save
from torch import nn

from kirigami.models.compact import chances, coder, container, decode_state, encode, read
from kirigami.models.compact import plan as plans
from kirigami.models.compact.kinds import NAMED
from kirigami.models.compact.plan import Extra, Record
from kirigami.models.compact.streams import Writer, inflate
from tests.models.compact_files import closed, opened, sample


def refusal(data: bytes) -> str:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:  # one line
        decode_state(data)
    return str(caught.value)


class TestDamage:
    def test_sample_is_sound(self) -> None:
        found = read(sample())
        forms = {part.form for part in found.parts.values()}
        assert forms == {"mixed", "sparse", "levels", "plain", "palette", "constant", "same", "whole", "truths"}
        assert len(found.patterns) == 19
        assert found.extra == {"graph": b"\x08\x0a graph of nodes " * 3, "none": b""}

    def test_foreign_files_are_refused(self) -> None:
        for data in (save({"weight": torch.ones(3)}), b"PK\x03\x04" + bytes(100), b"", b"[" * 100_000):
            assert "another format" in refusal(data)
        assert "another format" in refusal(save({"weight": torch.ones(3)}, metadata={"kirigami-compact": "version=1"}))
        assert "cut short" in refusal(save({"kgm": torch.zeros(3, dtype=torch.uint8)}))

    def test_later_versions_are_refused(self) -> None:
        data = bytearray(sample())
        data[data.index(b"}}") + 2] = 9
        assert refusal(bytes(data)) == "the file has version 9, and this program reads 2. Update kirigami-search."

    def test_damage_is_named(self) -> None:
        data = bytearray(sample())
        data[-1] ^= 1
        assert refusal(bytes(data)) == "the file is damaged: the CRC-32 of its bytes is not the one it has."

    def test_seal_covers_bytes_and_tensors(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A right quick check is not enough, nor is a decoder that finds other numbers."""
        data = sample()
        body, sealed = container.unseal(data)
        with pytest.raises(ValueError, match="the SHA-256 of its bytes and tensors"):
            container.check(body[:-1] + b"\0", [], sealed)
        monkeypatch.setattr(coder, "FULL", coder.FULL - (1 << 20))
        refusal(data)


def with_arguments(form: str, place: int, value: int) -> Callable[[list[Record], list[Extra]], None]:
    """Return a change of one argument of the tensors of a form."""

    def change(records: list[Record], extras: list[Extra]) -> None:
        for record in records:
            if record.form == form:
                record.arguments[place] = value

    return change


def first(**changes: Any) -> Callable[[list[Record], list[Extra]], None]:
    """Return a change of attributes of the first tensor that has a name."""

    def change(records: list[Record], extras: list[Extra]) -> None:
        record = next(record for record in records if record.name)
        for name, value in changes.items():
            setattr(record, name, value)

    return change


def added(*arguments: Any) -> Callable[[list[Record], list[Extra]], None]:
    return lambda records, extras: records.append(Record(*arguments))


class TestMalice:
    """The plans of these files lie; their bytes are sound."""

    CHANGES: dict[str, Callable[[list[Record], list[Extra]], object]] = {
        "a name twice": lambda records, extras: setattr(records[-1], "name", records[-2].name),
        "a stream twice": lambda records, extras: extras.append(extras[0]),
        "another type": first(kind=NAMED["int8"]),
        "truths for numbers": first(kind=NAMED["bool"]),
        "another form": first(form="same", arguments=[1]),
        "a tensor too few": lambda records, extras: records.pop(),
        "a tensor too many": added("more", (5,), NAMED["float32"], "plain", [23, 0]),
        "a shape of many sides": added("more", (1,) * 17, NAMED["float32"], "plain", [23, 0]),
        "the same as what is not there": added("more", (5,), NAMED["float32"], "same", [99]),
        "the same as itself": added("more", (5,), NAMED["float32"], "same", [0]),
        "the same as another type": added("more", (4, 4), NAMED["int8"], "same", [1]),
        "templates that are not there": with_arguments("mixed", 1, 40),
        "templates that have a name": with_arguments("mixed", 1, 0),
        "templates in an unknown order": with_arguments("mixed", 2, 3),
        "templates that round wildly": with_arguments("mixed", 5, 30),
        "a mask of unknown contexts": with_arguments("sparse", 0, 9),
        "a mask that is no blob": with_arguments("sparse", 0, 40),
        "a mask in a blob beyond the file": with_arguments("sparse", 0, 1 << 40),
        "bits of a mantissa": with_arguments("plain", 0, 24),
        "a grid of its own": with_arguments("plain", 1, 999),
        "numbers that are no blob": with_arguments("plain", 0, 255),
        "levels of many bits": with_arguments("levels", 3, 1 << 9),
        "bits of sides that are not there": with_arguments("levels", 4, 4),
        "levels of unknown contexts": with_arguments("levels", 5, 7),
        "a palette of nothing": with_arguments("palette", 1, 0),
        "a palette of much": with_arguments("palette", 1, 257),
        "whole numbers that are no blob": with_arguments("whole", 0, 5),
        "a stream of another size": lambda records, extras: extras.insert(0, Extra("more", 70_000, 0)),
        "a stream in a blob beyond the file": lambda records, extras: extras.append(Extra("more", 10, 1 << 20)),
    }

    @pytest.mark.parametrize("change", CHANGES)
    def test_is_refused(self, change: str) -> None:
        records, extras, *contents = opened(sample())
        self.CHANGES[change](records, extras)
        try:
            data = closed(records, extras, *contents)
        except ValueError:  # it cannot even be written
            assert change == "a shape of many sides"
            return
        assert "SHA-256" not in refusal(data)  # long before that

    def test_unchanged_is_only_not_sealed(self) -> None:
        assert "SHA-256" in refusal(closed(*opened(sample())))

    @pytest.mark.parametrize("form", ["plain", "sparse", "levels", "whole"])
    @pytest.mark.parametrize("size", [1 << 23, 1 << 33, 1 << 46])
    def test_takes_no_memory_for_what_is_declared(self, size: int, form: str) -> None:
        """What is declared is refused before it is made."""
        arguments = {"plain": [23, 0], "sparse": [0, 0, 0], "levels": [0, 0, 0, 0, 0], "whole": [0]}[form]
        kind = NAMED["int64" if form == "whole" else "float32"]
        data = closed([Record("x", (size,), kind, form, arguments)], [], [], [], b"")
        tracemalloc.start()
        try:
            refusal(data)
            assert tracemalloc.get_traced_memory()[1] < 1 << 24
        finally:
            tracemalloc.stop()

    def test_refuses_a_frame_that_declares_another_size(self) -> None:
        writer = Writer()
        writer.put_blob(bytes(1 << 26))
        with pytest.raises(ValueError, match="must declare exactly 1000 bytes"):
            inflate(writer.blobs[0], 1000)
        with pytest.raises(ValueError, match="cannot be read"):
            inflate(writer.blobs[0] + b"more", 1 << 26)
        with pytest.raises(ValueError, match="cannot be read"):
            inflate(b"not compressed at all", 1000)

    def test_limit_is_the_callers(self) -> None:
        with pytest.raises(ValueError, match="at most 1000 are allowed"):
            decode_state(sample(), limit=1000)

    def test_next_to_nothing_is_not_written(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("kirigami.models.compact.file.FREE", 0)
        network = nn.Module()
        network.register_buffer("zeros", torch.zeros(1 << 20, dtype=torch.float64))
        with pytest.raises(ValueError, match="bytes of next to nothing"):
            encode(network)


def test_plans_that_break_off_are_refused() -> None:
    records, extras, *_ = opened(sample())
    whole = plans.write(records, extras)
    assert plans.read(whole) == (records, extras)
    for length in range(len(whole)):
        with pytest.raises(ValueError, match="plan"):
            plans.read(whole[:length])
    with pytest.raises(ValueError, match="at its end"):
        plans.read(whole + b"\0")


def test_models_are_apart() -> None:
    """Two chains of one context each, which only agree in it, do not learn from each other."""
    writer = Writer()
    one, other = chances.Model("one", (16,)), chances.Model("other", (16,))
    zeros = numpy.zeros(100, numpy.int64)
    writer.put(one, [zeros], zeros)
    assert writer.price(one, [zeros], zeros) < 2 < 4 < writer.price(other, [zeros], zeros)
