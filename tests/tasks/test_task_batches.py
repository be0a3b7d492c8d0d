"""Batches hold what plain slicing would give, in an order that (seed, epoch) decides."""

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor

from kirigami.tasks import Batches, build


def numbered(rows: int) -> tuple[Tensor, Tensor]:
    return torch.arange(rows, dtype=torch.float32).unsqueeze(1), torch.arange(rows)


def order(batches: Batches) -> list[int]:
    return [int(target) for _, targets in batches for target in targets]


@pytest.mark.parametrize(
    ("rows", "batch_size", "lengths"),
    [(10, 4, [4, 4, 2]), (8, 4, [4, 4]), (9, 4, [4, 4]), (3, 4, [3]), (1, 4, [1]), (3, 1, [1, 1, 1]), (5, 4, [4])],
)
def test_lengths_when_shuffled(rows: int, batch_size: int, lengths: list[int]) -> None:
    batches = Batches(*numbered(rows), batch_size=batch_size, generator_seed=0)
    assert [len(targets) for _, targets in batches] == lengths
    assert len(batches) == len(lengths)


def test_in_order_keeps_every_row() -> None:
    batches = Batches(*numbered(9), batch_size=4)
    assert [len(targets) for _, targets in batches] == [4, 4, 1]
    assert len(batches) == 3
    assert order(batches) == order(batches) == list(range(9))


def test_rows_stay_together_and_occur_once() -> None:
    batches = Batches(*numbered(50), batch_size=8, generator_seed=1)
    for inputs, targets in batches:
        assert torch.equal(inputs.squeeze(1), targets.float())
    assert sorted(order(batches)) == list(range(50))


def test_order_comes_from_seed_and_epoch() -> None:
    batches = Batches(*numbered(50), batch_size=8, generator_seed=1)
    epochs = [order(batches) for _ in range(3)]
    assert epochs[0] != epochs[1] != epochs[2]
    again = Batches(*numbered(50), batch_size=8, generator_seed=1)
    again.set_epoch(2)
    assert order(again) == epochs[2]
    assert order(Batches(*numbered(50), batch_size=8, generator_seed=2)) != epochs[0]


def test_an_iterator_that_is_not_used_counts_for_nothing() -> None:
    batches = Batches(*numbered(50), batch_size=8, generator_seed=1)
    iter(batches)
    assert order(batches) == order(Batches(*numbered(50), batch_size=8, generator_seed=1))


def test_global_random_state_is_left_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    order(Batches(*numbered(50), batch_size=8, generator_seed=1))
    assert torch.equal(torch.get_rng_state(), before)


def test_transform_gets_a_generator_only_when_shuffled() -> None:
    def noise(inputs: Tensor, generator: torch.Generator | None) -> Tensor:
        return inputs * 0 if generator is None else torch.rand(inputs.shape, generator=generator)

    shuffled = Batches(*numbered(20), batch_size=5, generator_seed=3, transform=noise)
    first = torch.cat([inputs for inputs, _ in shuffled])
    second = torch.cat([inputs for inputs, _ in shuffled])
    shuffled.set_epoch(0)
    assert not torch.equal(first, second)
    assert torch.equal(torch.cat([inputs for inputs, _ in shuffled]), first)
    assert all(inputs.sum() == 0 for inputs, _ in Batches(*numbered(20), batch_size=5, transform=noise))


def test_batch_size_below_one() -> None:
    with pytest.raises(ValueError, match=r"batch_size must be at least 1, but got 0"):
        Batches(*numbered(4), batch_size=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_device_sees_the_order_of_the_cpu() -> None:
    on_cpu = Batches(*numbered(50), batch_size=8, generator_seed=1)
    on_device = Batches(*numbered(50), batch_size=8, generator_seed=1, device="cuda")
    assert order(on_cpu) == order(on_device)


class Watcher(pl.LightningModule):
    """Note the first row of each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(30, 2)
        self.seen: dict[int, float] = {}

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        if index == 0:
            self.seen[self.current_epoch] = float(batch[0].sum())
        return torch.nn.functional.cross_entropy(self.layer(batch[0]), batch[1])

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.01)


@pytest.mark.filterwarnings("ignore")
def test_lightning_gets_each_epochs_order_also_when_it_resumes(tmp_path) -> None:
    def fit(epochs: int, checkpoint: str | None = None) -> tuple[pl.Trainer, Watcher]:
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        trainer = pl.Trainer(max_epochs=epochs, accelerator="cpu", enable_model_summary=False, **quiet)
        watcher = Watcher()
        trainer.fit(watcher, datamodule=build({"name": "breast_cancer"}, seed=0), ckpt_path=checkpoint)
        return trainer, watcher

    task = build({"name": "breast_cancer"}, seed=0)
    task.setup("fit")
    batches = task.train_dataloader()
    expected = {epoch: float(next(iter(batches))[0].sum()) for epoch in range(4)}
    trainer, first = fit(2)
    trainer.save_checkpoint(tmp_path / "state.ckpt")
    _, resumed = fit(4, str(tmp_path / "state.ckpt"))
    assert first.seen == pytest.approx({epoch: expected[epoch] for epoch in (0, 1)})
    assert resumed.seen == pytest.approx({epoch: expected[epoch] for epoch in (2, 3)})


@pytest.mark.parametrize("skip", [0, 1, 3])
def test_a_pass_that_skips_batches_gives_the_others_as_they_were(skip: int) -> None:
    def noise(inputs: Tensor, generator: torch.Generator | None) -> Tensor:
        return inputs + torch.rand(inputs.shape, generator=generator)

    def begun() -> Batches:
        batches = Batches(*numbered(20), batch_size=6, generator_seed=3, transform=noise)
        batches.set_epoch(2)
        return batches

    whole, rest = list(begun()), begun()
    rest.skip = skip
    for (inputs, targets), (expected, wanted) in zip(rest, whole[skip:], strict=True):
        assert torch.equal(inputs, expected)
        assert torch.equal(targets, wanted)
    assert len(list(rest)) == len(whole)
