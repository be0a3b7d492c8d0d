"""A bucket of gradients as bytes, and back: the largest entries of each tensor, by place, sign and magnitude.

How many bytes there are depends on the shapes alone, so that workers need not tell each other before they send. The
places are a mask, or have an Elias-Fano code (P. Elias, "Efficient storage and retrieval by content and address of
static files", J. ACM 21(2), 1974), whichever is smaller: of each place its low bits as they are, and its high bits as
the number of zeros before the one that stands for it. Everything is done by tensors, on whatever device they are.
"""

import math
from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

SCALE = 4  # bytes of a magnitude


class Layout:
    """Codes buckets whose tensors have these sizes.

    Of a tensor of n entries the largest ⌈density · n⌉ are sent, each as its sign and one of 2^(bits - 1) magnitudes.
    A magnitude is the mean of the entries it stands for, and these lie in one of as many equal steps from the least to
    the greatest of those sent. With one magnitude and density 1 it is the sign times the mean, with one and a lower
    density sparse ternary compression (F. Sattler et al., arXiv 1903.02891, algorithm 1).

    Args:
        sizes: entries of each tensor.
        density: share of the entries that is sent, above 0 and at most 1.
        bits: of a sign and a magnitude, at least 1.
    """

    def __init__(self, sizes: Sequence[int], density: float, bits: int) -> None:
        self.sizes = tuple(sizes)
        self.counts = [min(size, max(1, math.ceil(density * size))) for size in self.sizes]
        self.starts = [0, *accumulate(self.sizes)][:-1]
        self.magnitudes = 1 << bits - 1
        self.bits = bits
        self.entries, self.sent = sum(self.sizes), sum(self.counts)
        self.low = min(range(32), key=self._gaps)
        self.form = "all" if self.sent == self.entries else "mask" if self.entries <= self._gaps(self.low) else "gaps"
        self.low = self.low if self.form == "gaps" else 0
        places = [0, 0] if self.form == "all" else [self.low * self.sent, self._length()]
        parts = [*places, self.sent, (bits - 1) * self.sent]
        self.parts = [SCALE * self.magnitudes * len(self.sizes), *(-(-part // 8) for part in parts)]
        self.bytes = sum(self.parts)

    def _gaps(self, low: int) -> int:
        """Return the bits that the places take with so many low ones."""
        return low * self.sent + self._high(low)

    def _high(self, low: int) -> int:
        return self.sent + (max(0, self.entries - 1) >> low)

    def _length(self) -> int:
        """Return the bits of the mask, or of the high bits of the places."""
        return self.entries if self.form == "mask" else self._high(self.low)

    def encode(self, values: Tensor) -> Tensor:
        """Return the bytes (self.bytes,) of float32 values (entries,).

        Where values are not finite, these are among the largest, and what is decoded is not finite either.
        """
        places, chosen, codes, means = [], [], [], []
        for start, size, count in zip(self.starts, self.sizes, self.counts, strict=True):
            part = values[start : start + size]
            if self.form != "all":
                place = _largest(part, count)
                places.append(place + start)
                part = part[place]
            code, mean = self._magnitudes(part.abs())
            chosen.append(part)
            codes.append(code)
            means.append(mean)
        signs, levels = pack((torch.cat(chosen) < 0)[:, None]), pack(digits(torch.cat(codes), self.bits - 1))
        return torch.cat([torch.cat(means).view(torch.uint8), *self._put(places, values.device), signs, levels])

    def decode(self, data: Tensor) -> Tensor:
        """Return the values (entries,) that bytes (self.bytes,) stand for."""
        means, low, high, signs, codes = data.split(self.parts)
        device = data.device
        magnitudes, counts = means.clone().view(torch.float32), torch.tensor(self.counts, device=device)
        if self.magnitudes == 1:
            entries = magnitudes.repeat_interleave(counts)
        else:
            owner = torch.arange(len(self.sizes), device=device).repeat_interleave(counts)
            entries = magnitudes[owner * self.magnitudes + number(unpack(codes, self.sent, self.bits - 1))]
        entries *= 1 - 2 * unpack(signs, self.sent, 1).flatten().float()
        if self.form == "all":
            return entries
        return torch.zeros(self.entries, device=device).index_copy_(0, self._take(low, high), entries)

    def _magnitudes(self, sizes: Tensor) -> tuple[Tensor, Tensor]:
        """Return the code of each entry's size, and the mean size of each code, 0 for those of none."""
        if self.magnitudes == 1:
            return torch.zeros_like(sizes, dtype=torch.int64), sizes.mean()[None]
        least, greatest = sizes.aminmax()
        share = ((sizes - least) / (greatest - least)).nan_to_num(0.0)
        code = (share * self.magnitudes).long().clamp_(0, self.magnitudes - 1)
        chosen = (code[:, None] == torch.arange(self.magnitudes, device=sizes.device)).float()
        return code, (sizes @ chosen) / chosen.sum(0).clamp(min=1)

    def _put(self, places: Sequence[Tensor], device: torch.device) -> list[Tensor]:
        """Return places, which rise, as two rows of bytes."""
        none = torch.empty(0, dtype=torch.uint8, device=device)
        if self.form == "all":
            return [none, none]
        place, rank = torch.cat(list(places)), torch.arange(self.sent, device=device)
        high = place if self.form == "mask" else (place >> self.low) + rank
        ones = torch.zeros(self._length(), dtype=torch.bool, device=device).index_fill_(0, high, True)
        return [none if self.form == "mask" else pack(digits(place, self.low)), pack(ones[:, None])]

    def _take(self, low: Tensor, high: Tensor) -> Tensor:
        """Return the places of two rows of bytes."""
        ones = unpack(high, self._length(), 1).flatten().nonzero().flatten()
        if len(ones) != self.sent:
            raise ValueError(f"a worker sent {len(ones)} places where {self.sent} were expected: all must be alike.")
        if self.form == "mask":
            return ones
        rank = torch.arange(self.sent, device=low.device)
        return (ones - rank << self.low) | number(unpack(low, self.sent, self.low))


def _largest(values: Tensor, count: int) -> Tensor:
    """Return the places, in order, of the entries of the largest size; one that is no number counts as the largest."""
    return values.abs().topk(count, sorted=False).indices.sort().values


def digits(values: Tensor, width: int) -> Tensor:
    """Return the bits (n, width) of whole numbers (n,), the lowest first."""
    return values[:, None] >> torch.arange(width, device=values.device) & 1


def number(bits: Tensor) -> Tensor:
    """Return the whole numbers (n,) of bits (n, width)."""
    return (bits.long() << torch.arange(bits.shape[1], device=bits.device)).sum(1)


def pack(bits: Tensor) -> Tensor:
    """Return bits (n, width) as bytes."""
    flat = bits.flatten().to(torch.uint8)
    rows = torch.nn.functional.pad(flat, (0, -flat.numel() % 8)).view(-1, 8)
    return (rows << torch.arange(8, dtype=torch.uint8, device=flat.device)).sum(1, dtype=torch.uint8)


def unpack(data: Tensor, count: int, width: int) -> Tensor:
    """Return bits (count, width) from bytes."""
    bits = data[:, None] >> torch.arange(8, dtype=torch.uint8, device=data.device) & 1
    return bits.flatten()[: count * width].view(count, width)
