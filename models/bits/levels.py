"""The p-bit code: a weight is an odd multiple of 2^(1-p), times its layer's scale; or exactly zero.

With p bits there are 2^p levels, the odd integers from -(2^p - 1) to 2^p - 1, so codes lie in ±(2 - 2^(1-p)) and no
weight in ±2 is further than 2^(1-p) from its code; with one bit that is ±1. No code is zero: a pruned weight is the
level 0, a state apart (Savarese, Yuan, Li & Maire, "Not All Bits have Equal Value", NeurIPS 2022, section 3).
"""

from typing import Any

import torch
from torch import Tensor

MAX_BITS = 8


def step(bits: Tensor) -> Tensor:
    """Return 2^(1-p), half the distance of two codes, exactly: int32 arithmetic and one division of powers of two."""
    return 2.0 / torch.bitwise_left_shift(torch.ones_like(bits, dtype=torch.int32), bits.to(torch.int32))


def encode(weight: Tensor, bits: Tensor, scale: Tensor) -> Tensor:
    """Return the level nearest to each weight, in the weight's type; exact zeros stay zero.

    Args:
        weight: Weights of a layer, of any shape.
        bits: Bits p of each weight, integers that broadcast to the weights.
        scale: The layer's scale, a scalar above 0.
    """
    width = step(bits).to(weight.dtype)
    top = 2 / width - 1  # 2^p - 1
    level = (2 * torch.floor(weight / (2 * width * scale)) + 1).clamp(-top, top)
    return torch.where(weight == 0, torch.zeros_like(level), level)


def decode(levels: Tensor, bits: Tensor, scale: Tensor) -> Tensor:
    """Return the weights, level · 2^(1-p) · scale, in the scale's type.

    The first product is exact and the second rounds once, so every implementation finds the same weights to the bit.
    """
    return levels.to(scale.dtype) * step(bits).to(scale.dtype) * scale


def integers(levels: Tensor, bits: Tensor) -> Tensor:
    """Return levels as int8, or as int16 where some weight has 8 bits."""
    return levels.to(torch.int8 if int(bits.max()) < MAX_BITS else torch.int16)


def quantise(weight: Tensor, bits: Tensor, scale: Tensor, limit: Tensor) -> Tensor:
    """Return decode(encode(weight)), to the bit, with the gradient of `straight_through`."""
    with torch.no_grad():
        value = decode(encode(weight, bits, scale), bits, scale)
    return straight_through(weight, value, limit)


def straight_through(weight: Tensor, value: Tensor, limit: Tensor) -> Tensor:
    """Return `value`, with the gradient going to `weight` as if it were the weight.

    Only the part that would push a weight further beyond ±limit is dropped: what is outside may come back.
    """
    return _StraightThrough.apply(weight, value, limit)


class _StraightThrough(torch.autograd.Function):
    """Value forward, gated identity backward; it takes part in `torch.func` transforms."""

    generate_vmap_rule = True

    @staticmethod
    def forward(weight: Tensor, value: Tensor, limit: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        weight, _, limit = inputs
        ctx.save_for_backward(weight, limit)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        weight, limit = ctx.saved_tensors
        gradient = gradients[0]
        outward = (weight.abs() >= limit) & (gradient * weight < 0)
        return gradient.masked_fill(outward, 0.0), None, None
