"""Quantised layer inputs: a uniform grid whose range is measured in training, straight-through once it is fixed.

The grid is that of ONNX's QuantizeLinear and DequantizeLinear per tensor, s·(clamp(round(x/s) + z, 0, 2^p - 1) - z):
halves are rounded to even, and the zero point z is whole, so that an input of 0 stays 0.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kirigami.errors import ArgumentError
from kirigami.models.technique import weighted

CHILD = "input_quantiser"
FEWEST, MOST = 2, 8
SAMPLE = 2048  # entries of a batch that are looked at
CANDIDATES = 24  # ranges compared in a batch, as shares of that from its smallest to its largest entry
MEMORY = 0.9  # of the running mean over batches
WATCHED_FROM = 0.5  # share of the soft part from which inputs are watched, each WATCHED_EVERY-th step
WATCHED_EVERY = 4
UNSEEN = 32  # bits of an input that nothing was seen of, so that nothing rounds it


class InputQuantiser(nn.Module):
    """Passes inputs on, watching their range when told to, until it is fixed; then rounds them to its grid.

    The range of a batch is the one whose grid has the least mean squared error on it, which clips more the fewer the
    bits; the running mean over batches is kept. A quantiser that never saw an input other than 0 rounds nothing.

    Args:
        wanted: Bits p of the grid once it is fixed, 2 to 8.
    """

    range: Tensor
    bits: Tensor
    step: Tensor
    lowest: Tensor
    highest: Tensor

    def __init__(self, wanted: int) -> None:
        super().__init__()
        self.wanted = wanted
        self.watching = False
        self.fixed = False
        self.register_buffer("range", torch.zeros(2))
        self.register_buffer("bits", torch.zeros((), dtype=torch.uint8))  # 0 until it is fixed
        # Follow from the range and the bits: they are computed when it is fixed, and again when a state is loaded.
        for name in ("step", "lowest", "highest"):
            self.register_buffer(name, torch.ones(()), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the inputs as the layer sees them; any shape."""
        if not self.fixed:
            if self.watching and self.training:
                self.watch(inputs.detach())
            return inputs
        step = self.step.to(inputs.dtype)
        level = torch.clamp(inputs / step, self.lowest.to(inputs.dtype), self.highest.to(inputs.dtype))
        if not torch.is_grad_enabled():
            return level.round() * step
        # Both sums are exact below 2^23 levels, so this is the rounded level, with the gradient of the clamped one.
        return (level + (level.round() - level).detach()) * step

    def watch(self, inputs: Tensor) -> None:
        """Take the range of a batch into the running mean."""
        if not inputs.numel():
            return
        with torch.no_grad():
            ends = fitted(inputs, self.wanted).to(self.range.dtype)
            self.range.copy_(torch.where(self.range.any(), self.range.lerp(ends, 1 - MEMORY), ends))

    def fix(self) -> None:
        """Round from now on, if any input was seen."""
        self.bits.copy_(torch.where(self.range.any(), self.wanted, 0))
        self._derive()

    def _derive(self) -> None:
        self.fixed, self.watching = bool(self.bits > 0), False
        if self.fixed:
            step, zero = grid(self.range, int(self.bits))
            self.step.copy_(step)
            self.lowest.copy_(-zero)
            self.highest.copy_(2 ** int(self.bits) - 1 - zero)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *arguments: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *arguments)  # type: ignore[no-untyped-call]
        self._derive()


class InputRounding:
    """The quantisers of the layers' inputs in a network: they measure ranges together and are fixed together.

    Args:
        bits: of all layers' inputs but the network's first, which has 8; None for no quantisers.

    Raises:
        ValueError: `bits` are out of their range.
    """

    def __init__(self, bits: int | None) -> None:
        if bits is not None and not FEWEST <= bits <= MOST:
            raise ArgumentError("activation_bits", f"must be from {FEWEST} to {MOST}, but got {bits!r}.")
        self.bits = bits
        self.quantisers: list[InputQuantiser] = []
        self.steps = 0

    def insert(self, network: nn.Module, layers: Mapping[str, nn.Module]) -> None:
        """Give each of a network's layers its quantiser."""
        if self.bits is None:
            return
        first = next(layer for _, layer in weighted(network))
        for layer in layers.values():
            quantiser = InputQuantiser(MOST if layer is first else self.bits).to(layer.weight.device)
            self.quantisers.append(quantiser)
            insert(layer, quantiser)

    def advance(self, progress: float) -> None:
        """Let the quantisers watch the first step, and every few steps once the soft part has come some way."""
        watching = self.steps == 0 or (progress >= WATCHED_FROM and self.steps % WATCHED_EVERY == 0)
        self.steps += 1
        for quantiser in self.quantisers:
            quantiser.watching = watching

    def fix(self) -> None:
        """Fix the ranges."""
        for quantiser in self.quantisers:
            quantiser.fix()

    def report(self) -> dict[str, float]:
        """Return the mean `activation_bits` over the layers, 32 where no input was seen; {} without quantisers."""
        bits = [each.wanted if bool(each.range.any()) else UNSEEN for each in self.quantisers]
        return {"activation_bits": sum(bits) / len(bits)} if bits else {}


def grid(ends: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Return the step, and the whole zero point, of the grid between ends (..., 2) that hold 0."""
    low, high = ends.unbind(-1)
    top = 2**bits - 1
    step = ((high - low) / top).clamp(min=torch.finfo(ends.dtype).tiny)
    return step, (-low / step).round().clamp(0, top)


def fitted(inputs: Tensor, bits: int) -> Tensor:
    """Return the ends (2,) of the range whose grid has the least squared error, of shares of the range from end to end.

    Args:
        inputs: Of any shape; evenly spaced entries are looked at, those that are not finite as 0.
        bits: Of the grid.
    """
    flat = inputs.reshape(-1).float()
    flat = flat[:: max(1, flat.numel() // SAMPLE)].nan_to_num(0.0, 0.0, 0.0)
    ends = torch.stack([flat.min().clamp(max=0), flat.max().clamp(min=0)])
    shares = torch.linspace(1 / CANDIDATES, 1, CANDIDATES, device=flat.device)
    several = shares[:, None] * ends
    step, zero = (value[:, None] for value in grid(several, bits))
    rounded = ((flat / step).round().clamp(-zero, 2**bits - 1 - zero)) * step
    best = (rounded - flat).square().mean(1).argmin()
    return several.index_select(0, best.reshape(1))[0]


def insert(layer: nn.Module, quantiser: InputQuantiser) -> None:
    """Make a layer round its first argument by a quantiser, which becomes its child."""
    layer.add_module(CHILD, quantiser)
    layer.register_forward_pre_hook(_round, with_kwargs=True)


def _round(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Round the input of a layer; a function of the layer, so that copies of a layer use their own quantisers."""
    quantiser = layer.get_submodule(CHILD)
    if args:
        return (quantiser(args[0]), *args[1:]), kwargs
    return args, {**kwargs, "input": quantiser(kwargs["input"])}
