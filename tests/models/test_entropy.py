"""The entropy of weights: by an independent count, as bytes that decode, and as a callback on anybody's module."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from kirigami.models.bits import Uniform
from kirigami.models.entropy import WeightEntropy, compress_weights, expand_weights, weight_entropy, weights


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 32), nn.Linear(32, 3))


def counted(codes: np.ndarray) -> float:
    share = np.unique(codes, return_counts=True)[1] / codes.size
    return float(-(share * np.log2(share)).sum())


def test_entropy_is_that_of_each_tensors_own_histogram() -> None:
    parts = [one.weight.detach().numpy().ravel() for one in network() if isinstance(one, nn.Conv2d | nn.Linear)]
    total = sum(part.size for part in parts)
    relative = [counted(np.rint((part - part.min()) / (np.ptp(part) / 255))) * part.size for part in parts]
    fixed = [counted(np.rint(part / 0.01)) * part.size for part in parts]
    found = weight_entropy(network(), width=0.01)
    assert found.weights == total
    assert found.relative == pytest.approx(sum(relative) / total, abs=0.01)  # ties may round apart in float32
    assert found.fixed == pytest.approx(sum(fixed) / total, abs=0.01)
    assert found.ratio == 32 / found.relative


@pytest.mark.parametrize(("values", "bits"), [(range(256), 8.0), ([0, 255] * 128, 1.0), ([3] * 256, 0.0)])
def test_entropy_of_known_weights(values: list[int], bits: float) -> None:
    layer = nn.Linear(16, 16)
    layer.weight.data = torch.tensor(list(values)).float().view(16, 16)
    found = weight_entropy(layer, width=1.0)
    assert found.relative == pytest.approx(bits)
    assert found.fixed == pytest.approx(bits)
    assert found.ratio == (32 / bits if bits else math.inf)


def test_a_grid_much_finer_than_the_weights_is_counted_too() -> None:
    layer = nn.Linear(8, 8)
    assert weight_entropy(layer, width=1e-12).fixed == pytest.approx(6)  # 64 different values


def test_weights_are_those_the_forward_pass_sees_once_each() -> None:
    model = network()
    model.append(model[4])  # the same layer twice
    technique = Uniform(2, names=["3"])
    technique.attach(model)
    technique.harden()
    assert [name for name, _ in weights(model)] == ["0.weight", "3.weight", "4.weight"]
    assert dict(weights(model))["3.weight"].unique().numel() <= 4
    assert model.training  # as it was


def test_bytes_decode_to_half_a_step_and_are_about_the_entropy() -> None:
    model = network()
    nn.init.normal_(model[3].weight)
    data = compress_weights(model)
    found = expand_weights(data, network())
    for name, weight in weights(model):
        step = (weight.max() - weight.min()) / 255
        assert found[name].shape == weight.shape
        assert (found[name] - weight).abs().max() <= 0.501 * step
    few = compress_weights(nn.Linear(100, 100), bits=3)
    assert 8 * len(few) == pytest.approx(1e4 * weight_entropy(nn.Linear(100, 100), bits=3).relative, rel=0.05)


def test_bytes_of_another_network_or_cut_short_are_refused() -> None:
    data = compress_weights(network())
    with pytest.raises(ValueError, match=r"^the bytes hold 3 tensors of 8 bits, and the network has 1 weights\.$"):
        expand_weights(data, nn.Linear(2, 2))
    with pytest.raises(ValueError, match="cut short"):
        expand_weights(data[:100], network())


def test_what_is_wrong_is_said() -> None:
    with pytest.raises(ValueError, match=r"^bits must be a whole number from 1 to 8, but got 9\.$"):
        weight_entropy(network(), bits=9)
    with pytest.raises(ValueError, match=r"^width must be a number above 0, but got 0\.$"):
        weight_entropy(network(), width=0)
    with pytest.raises(ValueError, match=r"^BatchNorm2d has no parameter of two sides or more, so no weights to count"):
        weight_entropy(nn.BatchNorm2d(3))
    with pytest.raises(ValueError, match=r"^every must be at least 0, but got -1\.$"):
        WeightEntropy(every=-1)
    broken = nn.Linear(3, 3)
    broken.weight.data[0, 0] = math.nan
    assert math.isnan(weight_entropy(broken).relative)
    assert WeightEntropy().figures(broken) == {}
    with pytest.raises(ValueError, match=r"^weight must be finite to be compressed, but has values that are not\.$"):
        compress_weights(broken)


class Foreign(LightningModule):
    """A module that knows nothing of this project."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 8)

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        return self.layer(batch[0]).square().mean()

    def validation_step(self, batch: list[Tensor], index: int) -> None:
        self.log("val", self.layer(batch[0]).square().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


class Read(Callback):
    """Keep the metrics as a search would read them."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self.rows.append({name: float(value) for name, value in trainer.callback_metrics.items()})


@pytest.fixture(params=[False, True], ids=["no logger", "logger"])
def trained(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Foreign, list[dict[str, float]]]:
    torch.manual_seed(0)
    rows, module, read = DataLoader(TensorDataset(torch.randn(8, 4)), 4), Foreign(), Read()
    Trainer(
        max_epochs=5,
        accelerator="cpu",
        callbacks=[read, WeightEntropy(every=2)],
        logger=CSVLogger(str(tmp_path)) if request.param else False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(module, rows, rows)
    return module, read.rows


def test_metrics_are_there_when_a_search_reads_them(trained: tuple[Foreign, list[dict[str, float]]]) -> None:
    module, rows = trained
    assert ["weight_bytes" in row for row in rows] == [False, True, True, True, True]
    assert rows[-1]["weight_entropy"] == pytest.approx(weight_entropy(module).relative)
    assert rows[-1]["weight_entropy_fixed"] == pytest.approx(weight_entropy(module).fixed)
    assert rows[-1]["weight_bytes"] == len(compress_weights(module))
    assert rows[1]["weight_bytes"] == rows[2]["weight_bytes"]
    assert "val" in rows[0]


def test_a_resumed_run_goes_on_counting() -> None:
    first, second = WeightEntropy(every=2), WeightEntropy(every=2)
    first.figures(nn.Linear(3, 3))
    second.load_state_dict(first.state_dict())
    assert "weight_bytes" in second.figures(nn.Linear(3, 3))
