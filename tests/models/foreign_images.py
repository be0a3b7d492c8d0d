"""Somebody's module over small images, trained by a plain Trainer with a technique."""

from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.data import DataLoader, TensorDataset

from kirigami.models.bits import Quantisation
from kirigami.models.technique import Link


class Foreign(LightningModule):
    """Somebody's module that knows nothing of this project."""

    def __init__(self, optimizer: str = "sgd") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.optimizer = optimizer
        self.body = nn.Sequential(
            nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(96, 20), nn.ReLU()
        )
        self.head = nn.Linear(20, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.body(inputs))

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> dict[str, Any]:
        if self.optimizer == "adam":
            optimizer: torch.optim.Optimizer = torch.optim.AdamW(self.parameters(), lr=1e-3)
        else:
            optimizer = torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100, eta_min=1e-3)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class FixedMask(Link):
    """A hard mask that keeps every third weight."""

    stage = "mask"

    def forward(self, weight: Tensor) -> Tensor:
        return weight * (torch.arange(weight.numel()).reshape(weight.shape) % 3 == 0)

    def parts(self, weight: Tensor) -> dict[str, Tensor]:
        return {"weight": self(weight)}


def batches() -> DataLoader:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(96, 1, 6, 6, generator=generator)
    targets = (inputs.mean((1, 2, 3)) * 6).floor().clamp(-1, 1).long() + 1
    return DataLoader(TensorDataset(inputs, targets), batch_size=16)


def inputs() -> Tensor:
    return torch.randn(4, 1, 6, 6, generator=torch.Generator().manual_seed(2))


def fit(technique: Quantisation, module: LightningModule | None = None, epochs: int = 10) -> LightningModule:
    module = module or Foreign()
    Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=[technique],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(module, batches())
    return module.eval()


def masked(module: Foreign) -> Foreign:
    for layer in (module.body[0], module.body[4]):
        link = FixedMask()
        link.harden()
        parametrize.register_parametrization(layer, "weight", link)
    return module
