"""Simple models beside an exported network: fitted on the train rows, scored on the test rows, told in the card."""

import optuna
import pytest
import torch

from kirigami.search.config.compose import compose
from kirigami.search.config.resolve import resolve
from kirigami.search.config.settings import TrialConfig
from kirigami.search.export import beside
from kirigami.search.export.card import _scores
from kirigami.search.export.judge import Judge
from kirigami.search.study.rivals import Rival
from kirigami.search.study.study import note_rivals
from kirigami.search.training.building import open_task


@pytest.fixture
def config():
    return TrialConfig.from_resolved(resolve(compose(["study=breast_cancer", "task.fraction=0.3"])))


@pytest.fixture
def study():
    study = optuna.create_study(direction="maximize")
    note_rivals(study, [Rival("logistic regression", "C=1", {}, 0.1, 124, 341, 341)])
    return study


def test_a_card_says_which_simple_model_is_ahead(config, study):
    task = open_task(config)
    task.setup("test")
    targets = task.test.targets
    blind = torch.randn(len(targets), 2, generator=torch.Generator().manual_seed(0))
    linear, trees = beside.rivals_of(study, config, Judge(task, "balanced_accuracy", 0.01), task, blind, targets)
    assert (linear["name"], trees["name"]) == ("logistic regression", "gradient boosting")
    assert linear["fitted_on"] == 341  # whatever share the trial took
    assert linear["ahead_by"] > 0.3
    assert linear["p"] < 1e-6
    scores = task.evaluate(blind, targets)
    test = {"all": scores, "baselines": task.baselines(targets), "rivals": [linear, trees]}
    table = _scores(test)
    assert (
        table[0]
        == "| test rows | this network | logistic regression | gradient boosting | all positive | all negative |"
    )
    assert len(table) == len(scores) + 3
    about, _, ahead, _ = beside.sentences({"test": test})
    assert about == "logistic regression (C=1): 124 bytes, fitted on 341 of 341 train rows"
    assert beside.listed({"test": test})[0] == f"- {about}."
    assert ahead.startswith("logistic regression is better than this network on the test rows by 0.")


def test_a_network_that_is_right_is_behind_none(config, study):
    task = open_task(config)
    task.setup("test")
    targets = task.test.targets
    rows = beside.rivals_of(study, config, Judge(task, "accuracy", 0.01), task, torch.eye(2)[targets], targets)
    assert beside.leads({"test": {"rivals": rows}}) == []


def test_a_score_that_the_network_logs_itself_is_compared_with_none(config, study):
    task = open_task(config)
    task.setup("test")
    judge = Judge(task, "cost", 0.01, "minimize", logging=config)
    rows = beside.rivals_of(study, config, judge, task, torch.zeros(0), task.test.targets)
    assert [row["name"] for row in rows] == ["logistic regression", "gradient boosting"]
    assert not any("ahead_by" in row for row in rows)


def test_a_study_without_rivals_has_none_in_its_cards(config):
    task = open_task(config)
    study = optuna.create_study(direction="maximize")
    assert beside.rivals_of(study, config, Judge(task, "accuracy", 0.01), task, torch.zeros(1, 2), torch.zeros(1)) == []
    assert _scores({"all": {}, "baselines": {}, "rivals": []}) == []
