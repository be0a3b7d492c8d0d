"""Pruning by saliency in a run: when masks are chosen, on what, and what the surgeon's update is worth."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.data import DataLoader, TensorDataset

from kirigami.models import sparsity
from kirigami.models.saliency import WEIGHT_CRITERIA, weight_scores
from kirigami.models.sparsity import SaliencyPruning
from kirigami.models.sparsity.saliency import EARLY
from kirigami.models.technique import Link

STEPS = 20


class Foreign(LightningModule):
    """Somebody's own module, with a norm, dropout, logging and batches by name."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm, self.last = nn.Linear(10, 20), nn.BatchNorm1d(20), nn.Linear(20, 2)
        self.dropout = nn.Dropout(0.1)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(self.dropout(F.relu(self.norm(self.first(inputs)))))

    def training_step(self, batch: dict[str, Tensor], _index: int) -> dict[str, Tensor]:
        loss = F.cross_entropy(self(batch["x"]), batch["y"])
        self.log("train_loss", loss)
        return {"loss": loss}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


class Watch(Callback):
    """Write down what is kept after every step."""

    def __init__(self, technique: SaliencyPruning) -> None:
        self.technique = technique
        self.kept: list[Tensor] = []
        self.inputs: list[Tensor] = []

    def on_train_batch_end(self, *arguments: Any) -> None:
        self.kept.append(self.technique.masks[0].kept.clone())
        self.inputs.append(arguments[3]["x"])


def rows() -> tuple[Tensor, Tensor]:
    inputs = torch.randn(64, 10, generator=torch.Generator().manual_seed(1))
    return inputs, (inputs[:, 0] > inputs[:, 1]).long()


