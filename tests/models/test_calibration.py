"""Calibration against independent computations; folds against the outputs they promise."""

import copy
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn import metrics
from torch import Tensor, nn

from kirigami.errors import ArgumentError
from kirigami.models import calibration
from kirigami.models.bits import Uniform
from kirigami.models.calibration import check, choose_threshold, finish, fit_temperature, scores
from kirigami.models.networks import build_network

GOALS = {
    "f1": lambda targets, called: metrics.f1_score(targets, called, zero_division=0),
    "balanced_accuracy": metrics.balanced_accuracy_score,
    "accuracy": metrics.accuracy_score,
}


def drawn(rows: int, classes: int, seed: int = 0, scale: float = 3.0) -> tuple[Tensor, Tensor]:
    """Return logits and targets drawn by softmax(logits / scale): the right temperature is `scale`."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, classes, generator=generator) * 4
    return logits, torch.multinomial((logits / scale).softmax(-1), 1, generator=generator).squeeze(1)


def network_and_rows(classes: int = 2, seed: int = 0) -> tuple[nn.Module, list[tuple[Tensor, Tensor]]]:
    torch.manual_seed(seed)
    network = build_network({"name": "mlp", "width": 8, "depth": 1}, in_shape=(5,), out_features=classes)
    inputs = torch.randn(120, 5)
    targets = (inputs[:, 0] + torch.randn(120) > 0.7).long() if classes == 2 else torch.randint(classes, (120,))
    return network, list(zip(inputs.split(50), targets.split(50), strict=True))


def test_scores_are_those_of_loops() -> None:
    outputs, targets = drawn(300, 4)
    chances = outputs.double().softmax(-1).numpy()
    sure, right = chances.max(1), chances.argmax(1) == targets.numpy()
    gap = 0.0
    for low in range(15):
        inside = (sure > low / 15) & (sure <= (low + 1) / 15)
        if inside.any():
            gap += inside.mean() * abs(right[inside].mean() - sure[inside].mean())
    found = scores(outputs, targets)
    assert found["ece"] == pytest.approx(gap)
    assert found["nll"] == pytest.approx(metrics.log_loss(targets, chances))
    assert found["brier"] == pytest.approx(((chances - np.eye(4)[targets]) ** 2).sum(1).mean())


def test_a_network_that_is_always_sure_is_off_by_its_errors() -> None:
    outputs = nn.functional.one_hot(torch.tensor([0, 1, 0, 1]), 2) * 100.0
    assert scores(outputs, torch.tensor([0, 1, 1, 1]))["ece"] == pytest.approx(0.25)


def test_tasks_have_the_same_error_as_a_metric() -> None:
    from kirigami.tasks.metrics import METRICS

    for classes in (2, 10):
        outputs, targets = drawn(500, classes)
        assert METRICS["ece"].function(outputs, targets) == pytest.approx(scores(outputs, targets)["ece"], abs=1e-6)
        assert METRICS["ece"].direction == "minimize"


@pytest.mark.parametrize("classes", [2, 10])
def test_temperature_has_the_least_nll(classes: int) -> None:
    outputs, targets = drawn(4000, classes)
    found = fit_temperature(outputs, targets)
    assert found == pytest.approx(3.0, rel=0.15)
    best = scores(outputs / found, targets)["nll"]
    assert all(best <= scores(outputs / (found * factor), targets)["nll"] for factor in (0.5, 0.97, 1.03, 2.0))
    assert fit_temperature(outputs * 7, targets) == pytest.approx(7 * found)


def test_temperature_stays_in_its_range() -> None:
    outputs = torch.eye(3) / 10
    assert fit_temperature(outputs, torch.arange(3)) == pytest.approx(calibration.COLDEST)
    assert fit_temperature(outputs, torch.tensor([1, 2, 0])) == pytest.approx(calibration.HOTTEST)


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("seed", range(3))
def test_no_cut_is_better(goal: str, seed: int) -> None:
    outputs, targets = drawn(40, 2, seed, scale=12)
    odds = (outputs[:, 1] - outputs[:, 0]).double()
    places = odds.sort().values.tolist()
    cuts = [0.0, places[0] - 1, places[-1] + 1, *((low + high) / 2 for low, high in pairwise(places))]
    reached = {cut: GOALS[goal](targets, odds > cut) for cut in cuts}
    best = [cut for cut, value in reached.items() if value >= max(reached.values()) - 1e-9]
    assert choose_threshold(outputs, targets, goal) == pytest.approx(min(best, key=abs), abs=1e-6)


def test_ties_stay_at_a_half() -> None:
    outputs = torch.tensor([[3.0, 0.0], [1.0, 0.0], [0.0, 2.0], [0.0, 4.0]])
    assert choose_threshold(outputs, torch.tensor([0, 0, 1, 1]), "f1") == 0.0
    assert choose_threshold(torch.zeros(4, 2), torch.tensor([0, 0, 0, 1]), "accuracy") == 0.0


def test_recall_under_a_limit_of_false_alarms() -> None:
    outputs, targets = drawn(200, 2, scale=12)
    odds = outputs[:, 1] - outputs[:, 0]
    for limit in (0.05, 0.3):
        called = odds > choose_threshold(outputs, targets, {"false_alarm": limit})
        share = float(called[targets == 0].float().mean())
        assert share <= limit
        better = odds > odds[~called & (targets == 1)].max() - 1e-6  # one more hit costs too many alarms
        assert float(better[targets == 0].float().mean()) > limit


def test_a_number_is_a_probability() -> None:
    assert choose_threshold(torch.zeros(1, 2), torch.zeros(1), 0.3) == pytest.approx(math.log(0.3 / 0.7))
    assert choose_threshold(torch.zeros(1, 2), torch.zeros(1), 0.5) == 0


@pytest.mark.parametrize("calibrated", ["none", "temperature"])
@pytest.mark.parametrize("goal", ["none", "f1", 0.3])
def test_both_are_in_the_weights(calibrated: str, goal: object) -> None:
    network, batches = network_and_rows()
    inputs, rows = torch.cat([one for one, _ in batches]), torch.cat([two for _, two in batches])
    shape, plain = {name: value.shape for name, value in network.state_dict().items()}, network(inputs).detach()
    figures, outputs, targets = finish(network, batches, "classes", calibration=calibrated, threshold=goal)

    assert torch.equal(targets, rows)
    torch.testing.assert_close(outputs, network(inputs))
    assert {name: value.shape for name, value in network.state_dict().items()} == shape
    warmth = figures.get("temperature", 1.0)
    chance = (plain / warmth).softmax(-1)[:, 1]
    assert torch.equal(outputs.argmax(1) == 1, chance > figures.get("threshold", 0.5))
    assert (set(figures) == set()) == ((calibrated, goal) == ("none", "none"))
    if goal == "none" and calibrated != "none":
        assert figures["nll_after"] < figures["nll_before"] == pytest.approx(scores(plain, rows)["nll"])
    if goal == 0.3:
        assert figures["threshold"] == pytest.approx(0.3)


def test_the_same_rows_give_the_same() -> None:
    runs = [finish(*network_and_rows(), "classes", calibration="temperature", threshold="f1")[0] for _ in range(2)]
    assert runs[0] == runs[1]


@pytest.mark.parametrize("name", ["gru", "transformer"])
def test_characters_have_a_temperature(name: str) -> None:
    torch.manual_seed(0)
    network = build_network({"name": name, "width": 8}, in_shape=(6,), out_features=5, vocabulary=5)
    text = torch.randint(5, (20, 6))
    before = network.eval()(text)
    figures, outputs, _ = finish(network, [(text, text)], "characters", calibration="temperature")
    torch.testing.assert_close(outputs, before / figures["temperature"], atol=1e-5, rtol=1e-4)


class Ends(nn.Module):
    """Ends in something that is not its last linear layer."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.linear = nn.Linear(5, 2, bias=how != "bare")
        self.square = nn.Linear(2, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.linear(inputs)
        if self.how == "bare":
            return hidden
        return hidden.softmax(-1) if self.how == "softmax" else self.square(self.square(hidden))


@pytest.mark.parametrize(
    ("how", "settings", "expected"),
    [
        ("softmax", {"calibration": "temperature"}, "Ends does not end in its last linear layer"),
        ("twice", {"calibration": "temperature"}, "Ends does not end in its last linear layer"),
        ("twice", {"threshold": 0.9}, "Ends does not end in its last linear layer"),
        ("bare", {"threshold": 0.9}, "threshold needs a last layer with a bias of its own"),
    ],
)
def test_somebodys_network_is_left_as_it_was(how: str, settings: dict[str, object], expected: str) -> None:
    _, batches = network_and_rows()
    torch.manual_seed(1)
    network = Ends(how)
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(ValueError, match=f"^{expected}") as caught:
        finish(network, batches, "classes", **settings)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_codes_take_a_threshold_but_no_temperature() -> None:
    network, batches = network_and_rows()
    technique = Uniform(bits=3, names=["output"])
    technique.attach(network)
    technique.harden()
    with pytest.raises(ValueError, match=r"^a temperature cannot be folded into a last layer with masks, codes"):
        finish(network, batches, "classes", calibration="temperature")
    assert finish(network, batches, "classes", threshold=0.3)[0]["threshold"] == pytest.approx(0.3)


def test_a_diverged_network_is_left_alone() -> None:
    network, batches = network_and_rows()
    nn.init.constant_(network.output.bias, math.nan)  # type: ignore[union-attr, arg-type]
    assert finish(network, batches, "classes", calibration="temperature", threshold="f1")[0] == {}


@pytest.mark.parametrize(
    ("kind", "classes", "settings", "expected"),
    [
        ("classes", 2, {"calibration": "temprature"}, "calibration must be one of (none, temperature), but got"),
        ("values", None, {"calibration": "temperature"}, "calibration must be none for a task of values"),
        ("pixels", None, {"threshold": "f1"}, "threshold must be none for a task of pixels, but got 'f1'"),
        ("characters", None, {"threshold": 0.3}, "threshold must be none for a task of characters"),
        ("classes", 3, {"threshold": "f1"}, "threshold must be none for a task of 3 classes, but got 'f1'"),
        (
            "classes",
            2,
            {"threshold": "recall"},
            "threshold must be one of (none, f1, balanced_accuracy, accuracy)",
        ),
        ("classes", 2, {"threshold": 1.0}, "threshold must be one of (none, f1"),
        ("classes", 2, {"threshold": [0.3]}, "threshold must be one of (none, f1"),
        ("classes", 2, {"threshold": {"false_alarm": 2}}, "threshold must be one of (none, f1"),
    ],
)
def test_names_the_fault(kind: str, classes: int | None, settings: dict[str, object], expected: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        check(kind, classes, **settings)
    assert str(caught.value).startswith(expected.removesuffix(")"))
    assert "\n" not in str(caught.value)
