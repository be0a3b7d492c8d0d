"""Write a hardened network as one small file: levels, masks, shared templates, and everything else that it needs."""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from models.arguments import choose
from models.compact.columns import NUMBERS, Writer, dtype_name
from models.compact.container import seal
from models.compact.effective import Entry, entries
from models.compact.forms import write_levels, write_mixed, write_values
from models.compact.pack import deflate

REST = ("float32", "float16")


def encode(network: nn.Module, *, rest: str = "float32", level: int = 19) -> bytes:
    """Return a network as a safetensors file from which `decode` makes its effective weights, to the bit.

    Weights with links are stored by the hard links' parts: codes packed at their bits, a mask and what it keeps,
    coefficients and templates. All other tensors are stored as they are, whatever few zeros or few different numbers
    allow; counters of batches, which only training reads, are left out. Equal networks give equal bytes. Every number
    is stored or has one rounding, but for mixes of templates: those are matrix products, computed again by `decode`,
    and equal to the bit where the matrix library rounds alike.

    Args:
        network: any module whose links, if it has any, are hard.
        rest: type in which float32 tensors without links are stored; with `float16` the outputs change, and
            `models.compact.change` says by how much.
        level: of zstd, 1 (quick) to 19 (small); streams above 4 MiB are compressed at 12 at most.

    Raises:
        ValueError: where a link is still soft, or something of the network cannot be stored.
    """
    found = list(entries(network))
    encoder = _Encoder(found, half=choose("rest", rest, REST) == "float16")
    for entry in found:
        encoder.add(entry)
    table, streams = encoder.writer.finish(level)
    plan = {"columns": table, "banks": encoder.banks, "tensors": encoder.tensors}
    return seal({**streams, "plan": deflate(json.dumps(plan, separators=(",", ":")).encode(), level)})


class _Encoder:
    """Chooses a form for each tensor; what was stored before is only referred to."""

    def __init__(self, found: Iterable[Entry], half: bool) -> None:
        self.half = half
        self.worthwhile = _worthwhile(found)
        self.writer = Writer()
        self.tensors: list[list[Any]] = []
        self.banks: list[list[Any]] = []
        self.seen: dict[tuple[Any, ...], int] = {}
        self.known_banks: dict[tuple[Any, ...], int] = {}

    def add(self, entry: Entry) -> None:
        """Store a tensor."""
        value = entry.value
        if value.layout != torch.strided or value.dtype not in (*NUMBERS.values(), torch.bool):
            kind = f"{dtype_name(value.dtype)} ({value.layout})"
            raise ValueError(f"{entry.name} is of type {kind} and cannot be encoded.")
        key = _identity(value)
        form = ["same", self.seen[key]] if key in self.seen else self._form(entry)
        self.seen.setdefault(key, len(self.tensors))
        self.tensors.append([entry.name, list(value.shape), dtype_name(value.dtype), *form])

    def _form(self, entry: Entry) -> list[Any]:
        value, parts = entry.value, entry.parts
        if "quantise" in parts:
            form = write_levels(value, parts["quantise"], self.writer)
        elif entry.ones is not None and _bank_of(entry) in self.worthwhile:
            form = write_mixed(value, parts["share"], entry.ones, self._bank, self.writer)
        else:
            form = None
        if form is None and self.half and not parts and value.dtype == torch.float32:
            form = self._halved(value)
        return form or write_values(value, self.writer)

    def _halved(self, value: Tensor) -> list[Any] | None:
        halved = value.half()
        if not torch.equal(halved.isfinite(), value.isfinite()):
            return None  # beyond what float16 can hold
        self.writer.put_numbers(halved)
        return ["half"]

    def _bank(self, templates: Tensor) -> int:
        """Return the number of a bank's templates, stored when they are first met."""
        key = _identity(templates)
        if key not in self.known_banks:
            self.known_banks[key] = len(self.banks)
            self.banks.append([list(templates.shape), dtype_name(templates.dtype)])
            self.writer.put_numbers(templates)
        return self.known_banks[key]


def _bank_of(entry: Entry) -> int | None:
    """Return the address of the templates that an entry mixes, None where it mixes none."""
    templates = entry.parts.get("share", {}).get("templates")
    return None if templates is None else templates.data_ptr()


def _worthwhile(found: Iterable[Entry]) -> set[int]:
    """Return the addresses of templates that are fewer numbers than what their layers keep, sparse."""
    saved: dict[int, int] = {}
    for entry in found:
        key = _bank_of(entry)
        if key is not None and "quantise" not in entry.parts:
            saved.setdefault(key, -entry.parts["share"]["templates"].numel())
            saved[key] += int(torch.count_nonzero(entry.value))
    return {key for key, numbers in saved.items() if numbers > 0}


def _identity(value: Tensor) -> tuple[Any, ...]:
    """Return what two tensors have in common exactly where they are equal to the bit."""
    flat = value.contiguous().reshape(-1).view(torch.uint8)
    return tuple(value.shape), value.dtype, hashlib.sha256(flat.numpy()).digest()
