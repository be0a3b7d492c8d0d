"""Somebody's module over vectors of which two entries matter, trained by a plain Trainer with callbacks."""

import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

ROWS = 256


class Foreign(LightningModule):
    """Somebody's own module: two informative inputs of twenty, and no idea of techniques."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layers = nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layers(inputs)

    def training_step(self, batch: tuple[Tensor, Tensor], _index: int) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)


def rows() -> tuple[Tensor, Tensor]:
    inputs = torch.randn(ROWS, 20, generator=torch.Generator().manual_seed(5))
    return inputs, (inputs[:, 3] * inputs[:, 7] > 0).long()


def fit(module: LightningModule, *callbacks: Callback, epochs: int = 12) -> Trainer:
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
    )
    trainer.fit(module, DataLoader(TensorDataset(*rows()), batch_size=32))
    return trainer
