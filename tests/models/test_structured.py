"""Structured pruning in a plain trainer: the target, the ranks, what follows, what is saved, and other techniques."""

import copy
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader

from kirigami.models import bits, compact, sparsity
from kirigami.models.cost import macs, parameters
from kirigami.models.sparsity.structured import CRITERIA, StructuredPruning
from kirigami.models.structure import shapes, units
from kirigami.models.structure.price import lowest, price

ROWS = 96


class Block(nn.Module):
    """A residual network: convolutions with norms, a depthwise one, and a GRU over the columns."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.expand, self.norm1 = nn.Conv2d(6, 12, 1), nn.BatchNorm2d(12)
        self.depthwise, self.project = nn.Conv2d(12, 12, 3, padding=1, groups=12), nn.Conv2d(12, 6, 1)
        self.hidden, self.gru = nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.GRU(8, 6, batch_first=True)
        self.wide, self.output = nn.Linear(6, 16), nn.Linear(16, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        stream = F.relu(self.norm(self.stem(inputs)))
        stream = stream + self.project(self.depthwise(F.relu(self.norm1(self.expand(stream)))))
        states, _ = self.gru(F.relu(self.hidden(stream)).mean(3).transpose(1, 2))
        return self.output(F.relu(self.wide(states[:, -1])))


class Foreign(LightningModule):
    """Somebody's own module, with groups, momentum and a schedule."""

    def __init__(self, seed: int = 0, network: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.model = Block() if network is None else network
        self.rates: list[float] = []

    def training_step(self, batch: Mapping[str, Tensor], _index: int) -> Tensor:
        loss = F.cross_entropy(self.model(batch["image"]), batch["label"])
        self.log("train", loss)
        return loss

    def configure_optimizers(self) -> Any:
        flat = [parameter for parameter in self.parameters() if parameter.dim() == 1]
        deep = [parameter for parameter in self.parameters() if parameter.dim() > 1]
        groups = [{"params": deep, "weight_decay": 1e-3}, {"params": flat}]
        optimizer = torch.optim.SGD(groups, lr=0.05, momentum=0.9)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.95**step)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def batches() -> DataLoader:
    images = torch.randn(ROWS, 1, 8, 8, generator=torch.Generator().manual_seed(5))
    labels = (images[:, 0, :4].mean((1, 2)) > images[:, 0, 4:].mean((1, 2))).long()
    rows = [{"image": image, "label": label} for image, label in zip(images, labels, strict=True)]
    return DataLoader(rows, batch_size=16)  # type: ignore[arg-type]


def inputs() -> Tensor:
    return next(iter(batches()))["image"]


def trainer(*callbacks: Callback, epochs: int = 5, **options: Any) -> Trainer:
    options = {"enable_checkpointing": False, **options}
    return Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        **options,
    )


def fit(module: LightningModule, *callbacks: Callback, epochs: int = 5, **options: Any) -> Trainer:
    done = trainer(*callbacks, epochs=epochs, **options)
    done.fit(module, batches())
    return done


@pytest.fixture(scope="module")
def trained() -> tuple[Foreign, StructuredPruning, Trainer]:
    module, technique = Foreign(), StructuredPruning(keep=0.5)
    return module, technique, fit(module, technique)


class TestTarget:
    @pytest.mark.parametrize(
        ("of", "criterion"), [*itertools.product(("units", "macs"), ("norm",)), ("params", "apoz")]
    )
    def test_is_met_and_real(self, of: str, criterion: str) -> None:
        module, dense = Foreign(), Foreign()
        technique = StructuredPruning(keep=0.5, of=of, criterion=criterion)
        fit(module, technique)
        report = technique.report()
        # One unit is at most this share of the whole, so the target is met from below within it.
        assert 0.38 < report[f"{of}_kept"] <= 0.5
        assert report["params"] == parameters(module.model)
        assert report["macs"] == macs(module.model, inputs())
        assert report["params_kept"] == parameters(module.model) / parameters(dense.model)
        assert report["macs_kept"] == pytest.approx(macs(module.model, inputs()) / macs(dense.model, inputs()))
        assert technique.hard

    def test_leaves_what_it_does_not_understand(self, trained: Any) -> None:
        module, dense = trained[0].model, Block()
        assert module.gru.input_size == dense.gru.input_size == module.hidden.out_channels
        assert module.stem.in_channels == 1
        assert module.output.out_features == 2
        assert module.depthwise.groups == module.expand.out_channels == module.project.in_channels < 12

    @pytest.mark.parametrize("criterion", CRITERIA)
    def test_every_criterion_runs_and_repeats(self, criterion: str) -> None:
        outcomes = []
        for _ in range(2):
            module = Foreign()
            fit(module, StructuredPruning(keep=0.6, criterion=criterion, updates=2, batches=1), epochs=2)
            outcomes.append(module.model.eval()(inputs()))
        assert torch.equal(*outcomes)

    def test_no_layer_goes_below_its_least(self) -> None:
        module = Foreign()
        technique = StructuredPruning(keep=0.62, of="units", least=5)
        fit(module, technique)
        assert min(one.count for one in technique.units) >= 5

    def test_says_when_it_cannot_be_met(self) -> None:
        with pytest.raises(ValueError, match=r"keep=0.01 of params cannot be met: .* remains\.") as caught:
            fit(Foreign(), StructuredPruning(keep=0.01))
        assert "\n" not in str(caught.value)

    def test_falls_along_the_path(self) -> None:
        found = []

        class Watch(Callback):
            def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
                found.append((technique.hard, parameters(pl_module.model)))

        technique = StructuredPruning(keep=0.5, updates=5, start=0.25)
        fit(Foreign(), technique, Watch(), epochs=10)
        sizes = [size for _, size in found]
        dense = parameters(Block())
        assert sizes == sorted(sizes, reverse=True)
        assert 3 < len(set(sizes)) <= 1 + 5  # near the end of the path a step can be less than a unit
        assert sizes[: int(0.25 * 0.6 * 60)] == [dense] * 9
        fixed = [size for hard, size in found if hard]
        assert 0.35 * 60 < len(fixed) < 0.45 * 60
        assert set(fixed) == {sizes[-1]}
        assert technique.path(0.25) == 1
        assert technique.path(1) == 0.5


