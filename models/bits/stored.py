"""The bits that a quantised layer takes on disk: the code length of an adaptive coder, its learning included."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor


def entropy(symbols: Tensor) -> float:
    """Return the entropy of integer symbols in bits a symbol."""
    counts = torch.unique(symbols, return_counts=True)[1].double()
    share = counts / counts.sum()
    return float(-(share * share.log2()).sum())


def code_length(symbols: Tensor, alphabet: int) -> float:
    """Return the bits an adaptive coder needs for a sequence of integer symbols.

    It is the code length of the Krichevsky-Trofimov mixture (IEEE Trans. Inf. Theory 27(2), 1981): it starts without
    a histogram and pays for learning it, so small layers are not flattered as they are by their entropy.

    Args:
        symbols: Integers, of any shape.
        alphabet: How many different symbols could occur.
    """
    counts = torch.unique(symbols, return_counts=True)[1].tolist()
    seen = sum(math.lgamma(count + 0.5) - math.lgamma(0.5) for count in counts)
    total = math.lgamma(sum(counts) + alphabet / 2) - math.lgamma(alphabet / 2)
    return (total - seen) / math.log(2)


def layer_sizes(parts: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the bits of one layer's parts: `map`, `levels` (given the map) and `scale`.

    Levels of p bits are counted at p bits each where a coder would need more. Zero levels are told by the map where
    it has an entry a weight, where they are state 0; else by a mask, coded like a map.
    """
    levels, bits, scale = parts["levels"], parts["bits"], parts["scale"]
    # States 0 to 8; a map of one entry has no neighbours to learn from.
    coded = code_length(bits, 9) if bits.numel() > 1 else 8.0
    if bits.numel() != levels.numel() and bool((levels == 0).any()):
        coded += code_length(levels == 0, 2)
    spread = bits.expand_as(levels)
    levels_bits = 0.0
    for p in torch.unique(bits).tolist():
        chosen = levels[(spread == p) & (levels != 0)]
        if chosen.numel():
            levels_bits += min(code_length(chosen, 2**p), float(p * chosen.numel()))
    return {"map": coded, "levels": levels_bits, "scale": 8.0 * scale.element_size() * scale.numel()}