def collate(found: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    return {"x": torch.stack([one for one, _ in found]), "y": torch.stack([other for _, other in found])}


def fit(module: Foreign, *callbacks: Callback) -> None:
    torch.manual_seed(3)
    trainer = Trainer(
        max_steps=STEPS,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
    )
    trainer.fit(module, DataLoader(TensorDataset(*rows()), batch_size=16, shuffle=True, collate_fn=collate))


def run(**arguments: Any) -> tuple[Foreign, SaliencyPruning, Watch]:
    module = Foreign()
    technique = SaliencyPruning(**{"density": 0.2, "batches": 2, "rows": 16, "probes": 2, **arguments})
    watch = Watch(technique)
    fit(module, technique, watch)
    return module, technique, watch


@pytest.mark.parametrize("criterion", WEIGHT_CRITERIA)
class TestEveryCriterion:
    def test_prunes_once_at_its_time(self, criterion: str) -> None:
        module, technique, watch = run(criterion=criterion)
        counts = [int(kept.sum()) for kept in watch.kept]
        first = 0 if criterion in EARLY else next(i for i in range(STEPS) if i / (STEPS - 1) >= 0.6)
        assert counts == [200] * first + [40] * (STEPS - first)
        assert technique.hard
        assert int((module.first.weight != 0).sum()) == 40
        assert technique.report()["density"] == 0.2

    def test_goes_down_step_by_step(self, criterion: str) -> None:
        _, technique, watch = run(criterion=criterion, schedule="gradual", updates=4, start=0.0)
        counts = [int(kept.sum()) for kept in watch.kept]
        assert counts == sorted(counts, reverse=True)
        assert len(set(counts)) == 5
        assert counts[-1] == 40
        for before, after in zip(watch.kept, watch.kept[1:], strict=False):
            assert not torch.any(after & ~before)
        assert technique.path(0.5) == pytest.approx(1 - 0.8 * (1 - 0.5**3))


class TestInARun:
    def test_chooses_what_the_scores_say(self) -> None:
        _, _, watch = run(criterion="magnitude", at=0.0)
        largest = Foreign().first.weight.detach().abs().flatten().topk(40).indices
        assert set(watch.kept[0].flatten().nonzero().flatten().tolist()) == set(largest.tolist())

    def test_early_criteria_see_the_network_as_in_training(self) -> None:
        module, batch = Foreign(), rows()
        module.dropout.p = 0.0
        module.norm.running_var.fill_(1e-4)  # would rule everything, were it used
        technique = SaliencyPruning("snip", 0.2)
        technique.attach(module)
        loss = lambda one: F.cross_entropy(module(one[0]), one[1])  # noqa: E731
        technique.prune(0.2, [batch], loss)
        kept = technique.masks[0].kept.clone()
        trained = weight_scores(module, "snip", [batch], loss, ["first"], training=True)["first"]
        assert float(trained[kept].sum()) > 0
        fresh = Foreign()
        fresh.dropout.p = 0.0
        gradient = torch.autograd.grad(F.cross_entropy(fresh(batch[0]), batch[1]), fresh.first.weight)[0]
        expected = (gradient * fresh.first.weight).abs().flatten().topk(40).indices
        assert set(kept.flatten().nonzero().flatten().tolist()) == set(expected.tolist())

    def test_the_run_sees_the_same_rows_without_it(self) -> None:
        module, watch = Foreign(), Watch(sparsity.MagnitudePruning(0.2))
        fit(module, watch.technique, watch)
        other = run(criterion="fisher", at=0.5)[2]
        assert all(torch.equal(one, two) for one, two in zip(watch.inputs, other.inputs, strict=True))

    def test_its_key_in_a_checkpoint_is_that_of_stored_studies(self) -> None:
        assert SaliencyPruning(names=["first"]).state_key == "InfluencePruning(first)"

    def test_a_loaded_mask_is_not_chosen_again(self) -> None:
        module, technique, _ = run(criterion="random")
        fresh, second = Foreign(), SaliencyPruning("snip", 0.2)
        second.attach(fresh)
        fresh.load_state_dict(module.state_dict())
        fit(fresh, second)
        assert torch.equal(second.masks[0].kept, technique.masks[0].kept)


class Scale(Link):
    """A link of any stage, which doubles the weight."""

    def __init__(self, stage: str) -> None:
        super().__init__()
        self.stage = stage

    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight

    def parts(self, weight: Tensor) -> dict[str, Tensor]:
        return {"weight": self(weight)}


class TestUpdate:
    def regression(self) -> tuple[nn.Sequential, tuple[Tensor, Tensor], Any]:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(12, 3, bias=False), nn.Linear(3, 3, bias=False))
        nn.init.eye_(network[1].weight)
        inputs = torch.randn(60, 6) @ torch.randn(6, 12)
        outputs = network(inputs).detach() + torch.randn(60, 3)
        with torch.no_grad():
            network[0].weight.copy_(torch.linalg.lstsq(inputs, outputs).solution.T)
        loss = lambda batch: F.mse_loss(network(batch[0]), batch[1])  # noqa: E731
        return network, (inputs, outputs), loss

    def test_makes_up_for_what_is_removed(self) -> None:
        network, batch, loss = self.regression()
        technique = SaliencyPruning("obs", 0.5, rows=60)
        technique.attach(network)
        dense, least = network[0].weight.detach().clone(), float(loss(batch).detach())
        technique.prune(0.5, [batch], loss)
        kept = technique.masks[0].kept
        with_update = float(loss(batch).detach())
        with torch.no_grad():
            network[0].parametrizations.weight.original.copy_(dense)
        assert torch.equal(kept, network[0].weight != 0)
        assert with_update - least < 0.5 * (float(loss(batch).detach()) - least)

    @pytest.mark.parametrize(("stage", "updated"), [("quantise", True), ("share", False)])
    def test_updates_the_weight_that_the_mask_sees(self, stage: str, updated: bool) -> None:
        network, batch, loss = self.regression()
        technique = SaliencyPruning("obs", 0.5, rows=60)
        if stage == "share":
            parametrize.register_parametrization(network[0], "weight", Scale(stage))
        technique.attach(network)
        if stage == "quantise":
            parametrize.register_parametrization(network[0], "weight", Scale(stage))
        before = network[0].parametrizations.weight.original.detach().clone()
        technique.prune(0.5, [batch], loss)
        after = network[0].parametrizations.weight.original.detach()
        assert torch.equal(before, after) != updated
        assert torch.equal(before[~technique.masks[0].kept], after[~technique.masks[0].kept])
        assert int(technique.masks[0].kept.sum()) == 18


class TestBuild:
    def test_reads_its_config(self) -> None:
        technique = sparsity.build({"method": "influence", "criterion": "grasp", "at": None, "beta_final": 3.0})
        assert isinstance(technique, SaliencyPruning)
        assert technique.at == 0

    @pytest.mark.parametrize(
        ("config", "message"),
        [
            ({"criterion": "size"}, r"criterion must be one of \(magnitude, .*, but got 'size'"),
            ({"schedule": "one-shot"}, "schedule must be one of .* Did you mean 'one_shot'?"),
            ({"at": 1.5}, "at must be at least 0 and at most 1, but got 1.5"),
            ({"start": 1.0}, "start must be at least 0 and below 1, but got 1.0"),
            ({"updates": 0}, "updates must be at least 1, but got 0"),
            ({"batches": 0}, "batches must be at least 1, but got 0"),
            ({"density": 0.0}, "density must be above 0 and at most 1, but got 0.0"),
        ],
    )
    def test_refuses_in_one_line(self, config: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message) as caught:
            sparsity.build({"method": "influence", **config})
        assert "\n" not in str(caught.value)
