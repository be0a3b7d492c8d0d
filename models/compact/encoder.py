"""Write a hardened network as one small file: levels, masks, shared templates, and everything else that it needs."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from kirigami.errors import choose
from kirigami.models.compact import coder
from kirigami.models.compact.chances import BitWriter
from kirigami.models.compact.container import seal
from kirigami.models.compact.effective import Entry, entries
from kirigami.models.compact.file import allowed
from kirigami.models.compact.forms import write_mixed, write_values
from kirigami.models.compact.kinds import NAMED, Kind, Patterns, patterns
from kirigami.models.compact.levels import write_levels
from kirigami.models.compact.numbers import MANY
from kirigami.models.compact.parts import Form, Place, likeness
from kirigami.models.compact.plan import Extra, Record
from kirigami.models.compact.plan import write as write_plan
from kirigami.models.compact.streams import Writer, deflate, packed
from kirigami.models.compact.text import is_modelled, put_bytes

REST = ("float32", "float16")


def encode(
    network: nn.Module, *, rest: str = "float32", level: int = 19, extra: Mapping[str, bytes] | None = None
) -> bytes:
    """Return a network as a file from which `decode` makes its effective weights, to the bit, on any machine.

    Weights with links are stored by the hard links' parts: codes at their bits, a mask and its numbers, coefficients
    and templates. All other tensors are stored unchanged, in the smallest form that zeros, few or rounded numbers
    allow; counters of batches, which only training reads, are left out. Equal networks give equal bytes.

    Args:
        network: any module whose links, if it has any, are hard.
        rest: type to which float32 tensors without links are rounded; with `float16` the outputs change, and
            `kirigami.models.compact.change` says by how much.
        level: of zstd, 1 (quick) to 19 (small), for data too large to be modelled bit by bit; at most 12 above
            4 MiB.
        extra: streams of bytes to take along, by their names.

    Raises:
        ValueError: where a link is still soft, or something of the network cannot be stored.
    """
    tensors = list(entries(network))
    encoder = _Encoder(tensors, level, half=choose("rest", rest, REST) == "float16")
    for entry in tensors:
        encoder.add(entry)
    return encoder.finish(extra or {})


def costs(network: nn.Module) -> dict[str, float]:
    """Return the bytes that each tensor of a network takes in its file; the rest is header, plan and other streams.

    Shared parts of several tensors, such as a bank of templates, count for the first.

    Raises:
        ValueError: as `encode`.
    """
    tensors = list(entries(network))
    encoder = _Encoder(tensors, level=19, half=False)
    spent, reached = {}, 0.0
    for entry in tensors:
        encoder.add(entry)
        before, reached = reached, encoder.writer.spent()
        spent[entry.name] = (reached - before) / 8
    return spent


class _Encoder:
    """Chooses a form for each tensor; a tensor equal to a stored one is only referred to."""

    def __init__(self, tensors: Sequence[Entry], level: int, half: bool) -> None:
        self.half = half
        self.worthwhile = _worthwhile(tensors)
        self.writer = Writer(level, many=_floats(tensors, self.worthwhile) > MANY)
        self.records: list[Record] = []
        self.digests: list[bytes] = []
        self.seen: dict[tuple[Any, ...], int] = {}
        self.alike: dict[tuple[str, int], int] = {}

    def add(self, entry: Entry) -> None:
        """Store a tensor."""
        kind = _kind(entry)
        value = entry.value
        if self.half and not entry.parts and value.dtype == torch.float32:
            halved = value.half()
            if torch.equal(halved.isfinite(), value.isfinite()):  # within what float16 can hold
                value = halved.float()
        values = bits_of(value)
        self._store(entry.name, values, kind, entry)
        self.digests.append(hashlib.sha256(values.tobytes()).digest())

    def _store(self, name: str, values: Patterns, kind: Kind, entry: Entry | None) -> int:
        """Store bit patterns, and return the number of their record."""
        key = (name == "", values.shape, kind.name, hashlib.sha256(values.tobytes()).digest())
        earlier = self.seen.get(key)
        if earlier is not None and name == "":
            return earlier
        form = self._form(name, values, kind, entry) if earlier is None else ("same", [len(self.records) - earlier])
        self.records.append(Record(name, values.shape, kind, *form))
        if earlier is None and form[0] != "constant":  # which costs less than to be referred to
            self.seen[key] = len(self.records) - 1
        return len(self.records) - 1

    def _form(self, name: str, values: Patterns, kind: Kind, entry: Entry | None) -> Form:
        form: Form | None = None
        if entry is not None and "quantise" in entry.parts:
            form = self._levels(values, kind, entry)
        elif entry is not None and entry.ones is not None and _bank_of(entry) in self.worthwhile:
            form = self._mixed(values, kind, entry)
        return form or write_values(values, kind, self._place(name, values), self.writer)

    def _place(self, name: str, values: Patterns) -> Place:
        number = len(self.records)
        return Place(number, self.alike.setdefault(likeness(name, values.ndim), number))

    def _levels(self, values: Patterns, kind: Kind, entry: Entry) -> Form | None:
        parts = entry.parts["quantise"]
        if not {"levels", "bits", "scale"} <= set(parts) or parts["scale"].dtype != entry.value.dtype:
            return None
        levels, bits, scale = (parts[key].detach().cpu() for key in ("levels", "bits", "scale"))
        if levels.is_floating_point() or bits.is_floating_point():
            return None
        codes, widths = (part.numpy().astype(numpy.int64) for part in (levels, bits))
        place = self._place(entry.name, values)
        return write_levels(values, kind, codes, widths, bits_of(scale), place, self.writer)

    def _mixed(self, values: Patterns, kind: Kind, entry: Entry) -> Form | None:
        parts = entry.parts["share"]
        if not {"coefficients", "templates"} <= set(parts) or kind.name not in ("float32", "float64"):
            return None
        row, templates = parts["coefficients"].detach().cpu(), parts["templates"].detach().cpu()
        assert entry.ones is not None
        mask = entry.ones != 0
        factors = torch.unique(entry.ones[mask])
        if len(factors) != 1 or {row.dtype, templates.dtype} != {entry.value.dtype}:
            return None
        if templates.shape[1:] != entry.value.shape:
            return None
        bank = self._store("", bits_of(templates), kind, None)
        place = self._place(entry.name, values)
        mixed = (bits_of(row), bits_of(factors), mask.numpy(), bits_of(templates))
        return write_mixed(values, kind, *mixed, bank, place, self.writer)

    def finish(self, extra: Mapping[str, bytes]) -> bytes:
        """Return the file."""
        extras, modelled = [], []
        for name, data in extra.items():
            small = is_modelled(data, len(deflate(data))) and self.writer.claim(8 * len(data))
            extras.append(Extra(name, len(data), 0 if small else self.writer.put_blob(data)))
            modelled += [data] if small else []
            self.digests.append(hashlib.sha256(data).digest())
        plan = write_plan(self.records, extras)
        head = BitWriter()  # read first
        for data in (plan, *modelled):
            put_bytes(data, head)
        code = coder.encode(head.bits + self.writer.bits, head.chances + self.writer.chances)
        data = seal(packed([len(plan), len(code)]) + code + self.writer.rest(), self.digests)
        declared = sum(record.count * record.kind.size for record in self.records) + sum(map(len, extra.values()))
        if declared > allowed(len(data)):
            raise ValueError(f"{declared} bytes of next to nothing would be a file of {len(data)}, too few to be read.")
        return data


def bits_of(value: Tensor) -> Patterns:
    """Return the bit patterns of a tensor, in its shape, with zeros of one sign."""
    if value.dtype == torch.bool:
        return value.contiguous().numpy().view(numpy.uint8)
    flat = torch.where(value == 0, torch.zeros_like(value), value).contiguous()
    return patterns(flat.reshape(-1).view(torch.uint8).numpy()).view(f"u{value.element_size()}").reshape(value.shape)


def _kind(entry: Entry) -> Kind:
    name = str(entry.value.dtype).removeprefix("torch.")
    if name not in NAMED or entry.value.layout != torch.strided:
        raise ValueError(f"{entry.name} is of type {name} ({entry.value.layout}) and cannot be encoded.")
    return NAMED[name]


def _bank_of(entry: Entry) -> int | None:
    """Return the address of the templates that an entry mixes, or None."""
    templates = entry.parts.get("share", {}).get("templates")
    return None if templates is None else templates.data_ptr()


def _worthwhile(tensors: Iterable[Entry]) -> set[int]:
    """Return the addresses of templates that have fewer numbers than the nonzero weights of their layers."""
    saved: dict[int, int] = {}
    for entry in tensors:
        key = _bank_of(entry)
        if key is not None and "quantise" not in entry.parts:
            saved.setdefault(key, -entry.parts["share"]["templates"].numel())
            saved[key] += int(torch.count_nonzero(entry.value))
    return {key for key, numbers in saved.items() if numbers > 0}


def _floats(tensors: Iterable[Entry], worthwhile: set[int]) -> int:
    """Estimate the number of floats in the file: nonzero numbers, templates once, no codes."""
    banks: dict[int, int] = {}
    numbers = 0
    for entry in tensors:
        bank = _bank_of(entry)
        if "quantise" in entry.parts or not entry.value.is_floating_point():
            continue
        if bank is not None and bank in worthwhile:
            banks[bank] = entry.parts["share"]["templates"].numel()
        else:
            numbers += int(torch.count_nonzero(entry.value))
    return numbers + sum(banks.values())
