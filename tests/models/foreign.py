"""A network and a LightningModule that know nothing of this project, rows for them, and a plain Trainer."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


class Network(nn.Module):
    """Reads images (n, 1, 6, 6): residual blocks, a depthwise convolution, and a GRU from column to column."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.first = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(2))
        self.second = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm2d(8) for _ in range(2))
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.memory = nn.GRU(8, 8, batch_first=True)
        self.out = nn.Linear(8, 3)

    def forward(self, images: Tensor) -> Tensor:
        """Return scores (n, 3)."""
        channels = self.stem(images)
        for first, second, norm in zip(self.first, self.second, self.norms, strict=True):
            channels = F.relu(channels + norm(second(F.relu(first(channels)))))
        columns = F.relu(self.depthwise(channels)).mean(2).transpose(1, 2)
        return self.out(self.memory(columns)[0][:, -1])


class Foreign(LightningModule):
    """Somebody's module; its network is not where ours is."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body = Network()

    def forward(self, images: Tensor) -> Tensor:
        return self.body(images)

    def training_step(self, batch: Sequence[Tensor], _index: int) -> Tensor:
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=5e-3)


def rows() -> tuple[Tensor, Tensor]:
    """Return images and which third of the columns is the brightest."""
    images = torch.randn(96, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    return images, images.mean((1, 2)).reshape(96, 3, 2).mean(2).argmax(1)


def fit(module: LightningModule, *callbacks: Callback, epochs: int = 10, **start: Any) -> Trainer:
    """Train as anybody would; `start` is for `Trainer.fit`."""
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
    )
    trainer.fit(module, DataLoader(TensorDataset(*rows()), batch_size=16), **start)
    return trainer


def loss_of(module: nn.Module) -> float:
    """Return the loss on all rows, in evaluation."""
    with torch.no_grad():
        return float(F.cross_entropy(module.eval()(rows()[0]), rows()[1]))
