"""Change batches of images on the device: normalise them, and flip and shift them while training."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


class Normalise:
    """Turn uint8 images (N, C, H, W) to float: (x / 255 - mean) / deviation per channel, each given in [0, 1]."""

    def __init__(
        self, mean: tuple[float, ...], deviation: tuple[float, ...], device: torch.device | str = "cpu"
    ) -> None:
        means, deviations = torch.tensor([mean, deviation]).view(2, -1, 1, 1)
        self._factor = (1 / (255 * deviations)).to(device)
        self._offset = (-means / deviations).to(device)

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return float32 images of the same shape."""
        return images.float().mul_(self._factor).add_(self._offset)


class Standardise:
    """Take the mean from images of values (N, C, H, W), channel by channel, and divide by the deviation.

    In this order: of values that are large and alike, a factor and an offset would leave little.
    """

    def __init__(
        self, mean: tuple[float, ...], deviation: tuple[float, ...], device: torch.device | str = "cpu"
    ) -> None:
        self._mean, self._deviation = torch.tensor([mean, deviation]).view(2, -1, 1, 1).to(device)

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return float32 images of the same shape."""
        return (images - self._mean) / self._deviation


@dataclass(frozen=True)
class FlipCrop:
    """Shift each image by up to `padding` pixels, black at the edges, and flip half of them left to right.

    Then `normalise`. Every image draws its own shift; the draws come from the generator, on the CPU.
    """

    normalise: Normalise | Standardise
    flip: bool = True
    padding: int = 4

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return float32 images (N, C, H, W), changed if there is a generator and only normalised if not."""
        return self.normalise(images if generator is None else self.shift(images, generator))

    def shift(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return the shifted and flipped images, of the same type."""
        count, _, height, width = images.shape
        drawn = torch.randint(2 * self.padding + 1, (2, count, 1), generator=generator)
        flipped = torch.randint(2, (count, 1), generator=generator).bool() & self.flip
        row = drawn[0] + torch.arange(height)
        column = drawn[1] + torch.where(flipped, torch.arange(width - 1, -1, -1), torch.arange(width))
        padded = functional.pad(images, (self.padding,) * 4)
        flat = (row.unsqueeze(2) * padded.shape[3] + column.unsqueeze(1)).view(count, 1, -1).to(images.device)
        return padded.flatten(2).gather(2, flat.expand(-1, images.shape[1], -1)).view_as(images)


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation per channel, in [0, 1], of uint8 images (N, C, H, W)."""
    total, squares = torch.zeros(images.shape[1]).double(), torch.zeros(images.shape[1]).double()
    for chunk in images.split(2048):
        values = chunk.float()
        total += values.sum(dim=(2, 3)).double().sum(dim=0)
        squares += values.square_().sum(dim=(2, 3)).double().sum(dim=0)
    count = images.numel() / images.shape[1]
    mean = total / count
    deviation = (squares / count - mean.square()).clamp(min=0).sqrt()
    deviation[deviation < 1e-3] = 255.0
    return tuple((mean / 255).tolist()), tuple((deviation / 255).tolist())


def value_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation per channel of float images (N, C, H, W); a channel that never changes has 1."""
    chunks, count = images.split(256), images.numel() / images.shape[1]
    mean = sum(chunk.double().sum(dim=(0, 2, 3)) for chunk in chunks) / count
    centred = (chunk.double() - mean.view(-1, 1, 1) for chunk in chunks)
    deviation = (sum(values.square_().sum(dim=(0, 2, 3)) for values in centred) / count).sqrt()
    deviation[deviation == 0] = 1.0
    return tuple(mean.tolist()), tuple(deviation.tolist())
