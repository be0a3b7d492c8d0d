"""Networks with layers of one shape, rows for them, and a plain Trainer."""

import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from kirigami.models import build_network


class Step(nn.Module):
    """A block of somebody else's, without norms."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.up = nn.Linear(features, 2 * features)
        self.down = nn.Linear(2 * features, features)

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + 0.3 * self.down(torch.tanh(self.up(inputs)))


class Foreign(LightningModule):
    """A module of somebody else's: a chain of blocks, its own loss, its own optimiser."""

    def __init__(self, blocks: int = 4, features: int = 6) -> None:
        super().__init__()
        self.chain = nn.ModuleList(Step(features) for _ in range(blocks))
        self.out = nn.Linear(features, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        for block in self.chain:
            inputs = block(inputs)
        return self.out(inputs)

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9, weight_decay=0.01)


def foreign(seed: int = 0, blocks: int = 4) -> Foreign:
    torch.manual_seed(seed)
    return Foreign(blocks)


def resnet(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    config = {"name": "resnet", "stages": 1, "blocks": 4, "width": 8, "preactivation": True}
    return build_network(config, in_shape=(1, 8, 8), out_features=5)


def features(rows: int = 32, *shape: int) -> Tensor:
    return torch.randn(rows, *(shape or (6,)), generator=torch.Generator().manual_seed(1))


def fit(module: LightningModule, *techniques: Callback, epochs: int = 2) -> Trainer:
    inputs = features(64)
    rows = DataLoader(TensorDataset(inputs, (inputs.sum(1) > 0).long()), batch_size=8)
    trainer = Trainer(
        max_epochs=epochs,
        callbacks=list(techniques),
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, rows)
    return trainer
