"""The base of all masks: a link that keeps some entries of a weight, and a technique that counts and ranks them."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, final

import torch
from torch import Tensor, nn

from kirigami.errors import ArgumentError
from kirigami.models.technique import Least, Link, Linked, hook

LEAST = 1e-3  # share of the weights that is expected to stay where training alone decides


class Mask(Link):
    """Base of the links that end as zeros and ones, held in the buffer `kept`: all ones until pruning.

    Args:
        weight: the weight to mask, for its shape and device.
    """

    stage = "mask"
    kept: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("kept", torch.ones_like(weight, dtype=torch.bool))

    @abstractmethod
    def chosen(self) -> Tensor:
        """Return the mask if the link is fixed now: booleans of the weight's shape."""

    @final
    def parts(self, weight: Tensor) -> dict[str, Tensor]:
        """Return the mask, and the values at its ones in order."""
        return {"kept": self.kept, "values": self(weight)[self.kept]}


@final
class PlainMask(Mask):
    """Multiply a weight by zeros and ones, soft or hard."""

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight with zeros outside the mask; any shape."""
        return weight * self.kept

    def chosen(self) -> Tensor:
        """Return the mask."""
        return self.kept


class Masking(Linked[Mask]):
    """Base of the techniques that end with a mask of zeros and ones over all weights they take on.

    Densities are shares of the entries of the masked weights alone: biases, norms and other layers are not counted.

    Args:
        density: share of the masked weights' entries to keep, over all layers or by layer; None leaves it to training.
        names: see `Technique`.
        harden_at: see `Technique`.
        mask: makes the link for a weight.
        lr_scale: see `Linked`.
    """

    density: float | Mapping[str, float] | None

    @abstractmethod
    def __init__(
        self,
        density: float | Mapping[str, float] | None,
        names: Iterable[str] | None,
        harden_at: float,
        mask: Callable[[Tensor], Mask] = PlainMask,
        lr_scale: float = 1.0,
    ) -> None:
        super().__init__(names, harden_at, lr_scale)
        self.density = density
        self._mask = mask

    @final
    def link(self, name: str, layer: nn.Module) -> Mask:
        """Make a mask that keeps everything."""
        return self._mask(layer.weight)

    @property
    @final
    def masks(self) -> list[Mask]:
        """The masks in the order of their layers."""
        return list(self.links.values())

    @property
    @final
    def entries(self) -> int:
        """The number of entries of all masked weights."""
        return sum(mask.kept.numel() for mask in self.masks)

    @final
    def densities(self) -> dict[str, float]:
        """Return the share of the entries that each layer keeps."""
        return {name: float(mask.chosen().float().mean()) for name, mask in self.links.items()}

    @final
    def keep_largest(self, scores: Iterable[Tensor], share: float) -> int:
        """Keep the share of all entries with the largest scores, ranked over all layers; return how many changed."""
        masks = self.masks
        flat = torch.cat([score.detach().flatten() for score in scores])
        keep = torch.zeros_like(flat, dtype=torch.bool)
        keep[torch.sort(flat, descending=True, stable=True).indices[: count(share, flat.numel())]] = True
        changed = 0
        for mask, part in zip(masks, keep.split([mask.kept.numel() for mask in masks]), strict=True):
            part = part.view_as(mask.kept)
            changed += int((part != mask.kept).sum())
            mask.kept.copy_(part)
        return changed

    @final
    def least(self) -> Least:
        """Return the target density, the lowest of all layers; `LEAST` where training decides on it."""
        densities = list(self.density.values()) if isinstance(self.density, Mapping) else [self.density]
        return Least(min(LEAST if density is None else density for density in densities))

    @final
    def report(self) -> dict[str, float]:
        """Return `density`, the share of the masked weights' entries that the mask keeps, and how many those are."""
        remaining = sum(int(mask.chosen().sum()) for mask in self.masks)
        counts = {"density": remaining / max(1, self.entries), "kept": remaining, "masked_weights": self.entries}
        return {**counts, **self.details()}

    @hook
    def details(self) -> dict[str, float]:
        """Return further figures of the state reached."""
        return {}


def count(share: float, entries: int) -> int:
    """Return how many of the entries a share is: the nearest whole number, and at least one."""
    return max(1, round(share * entries))


def check_density(density: Any) -> None:
    """Raise `ValueError` unless a density is a number above 0 and at most 1."""
    number = isinstance(density, int | float) and not isinstance(density, bool)
    if not number or not 0 < density <= 1:
        raise ArgumentError("density", f"must be above 0 and at most 1, but got {density!r}.")


def check_densities(density: float | Mapping[str, float]) -> None:
    """Raise `ValueError` unless a density, or that of each layer, is above 0 and at most 1."""
    for value in density.values() if isinstance(density, Mapping) else [density]:
        check_density(value)
