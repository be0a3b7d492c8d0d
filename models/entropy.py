"""The entropy of a network's weights: of 8-bit codes, and as bytes that are really there and decode.

Codes are relative to the range of each tensor, or on a grid that is the same for all: training stretches the range of
a tensor by a few large weights, so that the first fall; and it spreads the weights, so that the second rise.
A. Øland, "Efficient Deep Learning", CMU-CS-24-147, 2024, is the claim; the ratio to 32 bits is its measure.

    Trainer(callbacks=[WeightEntropy()]).fit(module, batches, rows)  # then in trainer.callback_metrics
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from kirigami.arguments import at_least
from kirigami.models.compact import compress_codes, expand_codes, held, is_linked, outside_links
from kirigami.models.cost import evaluating
from kirigami.models.technique import network_of

FLOAT = 32  # bits of a weight as it is trained
WIDEST = 8
DENSE = 1 << 16  # different codes up to which counting them takes a table


class Entropy(NamedTuple):
    """Figures of a network's weights, in bits a weight.

    Attributes:
        relative: entropy of codes relative to the range of each tensor.
        fixed: entropy of codes on the one grid.
        ratio: 32 bits, over the first.
        weights: how many there are.
    """

    relative: float
    fixed: float
    ratio: float
    weights: int


def weight_entropy(network: nn.Module, bits: int = 8, width: float | None = None) -> Entropy:
    """Return the entropy -Σ p log2 p of a network's weights, each tensor by its own histogram, averaged over weights.

    Weights are the floating-point parameters of two sides and more, as the forward pass sees them: where links compute
    a weight, it is the computed one, once for each layer. A tensor of n weights has no more than log2 n bits.

    Args:
        network: any module; left in the modes it was in.
        bits: of the relative codes, 1 to 8: 2^bits values from a tensor's least to its greatest.
        width: of a step of the fixed grid, whose steps are centred on its multiples; by default 2^(1 - bits), that of
            a fixed-point number of so many bits over [-1, 1), where trained weights mostly lie.

    Raises:
        ValueError: where an argument is out of its range, or there are no weights.
    """
    _check(bits)
    width = 2.0 ** (1 - bits) if width is None else width
    if not 0 < width < math.inf:
        raise ValueError(f"width must be a number above 0, but got {width!r}.")
    total, relative, fixed = 0, 0.0, 0.0
    for _, weight in weights(network):
        total += weight.numel()
        if not bool(weight.isfinite().all()):
            return Entropy(math.nan, math.nan, math.nan, total)
        relative += weight.numel() * _entropy(_codes(weight, bits)[0])
        fixed += weight.numel() * _entropy((weight.double() / width).round().long())
    if not total:
        raise ValueError(f"{type(network).__name__} has no parameter of two sides or more, so no weights to count.")
    relative, fixed = relative / total, fixed / total
    return Entropy(relative, fixed, FLOAT / relative if relative else math.inf, total)


def weights(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield (name, weight) of every parameter of two sides and more, a shared one once, links being computed."""
    seen: set[int] = set()
    with torch.no_grad(), evaluating(network):
        for prefix, module in outside_links(network):
            trained = {name for name, _ in module.named_parameters(recurse=False)}
            tensors = {name: value for name, value in held(module) if name in trained and id(value) not in seen}
            seen |= {id(value) for value in tensors.values()}
            if is_linked(module) and id(module) not in seen:
                seen.add(id(module))
                tensors |= {name: getattr(module, name) for name in module.parametrizations}
            for name, value in tensors.items():
                if value.dim() > 1 and value.numel() and value.is_floating_point():
                    yield prefix + name, value.detach()


def compress_weights(network: nn.Module, bits: int = 8) -> bytes:
    """Return the relative codes of a network's weights, compressed by our range coder, with each one's least and step.

    Raises:
        ValueError: where `bits` is out of its range, or a weight is no finite number.
    """
    _check(bits)
    arrays, grids = [], []
    for name, weight in weights(network):
        if not bool(weight.isfinite().all()):
            raise ValueError(f"{name} must be finite to be compressed, but has values that are not.")
        codes, least, step = _codes(weight, bits)
        arrays.append(codes.flatten().cpu().numpy())
        grids += [least, step]
    return compress_codes(arrays, bits) + numpy.array(grids, "<f4").tobytes()


