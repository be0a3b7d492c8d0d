"""Simple models beside a network: fitted on train rows, chosen on a part of these, scored like a network."""

import numpy as np
import pytest
import torch

from kirigami.tasks import Parts, Split, Task, rivals
from kirigami.tasks.bundled import BreastCancer


class Rows(Task):
    """Rows made up by a test."""

    def __init__(self, kind, train, validation, classes=None, **options):
        super().__init__(**options)
        self.made = Parts(kind, train, validation, classes)

    def load(self):
        return self.made


def split(rows, features=3, classes=3, seed=0):
    generator = np.random.default_rng(seed)
    inputs = generator.normal(size=(rows, features)).astype(np.float32)
    targets = np.arange(rows) % classes
    inputs[:, 0] += 3 * targets
    return Split(torch.from_numpy(inputs), torch.from_numpy(targets))


def opened(kind="classes", train=None, validation=None, classes=("a", "b", "c")):
    task = Rows(kind, train or split(90), validation or split(30, seed=1), classes)
    task.setup("fit")
    return task


def scored(task, metric):
    table = rivals.offer(task, task.validation)
    return rivals.judge(task, metric, table, list(rivals.fit(table)), task.validation.targets)


def test_a_table_has_a_linear_model_and_boosted_trees():
    cancer = BreastCancer(seed=0)
    cancer.setup("fit")
    linear, trees = scored(cancer, "balanced_accuracy")
    assert (linear.name, trees.name) == ("logistic regression", "gradient boosting")
    assert set(linear.metrics) == set(cancer.metrics)
    assert linear.metrics["balanced_accuracy"] > 0.95
    assert linear.bytes == 4 * (30 + 1)
    assert trees.bytes > 10_000
    assert linear.fitted_on == linear.train_rows == len(cancer.train.inputs)


def test_values_are_scored_in_their_unit():
    rows = split(200)
    targets = (5 * rows.inputs[:, :1] + 100).double().float()
    task = opened("values", Split(rows.inputs, targets), Split(rows.inputs[:50], targets[:50]), None)
    linear, trees = scored(task, "rmse")
    assert linear.name == "ridge regression"
    assert linear.metrics["rmse"] < 0.5 < targets.std()
    assert trees.metrics["r2"] > 0.8


def test_rows_that_judge_choose_no_settings():
    task = opened()
    table = rivals.offer(task, task.validation)
    models = list(rivals.fit(table))
    right, wrong = task.validation.targets, (task.validation.targets + 1) % 3
    chosen = [[rival.settings for rival in rivals.judge(task, "accuracy", table, models, t)] for t in (right, wrong)]
    assert chosen[0] == chosen[1]


def test_settings_are_chosen_by_the_metric():
    task = opened()
    table = rivals.offer(task, task.validation)
    right = np.eye(3, dtype=np.float32)[table.targets[table.held]]
    judged = np.zeros((30, 3), np.float32)
    models = [
        rivals.Fitted("one", settings, chooses, judged, 0.5, 9)
        for settings, chooses in (("bad", -right), ("good", right))
    ]
    (rival,) = rivals.judge(task, "accuracy", table, models, task.validation.targets)
    assert (rival.settings, rival.seconds) == ("good", 1.0)


def test_many_rows_are_thinned_out_evenly():
    targets = np.repeat([0, 1], [900, 100])
    rows = rivals.spread_out(targets, 100)
    assert len(set(rows.tolist())) == 100
    assert targets[rows].sum() == pytest.approx(10, abs=1)
    assert sorted(rivals.spread_out(targets, 5000).tolist()) == list(range(1000))


def test_a_class_that_no_train_row_has_gets_no_chance():
    train = split(90, classes=2)
    task = opened(train=train)
    for rival in scored(task, "accuracy"):
        assert rival.outputs.shape == (30, 3)
        assert (rival.outputs[:, 2] < rival.outputs[:, :2].min(axis=1)).all()


def test_rows_that_suit_no_rival_leave_it_out():
    one_class = Split(torch.randn(20, 2), torch.zeros(20, dtype=torch.long))
    names = {rival.name for rival in scored(opened(train=one_class, validation=one_class), "accuracy")}
    assert "logistic regression" not in names


@pytest.mark.parametrize(
    ("kind", "shape"), [("pixels", (4, 1, 8, 8)), ("classes", (4, 3, 32, 32)), ("characters", (4, 9))]
)
def test_other_data_have_no_rivals(kind, shape):
    inputs = torch.zeros(shape, dtype=torch.long if kind == "characters" else torch.float)
    targets = torch.zeros(4, dtype=torch.long) if kind == "classes" else inputs
    rows = Split(inputs, targets)
    task = opened(kind, rows, rows, ("a", "b") if kind == "classes" else None)
    assert rivals.offer(task, task.validation) is None
