"""For counting operations: attention and recurrence as matrix products, and the products that torch leaves out."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel


@contextmanager
def unfused() -> Iterator[None]:
    """Compute attention and recurrence by matrix products for a while, not by fused operators."""
    fast, onednn = torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled
    torch.backends.mha.set_fastpath_enabled(False)
    torch.backends.mkldnn.set_flags(_enabled=False)
    try:
        with sdpa_kernel(SDPBackend.MATH), torch.backends.cudnn.flags(enabled=False):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        torch.backends.mkldnn.set_flags(_enabled=onednn)


def _product(matrix: Sequence[int], *_: Any, **__: Any) -> int:
    return 2 * prod(matrix)  # each entry is used once


def _sum_and_product(_: Any, matrix: Sequence[int], *__: Any, **___: Any) -> int:
    return 2 * prod(matrix)


def _bilinear(first: Sequence[int], weight: Sequence[int], second: Sequence[int], *_: Any, **__: Any) -> int:
    """Return the operations of torch.nn.Bilinear, whose rows stand first and whose second features stand last."""
    return 2 * first[0] * (prod(weight) + prod(weight) // second[-1])


def _distances(first: Sequence[int], second: Sequence[int], *_: Any, **__: Any) -> int:
    return 2 * prod(first) * second[-2]


_ATEN = torch.ops.aten
UNCOUNTED: dict[Any, Callable[..., int]] = {
    _ATEN.mv: _product,
    _ATEN.dot: _product,
    _ATEN.vdot: _product,
    _ATEN.addmv: _sum_and_product,
    _ATEN._trilinear: _bilinear,
    _ATEN._cdist_forward: _distances,
}
"""Operator -> its operations by the shapes of its arguments, two for a multiply-accumulate."""
