"""Compressed gradients between two workers of Lightning's Trainer, with a checkpoint on the way."""

import subprocess
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]
# A process of its own: workers are forked, which torch forbids where a backward pass has been.
PROGRAM = """
import os, sys
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch import nn
from kirigami.models.communication import CompressedGradients

folder = sys.argv[1]
torch.set_num_threads(1)


class Foreign(LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 1))
        self.gradients = []

    def training_step(self, batch, index):
        rows = batch[self.global_rank :: 2]  # each worker has rows of its own
        return (self.network(rows) - rows.sum(1, keepdim=True)).square().mean()

    def on_before_optimizer_step(self, optimizer):
        self.gradients.append(torch.cat([one.grad.flatten() for one in self.parameters()]).clone())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.02)

    def on_train_start(self):
        if self.trainer.ckpt_path is not None:
            state = self.trainer.callbacks[0]
            late = {name: state._residual(one, one.device) for name, one in self.named_parameters()}
            torch.save({"late": late, "counts": state.state_dict()}, f"{folder}/resumed{self.global_rank}.pt")

    def on_train_end(self):
        if self.trainer.ckpt_path is not None:
            return
        state = self.trainer.callbacks[0]
        torch.save(
            {
                "weights": torch.cat([one.detach().flatten() for one in self.parameters()]),
                "gradients": torch.stack(self.gradients),
                "residuals": state.residuals(self),
                "own": {str(n): state._residual(p, p.device) for n, p in self.named_parameters()},
                "counts": state.state_dict(),
            },
            f"{folder}/rank{self.global_rank}.pt",
        )
        self.trainer.save_checkpoint(f"{folder}/saved.ckpt")


def run(epochs, path=None):
    torch.manual_seed(1)
    batches = torch.utils.data.DataLoader(torch.randn(12 * 16, 8), 16)
    Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        devices=2,
        strategy=DDPStrategy(start_method="fork", process_group_backend="gloo"),
        callbacks=[CompressedGradients(density=0.1)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    ).fit(Foreign(), batches, ckpt_path=path)


run(2)
run(3, f"{folder}/saved.ckpt")
"""


def test_two_workers_have_the_same_weights_for_a_fraction_of_the_bytes(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2))
    assert torch.equal(one["weights"], two["weights"])
    assert torch.equal(one["gradients"], two["gradients"])
    assert one["counts"] == two["counts"]
    assert one["counts"]["steps"] == 24
    assert one["counts"]["plain_bytes"] == 24 * 4 * (8 * 64 + 64 + 64 + 1)
    assert one["counts"]["plain_bytes"] > 20 * one["counts"]["sent_bytes"] > 0
    saved = torch.load(tmp_path / "saved.ckpt", weights_only=True)["compressed_gradients"]
    assert any(not torch.equal(one["own"][name], two["own"][name]) for name in saved)
    for name, value in saved.items():
        torch.testing.assert_close(value.flatten(), (one["own"][name] + two["own"][name]) / 2)
        assert torch.equal(value, one["residuals"][name])
    for rank in range(2):
        resumed = torch.load(tmp_path / f"resumed{rank}.pt", weights_only=True)
        assert resumed["counts"] == one["counts"]
        assert all(torch.equal(resumed["late"][name], value.flatten()) for name, value in saved.items())