class TestRanks:
    def test_lowest_go_until_the_limit(self) -> None:
        network = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
        found = units(network, torch.randn(2, 4))
        scores = [torch.tensor([0.1, 0.9, 0.2, 0.8, 0.7, 0.6]), torch.tensor([0.15, 0.95, 0.3, 0.85, 0.75])]
        count = price(network, found, torch.randn(2, 4), "units")
        kept = lowest(count, scores, 8, least=1)
        assert kept[0].tolist() == [False, True, False, True, True, True]
        assert kept[1].tolist() == [False, True, True, True, True]
        few = lowest(count, scores, 0, least=2)
        assert few[0].tolist() == [False, True, False, True, False, False]
        assert few[1].tolist() == [False, True, False, True, False]
        size = price(network, found, torch.randn(2, 4), "params")
        assert size.total(lowest(size, scores, 40, least=1)) <= 40

    def test_units_that_do_nothing_go_first(self) -> None:
        for criterion in ("norm", "taylor1", "apoz"):
            module = Foreign()
            with torch.no_grad():
                module.model.wide.bias.fill_(2.0)  # so that none of the others is dead
                for row in (1, 4, 7):
                    module.model.wide.weight[row].zero_()
                    module.model.wide.bias[row] = 0
            technique = StructuredPruning(of="units", criterion=criterion, names=["wide"])
            technique.attach(module.model)
            technique.trace(inputs())
            technique._seen.append(next(iter(batches())))
            technique._module = module
            rest = module.model.wide.weight.detach()[[row for row in range(16) if row not in (1, 4, 7)]]
            technique.prune(13 / 16)
            assert torch.equal(module.model.wide.weight, rest)


class TestTraining:
    def test_momentum_of_what_stays_is_untouched(self) -> None:
        seen = []

        class Watch(Callback):
            """Stands around the technique: compares momentum before and after a removal."""

            def on_train_batch_start(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
                optimizer, weight = trainer.optimizers[0], pl_module.model.wide.weight
                if weight in optimizer.state:
                    seen.append((weight.detach().clone(), optimizer.state[weight]["momentum_buffer"].clone()))

        module, first, second = Foreign(), Watch(), Watch()
        fit(module, first, StructuredPruning(keep=0.5, updates=3), second)
        changed = [(old, new) for old, new in zip(seen[::2], seen[1::2], strict=True) if len(old[0]) != len(new[0])]
        assert changed
        for (weight, momentum), (left, kept) in changed:
            rows = [int((weight == row).all(1).nonzero()[0, 0]) for row in left]
            assert rows == sorted(rows)
            assert torch.equal(kept, momentum[rows])

    def test_groups_and_rates_stay(self, trained: Any) -> None:
        module, _, done = trained
        (optimizer,) = done.optimizers
        assert [group["weight_decay"] for group in optimizer.param_groups] == [1e-3, 0]
        assert {id(p) for group in optimizer.param_groups for p in group["params"]} == {
            id(p) for p in module.parameters()
        }
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05 * 0.95**30)
        assert all(optimizer.state[p]["momentum_buffer"].shape == p.shape for p in module.parameters())

    def test_holds_nothing_of_the_run(self, trained: Any) -> None:
        copied = copy.deepcopy(trained[1])
        assert copied._module is None
        assert not copied._optimizers

    def test_works_where_the_module_is_the_network(self) -> None:
        class Itself(LightningModule):
            def __init__(self) -> None:
                super().__init__()
                torch.manual_seed(0)
                self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 2))

            def forward(self, image: Tensor) -> Tensor:
                return self.layers(image)

            def training_step(self, batch: Mapping[str, Tensor], _index: int) -> Tensor:
                return F.cross_entropy(self.layers(batch["image"]), batch["label"])  # forward is never called

            def configure_optimizers(self) -> Any:
                return torch.optim.AdamW(self.parameters(), lr=0.01)

        module = Itself()
        fit(module, StructuredPruning(keep=0.5, of="units"))
        assert module.layers[1].out_features == 6

    def test_keep_one_changes_nothing(self) -> None:
        plain, kept = Foreign(), Foreign()
        fit(plain, epochs=2)
        fit(kept, StructuredPruning(keep=1.0), epochs=2)
        for one, other in zip(plain.parameters(), kept.parameters(), strict=True):
            assert torch.equal(one, other)