def expand_weights(data: bytes, network: nn.Module) -> dict[str, Tensor]:
    """Return the weights that `compress_weights` compressed, by name, at most half a step from the originals.

    Args:
        data: its bytes.
        network: one of the same shapes, which tells names and shapes and is left as it is.

    Raises:
        ValueError: where the bytes are none of such a network.
    """
    shapes = {name: weight.shape for name, weight in weights(network)}
    end = len(data) - 8 * len(shapes)  # behind it stand the least and the step of each weight
    arrays = expand_codes(data[:end], [shape.numel() for shape in shapes.values()])
    grids = torch.from_numpy(numpy.frombuffer(data[end:], "<f4").copy()).view(-1, 2)
    return {
        name: (least + step * torch.from_numpy(codes)).reshape(shape)
        for (name, shape), codes, (least, step) in zip(shapes.items(), arrays, grids, strict=True)
    }


def _check(bits: int) -> None:
    if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= WIDEST:
        raise ValueError(f"bits must be a whole number from 1 to {WIDEST}, but got {bits!r}.")


def _codes(weight: Tensor, bits: int) -> tuple[Tensor, float, float]:
    """Return the codes of a tensor's values, from 0 to 2^bits - 1, their least value and their step, as float32."""
    values = weight.float()
    least, greatest = values.aminmax()
    step = (greatest - least) / (2**bits - 1)
    codes = ((values - least) / step).round() if step > 0 else torch.zeros_like(values)
    return codes.long().clamp_(0, 2**bits - 1), float(least), float(step)


def _entropy(codes: Tensor) -> float:
    """Return the bits a symbol of whole numbers."""
    codes = codes.flatten()
    least, greatest = codes.aminmax()
    if int(greatest - least) < DENSE:
        counts = torch.bincount(codes - least)
    else:
        counts = torch.unique(codes, return_counts=True)[1]
    share = counts[counts > 0] / codes.numel()
    return float(-(share * share.log2()).sum().clamp(max=0))


class WeightEntropy(Callback):
    """Measure the entropy of the weights after each pass over the validation rows.

    Its figures are `weight_entropy`, `weight_entropy_fixed` (bits a weight) and `weight_bytes` in
    `trainer.callback_metrics`, and are logged where there is a logger. None is set once a weight is not finite.

    Args:
        bits: as in `weight_entropy`.
        width: as in `weight_entropy`.
        every: passes from one compression to the next, which takes a second for 100,000 weights, where all else takes
            milliseconds; 0 for none. The last pass of a run has one too. Between them `weight_bytes` stays as it was.

    Raises:
        ValueError: where an argument is out of its range.
    """

    def __init__(self, bits: int = 8, width: float | None = None, every: int = 10) -> None:
        _check(bits)
        at_least("every", every, 0)
        self.bits, self.width, self.every = bits, width, every
        self.passes = 0

    def figures(self, network: nn.Module, last: bool = False) -> dict[str, float]:
        """Return the figures of a network after one more pass, perhaps the last one."""
        entropy = weight_entropy(network, self.bits, self.width)
        self.passes += 1
        if not math.isfinite(entropy.relative):
            return {}
        figures = {"weight_entropy": entropy.relative, "weight_entropy_fixed": entropy.fixed}
        if self.every and (last or self.passes % self.every == 0):
            figures["weight_bytes"] = float(len(compress_weights(network, self.bits)))
        return figures

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure before anybody reads the metrics of this pass."""
        if trainer.sanity_checking:
            return
        epochs, steps = trainer.max_epochs or -1, trainer.max_steps
        last = 0 < epochs <= trainer.current_epoch + 1 or 0 < steps <= trainer.global_step
        figures = self.figures(network_of(pl_module), last)
        if trainer.loggers:
            pl_module.log_dict(figures, rank_zero_only=True)
        else:
            trainer.callback_metrics.update({name: torch.tensor(value) for name, value in figures.items()})

    def state_dict(self) -> dict[str, Any]:
        """Return how many passes there were."""
        return {"passes": self.passes}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.passes = int(state_dict["passes"])
