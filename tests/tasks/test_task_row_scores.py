"""What groups of rows add to a score: its mean is the score, and its spread the score's error."""

import numpy as np
import pytest
import torch

from kirigami import tasks
from kirigami.tasks import metrics
from kirigami.tasks.row_scores import GROUPS, Groups, mean_parts, parts, quick_parts


def task_of(kind):
    task = tasks.Task()
    task.kind = kind
    return task


def rows_of_classes(rows, classes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, classes, (rows,), generator=generator)
    outputs = torch.randn(rows, classes, generator=generator)
    outputs[torch.arange(rows), targets] += 1
    return outputs, targets


@pytest.mark.parametrize("metric", metrics.available("classes", 2))
def test_the_mean_of_the_parts_is_the_score(metric):
    outputs, targets = rows_of_classes(437, 2)
    parts = task_of("classes").row_scores(metric, outputs, targets)
    assert len(parts) == (437 if metric == "accuracy" else GROUPS)
    assert float(parts.mean()) == pytest.approx(
        metrics.METRICS[metric].function(outputs, targets), abs=6e-3
    )  # the jackknife takes out ece's bias


@pytest.mark.parametrize("metric", metrics.available("values", 0))
def test_so_it_is_of_values(metric):
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(300, 1, generator=generator)
    targets = outputs + torch.randn(300, 1, generator=generator) / 2
    task = task_of("values")
    exact = metrics.METRICS[metric].function(*task.canonical(outputs, targets))
    assert float(task.row_scores(metric, outputs, targets).mean()) == pytest.approx(exact, rel=5e-3)


@pytest.mark.parametrize("metric", ["auc", "balanced_accuracy", "f1"])
def test_the_spread_of_the_parts_is_the_bootstraps(metric):
    outputs, targets = rows_of_classes(400, 2)
    parts = task_of("classes").row_scores(metric, outputs, targets)
    generator, scores = torch.Generator().manual_seed(1), []
    for _ in range(400):
        drawn = torch.randint(400, (400,), generator=generator)
        scores.append(metrics.METRICS[metric].function(outputs[drawn], targets[drawn]))
    assert float(parts.std() / len(parts) ** 0.5) == pytest.approx(float(torch.tensor(scores).std()), rel=0.25)


def test_a_row_of_many_targets_is_one_row():
    outputs, targets = rows_of_classes(60, 5)
    parts = task_of("characters").row_scores("accuracy", outputs.view(6, 10, 5), targets.view(6, 10))
    assert parts.tolist() == pytest.approx((outputs.argmax(1) == targets).view(6, 10).double().mean(1).tolist())


def test_a_group_that_none_of_these_rows_belongs_to_adds_the_score_itself():
    outputs, targets = rows_of_classes(20, 3)
    groups = Groups.deal(20, np.arange(0, 40, 2), 40, are_apart=False)
    parts = mean_parts("accuracy", outputs, targets, groups)
    score = metrics.accuracy(outputs, targets)
    assert len(parts) == 40
    assert parts[1::2].tolist() == pytest.approx([score] * 20)


@pytest.mark.parametrize("metric", ["auc", "balanced_accuracy", "f1", "precision", "recall", "false_alarm"])
@pytest.mark.parametrize(("rows", "classes"), [(300, 2), (40, 2), (90, 4)])
def test_the_quick_way_gives_what_leaving_each_group_out_gives(metric, rows, classes):
    if metric not in metrics.available("classes", classes):
        pytest.skip("a score of two classes")
    outputs, targets = rows_of_classes(rows, classes)
    outputs = outputs.round(decimals=1)  # so that some are equal
    groups = Groups.deal(rows, np.arange(rows) * 2 % 150, 150, are_apart=False)
    slow = parts(metrics.METRICS[metric].function, outputs, targets, groups)
    assert quick_parts(metric, outputs, targets, groups).tolist() == pytest.approx(slow.tolist(), abs=1e-9)
