"""The price of bits that brings a run to the mean bits asked for."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

ARRIVAL = 0.7  # share of the soft part after which the target is reached; the rest settles who keeps which bits
PROPORTIONAL, INTEGRAL = 2.0, 10.0  # gains on the logarithm of the price; the second a whole soft part
LIMIT = 7.0  # of the integral: a price is moved by at most e^7, so that a hopeless target does not wind it up


def bits_of(s: Tensor) -> Tensor:
    """Return the bits p at which 2^(1-p) = sigmoid(s): p = 1 + log2(1 + e^-s)."""
    return 1 + F.softplus(-s) / math.log(2)


def s_of(bits: float) -> float:
    """Return the s of a number of bits; bits below 1.01 count as 1.01, since 1 bit is s = infinity."""
    return -math.log(math.expm1(max(bits - 1, 0.01) * math.log(2)))


class Price:
    """A proportional and integral controller of the penalty on bits.

    The mean bits are to follow a path on which s moves evenly from its start to that of the target. A mean above the
    path raises the price, one below lowers it. Errors are taken in s, in which the optimiser's steps are even too.

    Args:
        first: Price to begin with; without a target it stays.
        start: Bits at the start.
        target: Mean bits wanted, or None.
    """

    def __init__(self, first: float, start: float, target: float | None) -> None:
        self.first, self.start, self.target = first, start, target
        self.integral = 0.0
        self.now = first

    def wanted(self, progress: float) -> float:
        """Return the s wanted at a share of the soft part."""
        assert self.target is not None
        start, end = s_of(self.start), s_of(self.target)
        return start + (end - start) * min(1.0, progress / ARRIVAL)

    def follow(self, mean_bits: float, progress: float, passed: float) -> None:
        """Set the price for the next step, `passed` being the share of the soft part since the last call."""
        if self.target is None:
            return
        error = min(1.0, max(-1.0, self.wanted(progress) - s_of(mean_bits)))
        self.integral = min(LIMIT, max(-LIMIT, self.integral + INTEGRAL * passed * error))
        self.now = self.first * math.exp(self.integral + PROPORTIONAL * error)


def shift_to(target: float, entries: list[Tensor], counts: list[Tensor], top: int) -> float:
    """Return what to add to every s so that the mean of the rounded bits comes nearest to the target.

    Args:
        target: Mean bits wanted.
        entries: The s of each layer.
        counts: How many weights each entry stands for, in the shape of `entries`.
        top: Most bits a weight may have.
    """
    total = sum(float(count.sum()) for count in counts)

    def mean(shift: float) -> float:
        rounded = (rounded_bits(s + shift, top).double() for s in entries)
        return sum(float((p * count).sum()) for p, count in zip(rounded, counts, strict=True)) / max(total, 1.0)

    low, high = -16.0, 16.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if mean(middle) > target else (low, middle)
    return min((low, high), key=lambda shift: (abs(mean(shift) - target), abs(shift)))


def rounded_bits(s: Tensor, top: int) -> Tensor:
    """Return the nearest whole bits from 1 to `top`, as uint8."""
    return torch.round(bits_of(s)).clamp(1, top).to(torch.uint8)
