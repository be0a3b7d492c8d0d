"""Metrics agree with scikit-learn's, and behave at the edges."""

import math

import numpy as np
import pytest
import torch
from sklearn import metrics as reference

from kirigami import tasks
from kirigami.tasks import METRICS, direction
from kirigami.tasks.metrics import available, baselines


def sample(classes: int, rows: int = 200, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(classes, (rows,), generator=generator)
    outputs = torch.randn(rows, classes, generator=generator) + torch.nn.functional.one_hot(targets, classes)
    return (outputs * 4).round() / 4, targets


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("seed", [0, 1])
def test_classes_agree_with_scikit_learn(classes: int, seed: int) -> None:
    outputs, targets = sample(classes, seed=seed)
    predicted, average = outputs.argmax(1).numpy(), "binary" if classes == 2 else "macro"
    expected = {
        "accuracy": reference.accuracy_score(targets, predicted),
        "balanced_accuracy": reference.balanced_accuracy_score(targets, predicted),
        "f1": reference.f1_score(targets, predicted, average=average),
        "precision": reference.precision_score(targets, predicted, average=average, zero_division=0),
        "recall": reference.recall_score(targets, predicted, average=average),
        "loss": reference.log_loss(targets, outputs.double().softmax(1).numpy()),
    }
    if classes == 2:
        expected["auc"] = reference.roc_auc_score(targets, (outputs[:, 1] - outputs[:, 0]).numpy())
        expected["false_alarm"] = 1 - reference.recall_score(targets, predicted, pos_label=0)
    for name, value in expected.items():
        assert METRICS[name].function(outputs, targets) == pytest.approx(value, rel=1e-5), name


def test_values_agree_with_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.randn(100, generator=generator) * 5
    outputs = targets + torch.randn(100, generator=generator)
    mse = reference.mean_squared_error(targets, outputs)
    expected = {
        "mse": mse,
        "rmse": math.sqrt(mse),
        "mae": reference.mean_absolute_error(targets, outputs),
        "r2": reference.r2_score(targets, outputs),
    }
    for name, value in expected.items():
        assert METRICS[name].function(outputs, targets) == pytest.approx(value, rel=1e-5), name


def test_bits_of_knowing_nothing() -> None:
    assert METRICS["bits"].function(torch.zeros(10, 64), torch.arange(10)) == pytest.approx(6)


def test_auc_counts_ties_half_and_needs_both_classes() -> None:
    targets = torch.tensor([0, 0, 1, 1])
    assert METRICS["auc"].function(torch.zeros(4, 2), targets) == 0.5
    assert METRICS["auc"].function(torch.tensor([[0, 1.0], [0, 2], [0, 3], [0, 4]]), targets) == 1.0
    assert METRICS["auc"].function(torch.zeros(4, 2), torch.zeros(4, dtype=torch.long)) == 0.5


def test_nothing_predicted_positive_is_zero_not_nan() -> None:
    outputs, targets = torch.tensor([[1.0, 0.0]] * 4), torch.tensor([0, 0, 1, 1])
    for name in ("precision", "recall", "f1", "false_alarm"):
        assert METRICS[name].function(outputs, targets) == 0


def test_a_class_that_does_not_occur_is_not_averaged() -> None:
    outputs = torch.nn.functional.one_hot(torch.tensor([0, 1, 0, 1]), 5).float()
    for name in ("balanced_accuracy", "f1", "precision", "recall"):
        assert METRICS[name].function(outputs, torch.tensor([0, 1, 0, 1])) == 1.0


def test_r2_of_constant_targets() -> None:
    assert METRICS["r2"].function(torch.ones(4), torch.zeros(4)) == 0.0


def test_every_metric_of_every_kind_is_registered() -> None:
    for kind, classes in (("classes", 2), ("classes", 5), ("values", 0), ("pixels", 0), ("characters", 0)):
        assert set(available(kind, classes)) <= set(METRICS)
    assert {"auc", "false_alarm"} <= set(available("classes", 2))
    assert not {"auc", "false_alarm"} & set(available("classes", 3))


def test_direction() -> None:
    assert direction("accuracy") == "maximize"
    assert all(direction(name) == "minimize" for name in ("loss", "false_alarm", "rmse"))
    with pytest.raises(ValueError, match=r"^metric must be one of \(.*\), but got 'acuracy'\. Did you mean 'accuracy'"):
        direction("acuracy")


def test_outputs_of_a_diverged_network_do_not_raise() -> None:
    outputs, targets = torch.full((6, 2), math.nan), torch.tensor([0, 1] * 3)
    values = [METRICS[name].function(outputs, targets) for name in available("classes", 2)]
    assert all(np.isfinite(value) for value in values)


def test_baselines_of_two_classes() -> None:
    targets = torch.tensor([1] * 3 + [0] * 9)
    found = baselines(targets)

    assert set(found) == {"all_positive", "all_negative"}
    assert all(set(scores) == set(available("classes", 2)) for scores in found.values())
    positive, negative = found["all_positive"], found["all_negative"]
    assert positive["f1"] == pytest.approx(2 * 0.25 / 1.25)
    assert (positive["precision"], positive["recall"], positive["false_alarm"]) == (0.25, 1, 1)
    assert (negative["f1"], negative["recall"], negative["false_alarm"], negative["accuracy"]) == (0, 0, 0, 0.75)
    assert all(scores[name] == 0.5 for scores in found.values() for name in ("auc", "balanced_accuracy"))


def test_baselines_of_more_classes_and_of_missing_ones() -> None:
    targets = torch.tensor([0, 2, 2, 1])
    found = baselines(targets, 5)
    assert set(found) == {"most_frequent"}
    assert found["most_frequent"]["accuracy"] == 0.5
    assert found["most_frequent"]["balanced_accuracy"] == pytest.approx(1 / 3)
    assert baselines(torch.zeros(3, dtype=torch.long))["all_negative"]["accuracy"] == 1


def test_a_task_gives_the_baselines_of_its_own_metrics() -> None:
    cancer = tasks.build({"name": "breast_cancer"}, seed=0)
    cancer.setup("fit")
    found = cancer.baselines(cancer.validation.targets)
    share = float((cancer.validation.targets == 1).float().mean())
    assert set(found) == {"all_positive", "all_negative"}
    assert found["all_positive"]["accuracy"] == pytest.approx(share)
    assert all(tuple(scores) == cancer.metrics for scores in found.values())

    paths = tasks.build({"name": "paths", "size": 6, "rows": 20, "validation": 10, "test": 1}, seed=0)
    paths.setup("fit")
    share = float(paths.validation.targets.mean())
    assert paths.baselines(paths.validation.targets)["all_positive"]["f1"] == pytest.approx(2 * share / (1 + share))

    paths.kind = "values"
    assert paths.baselines(paths.validation.targets) == {}
