"""What Lightning and torch-pruning keep private and we use: this version still has it."""

from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch

from kirigami.models import lightning_private
from kirigami.models.structure import torch_pruning_private
from kirigami.models.structure.calls import calls_of


class Counting(pl.LightningModule):
    """Counts its batches; at the start of step `at`, or of epoch `at`, a checkpoint is written."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seen: list[tuple[int, int]] = []

    def train_dataloader(self) -> torch.utils.data.DataLoader:
        return torch.utils.data.DataLoader(torch.arange(4.0)[:, None], batch_size=1)

    def training_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
        self.seen.append((self.current_epoch, index))
        return self.layer(batch).sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Saving(pl.Callback):
    """Writes a checkpoint before an epoch begins, with the loop counters set to its start."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == 1:
            trainer.save_checkpoint(self.path)

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict) -> None:
        lightning_private.rewind(checkpoint, 0)


class TestLightning:
    """Each private name of Lightning that is used."""

    def trainer(self, *callbacks: pl.Callback) -> pl.Trainer:
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        return pl.Trainer(max_epochs=2, accelerator="cpu", callbacks=[*callbacks], enable_model_summary=False, **quiet)

    def test_a_run_goes_on_from_the_start_of_an_epoch(self, tmp_path: Path) -> None:
        whole, rest = Counting(), Counting()
        self.trainer(Saving(tmp_path / "a.ckpt")).fit(whole)
        self.trainer().fit(rest, ckpt_path=tmp_path / "a.ckpt")
        assert whole.seen == [(epoch, index) for epoch in range(2) for index in range(4)]
        assert rest.seen == whole.seen[4:]

    def test_without_it_a_run_would_leave_an_epoch_out_or_repeat_one(self, tmp_path: Path, monkeypatch) -> None:
        monkeypatch.setattr(lightning_private, "rewind", lambda checkpoint, batches: None)
        rest = Counting()
        self.trainer(Saving(tmp_path / "a.ckpt")).fit(Counting())
        self.trainer().fit(rest, ckpt_path=tmp_path / "a.ckpt")
        assert rest.seen != [(1, index) for index in range(4)]

    def test_rows_are_loaded_before_the_run(self) -> None:
        loaded = []

        class Looking(pl.Callback):
            def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
                lightning_private.load_data(trainer)
                loaded.append(len(trainer.train_dataloader))

        self.trainer(Looking()).fit(Counting())
        assert loaded == [4]


class Operations(torch.nn.Module):
    """Two layers, and between them an operation that has no weights."""

    def __init__(self, between, features: int) -> None:
        super().__init__()
        self.first, self.between, self.second = torch.nn.Linear(2, 4), between, torch.nn.Linear(features, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.second(self.between(self.first(inputs)))


class Last(torch.nn.Module):
    """A recurrent layer over one step."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = torch.nn.GRU(4, 4, batch_first=True)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.memory(inputs[:, None])[0][:, -1]


OPERATIONS = {
    "_ElementWiseOp": (torch.relu, 4),
    "_ReshapeOp": (lambda x: x[:, :, None].expand(-1, -1, 2).reshape(len(x), 8), 8),
    "_ConcatOp": (lambda x: torch.cat([x, x], 1), 8),
    "_SplitOp": (lambda x: torch.cat(x.split(2, 1), 1), 4),
    "_SliceOp": (lambda x: x[:, :2] + x[:, 2:], 2),
    "_ExpandOp": (lambda x: x[:, :, None].expand(-1, -1, 2).flatten(1), 8),
    "_UnbindOp": (lambda x: torch.stack(x[:, None].unbind(1), 1).squeeze(1), 4),
}


class TestTorchPruning:
    """Each private name of torch-pruning that is used."""

    @pytest.mark.parametrize("name", OPERATIONS)
    def test_an_operation_is_told_from_a_module(self, name: str) -> None:
        network = Operations(*OPERATIONS[name])
        coupling = torch_pruning_private.Coupling(network, calls_of(torch.randn(3, 2)))
        assert coupling.reaches(network.first)
        assert coupling.channels(network.first) == 4
        sides = coupling.of(network.first, range(4))
        operations = {type(side.target).__name__ for side in sides if torch_pruning_private.is_operation(side.target)}
        assert name in operations
        assert operations <= {kind.__name__ for kind in torch_pruning_private.OPERATIONS}
        assert {side.target for side in sides} >= {network.first, network.second}

    def test_sides_and_positions_of_what_goes_together(self) -> None:
        network = Operations(torch.nn.Sequential(torch.nn.Unflatten(1, (4, 1)), torch.nn.Flatten()), 4)
        sides = torch_pruning_private.Coupling(network, calls_of(torch.randn(3, 2))).of(network.first, [1, 3])
        told = {(side.target, side.out): (side.positions, side.roots) for side in sides}
        assert told[network.first, True] == told[network.second, False] == ([1, 3], [1, 3])

    def test_a_module_that_is_not_understood_is_opaque(self) -> None:
        network = Operations(Last(), 4)
        sides = torch_pruning_private.Coupling(network, calls_of(torch.randn(3, 2))).of(network.first, range(4))
        assert any(torch_pruning_private.is_opaque(side.target) for side in sides)