class TestSaved:
    def test_a_recipe_of_another_network_is_refused(self, trained: Any) -> None:
        with pytest.raises(ValueError, match=r"Block has no 'model.stem.weight': the shapes are of another network"):
            StructuredPruning().restore(Block(), trained[1].recipe())

    def test_encoded_it_is_smaller_and_comes_back(self, trained: Any) -> None:
        network = trained[0].model.eval()
        dense = Foreign()
        fit(dense)
        data = compact.encode(network)
        assert len(data) < 0.75 * len(compact.encode(dense.model))
        fresh = Block()
        StructuredPruning().restore(fresh, {"shapes": shapes(network)})
        assert torch.equal(compact.decode(data, fresh).eval()(inputs()), network(inputs()))

    def test_a_run_goes_on_from_its_checkpoint(self, tmp_path: Path) -> None:
        """Interrupted in the middle of the path, with a network of another shape than the fresh one."""
        whole = Foreign()
        technique = StructuredPruning(keep=0.5, updates=3, start=0.1)
        saver = ModelCheckpoint(tmp_path, every_n_epochs=1, save_top_k=-1, filename="{epoch}")
        fit(whole, technique, saver, epochs=6, enable_checkpointing=True)
        resumed, again = Foreign(seed=1), StructuredPruning(keep=0.5, updates=3, start=0.1)
        path = tmp_path / "epoch=1.ckpt"
        middle = sum(value.numel() for value in torch.load(path, weights_only=True)["state_dict"].values())
        assert sum(value.numel() for value in whole.state_dict().values()) < middle
        assert middle < sum(value.numel() for value in Foreign().state_dict().values())
        trainer(again, epochs=6).fit(resumed, batches(), ckpt_path=path, weights_only=True)
        assert again.hard
        assert shapes(resumed.model) == shapes(whole.model)
        for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
            torch.testing.assert_close(one, other)


class TestTogether:
    def test_masks_and_bits_follow_in_one_run(self) -> None:
        module = Foreign()
        techniques = [StructuredPruning(keep=0.5), sparsity.GradualPruning(density=0.4), bits.Uniform(bits=4)]
        fit(module, *techniques)
        shape, mask, quantise = (technique.report() for technique in techniques)
        network = module.model.eval()
        assert 0.35 < shape["params_kept"] <= 0.5
        assert mask["density"] == pytest.approx(0.4, abs=0.01)
        assert quantise["bits"] == 4
        fresh = Foreign(seed=1)
        recipes = [technique.recipe() for technique in techniques]
        restored = [StructuredPruning(keep=0.5), sparsity.GradualPruning(density=0.4), bits.Uniform(bits=4)]
        for technique, recipe in zip(restored, recipes, strict=True):
            technique.restore(fresh, recipe)
        assert fresh.model.depthwise.groups == network.depthwise.groups < 12
        fresh.load_state_dict(module.state_dict())
        assert torch.equal(fresh.model.eval()(inputs()), network(inputs()))
        plain = Foreign(seed=1)
        StructuredPruning().restore(plain, recipes[0])
        decoded = compact.decode(compact.encode(module), plain).model.eval()
        assert torch.equal(decoded(inputs()), network(inputs()))

    def test_learnt_masks_follow_too(self) -> None:
        module = Foreign()
        mask = sparsity.ContinuousSparsification(density=0.3)
        fit(module, StructuredPruning(keep=0.6, harden_at=0.4), mask)
        assert mask.report()["density"] == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": 0}, "keep must be above 0 and at most 1, but got 0."),
        ({"keep": True}, "keep must be above 0 and at most 1, but got True."),
        ({"of": "weights"}, r"of must be one of \(units, params, macs\), but got 'weights'."),
        ({"criterion": "tailor1"}, "criterion must be one of .* Did you mean 'taylor1'?"),
        ({"start": 1}, "start must be at least 0 and below 1"),
        ({"updates": 0}, "updates must be at least 1"),
        ({"least": 0}, "least must be at least 1"),
        ({"harden_at": 0}, "harden_at must be above 0"),
    ],
)
def test_refuses_in_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        StructuredPruning(**options)
    assert "\n" not in str(caught.value)
