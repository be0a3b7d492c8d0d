"""`screen`: draws that repeat, ranks, what waits in the study, and what a second command does."""

import copy
import io
import json
import math
import os
import signal
from functools import cache
from types import SimpleNamespace

import optuna
import pytest
import torch
from rich.console import Console
from scipy import stats
from torch import nn

from kirigami.search.command.options import read
from kirigami.search.command.screen import Options
from kirigami.search.comparing.record import Run
from kirigami.search.comparing.screening import screen as screening
from kirigami.search.comparing.screening.draws import draw
from kirigami.search.comparing.screening.queue import enqueue, trial_of
from kirigami.search.comparing.screening.ranks import spearman
from kirigami.search.comparing.screening.screen import ranked
from kirigami.search.comparing.screening.smoothness import smoothness, train
from kirigami.search.config.compose import compose
from kirigami.search.config.resolve import resolve
from kirigami.search.errors import InputError
from kirigami.search.report.screened import sentences, table
from kirigami.search.study import study as studies
from kirigami.search.study.states import state_of
from kirigami.search.training.job import Interrupted, Job, Outcome
from kirigami.spaces import Space

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning", "ignore:Heartbeat of storage")

STUDY = ["study=breast_cancer", "space=[optimizer,activation,mlp]", "budget.bytes=null", "trainer.device=cpu"]


@cache
def composed(overrides):
    """Compose once what most tests share: Hydra takes half a second."""
    return compose(overrides)


class Trainer:
    """Scores a config by its width, and remembers which it was given."""

    def __init__(self, stop_after=None, over=()) -> None:
        self.calls, self.stop_after, self.over = [], stop_after, over

    def __call__(self, job) -> Outcome:
        if self.stop_after is not None and len(self.calls) >= self.stop_after:
            os.kill(os.getpid(), signal.SIGINT)
            job.check_interrupt()
        self.calls.append(copy.deepcopy(dict(job.config)))
        width = job.config["network"]["width"]
        if len(self.calls) in self.over:
            return Outcome("infeasible", {"params": 9.0}, "at least 9 params, over budget.params=5; not trained")
        job.details["fit_s"] = 0.5
        return Outcome("complete", {"balanced_accuracy": width / 256, "smoothness": 1.0 / width})


@pytest.fixture
def run(tmp_path, sqlite_url, monkeypatch):
    """Screen with a fake training and without Hydra, the data or the rehearsal."""

    def quick(given, _folders=()):
        raw = copy.deepcopy(composed(tuple(given)))
        raw["storage"]["url"] = sqlite_url
        return raw

    task = SimpleNamespace(fingerprint=lambda: "rows")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(screening, "compose", quick)
    monkeypatch.setattr(screening, "rehearse", lambda settings: task)
    monkeypatch.setattr(screening, "check_objectives", lambda *_: None)

    def screened(train, more=(), **asked):
        console = Console(file=io.StringIO())
        return screening.screen([*STUDY, *more], [], Options(**{"draws": 6, "top": 2, **asked}), train, console)

    return screened


@pytest.fixture
def study(sqlite_url, open_store):
    return lambda: studies.find(open_store(sqlite_url), "breast_cancer")


def test_the_best_draws_wait_in_the_study_best_first(run, study, tmp_path):
    train = Trainer()
    found = run(train)
    assert len(train.calls) == 6
    assert all(config["trainer"]["epochs"] == 1 for config in train.calls)
    widths = [row["params"]["network.width"] for row in found["draws"]]
    assert widths == sorted(widths, reverse=True)
    waiting = study().get_trials()
    assert [state_of(one) for one in waiting] == ["waiting", "waiting"]
    assert [one.system_attrs["fixed_params"] for one in waiting] == [row["params"] for row in found["draws"][:2]]
    assert found["queued"] == [row["draw"] for row in found["draws"][:2]]
    assert study().user_attrs["data"] == "rows"
    assert json.loads((tmp_path / "studies" / "breast_cancer" / "screen.json").read_text())["draws"] == found["draws"]


def test_the_same_command_again_trains_and_queues_nothing(run, study):
    first = run(Trainer())
    again = Trainer()
    found = run(again)
    assert (again.calls, found["queued"]) == ([], [])
    assert found["draws"] == first["draws"]
    assert len(study().get_trials()) == 2


def test_more_draws_begin_with_the_same_ones(run, study):
    run(Trainer())
    more = Trainer()
    found = run(more, draws=9, top=9)
    assert len(more.calls) == 3
    assert len(found["queued"]) == 7
    assert len(study().get_trials()) == 9


def test_ctrl_c_keeps_what_is_trained(run, study):
    with pytest.raises(Interrupted):
        run(Trainer(stop_after=4))
    assert study() is None
    rest = Trainer()
    run(rest)
    assert len(rest.calls) == 2


def test_by_and_direction_turn_the_order(run):
    by_score, largest, smallest = (
        [row["draw"] for row in run(Trainer(), by=by)["draws"]] for by in ("score", "smoothness", "flatness")
    )
    assert largest == by_score[::-1]
    assert smallest == by_score
    draws = [SimpleNamespace(number=number) for number in range(3)]
    runs = {number: Run("x", 0, "a", "complete", {"loss": loss}) for number, loss in enumerate((0.3, None, 0.1))}
    assert [one.number for one in ranked(draws, runs, "score", "loss", "minimize")] == [2, 0]


def test_what_is_over_the_budget_is_not_queued(run, study):
    found = run(Trainer(over=(1, 2)), top=6)
    last = found["draws"][-2:]
    assert all("over budget.params=5" in row["reason"] for row in last)
    assert [row["trial"] for row in last] == [None, None]
    assert len(study().get_trials()) == 4


def test_no_more_wait_than_the_budget_has_room_for(run, study):
    found = run(Trainer(), more=["budget.trials=1"])
    assert len(found["queued"]) == len(study().get_trials()) == 1
    assert any("1 of the best 2 found no room: raise budget.trials" in line for line in sentences(found))


def test_the_correlation_appears_when_the_search_has_trained_them(run, study):
    run(Trainer(), top=6)
    ours = study()
    for _ in range(5):
        trial = ours.ask()
        width = Space.from_config(composed(tuple(STUDY))["space"], resolve(composed(tuple(STUDY)))).suggest(trial)
        ours.tell(trial, 1 - width["network.width"] / 512)
    found = run(Trainer(), top=6)
    assert found["correlation"]["score"]["n"] == 5
    assert found["correlation"]["score"]["rho"] == pytest.approx(-1)
    assert found["correlation"]["smoothness"]["rho"] == pytest.approx(1)
    assert any("n = 5" in line and "score -1.00" in line for line in sentences(found))
    text = io.StringIO()
    Console(file=text, width=200).print(table(found))
    assert "balanced_accuracy" in text.getvalue()


def test_a_study_begun_otherwise_is_refused_before_anything_is_trained(run, sqlite_url, open_store):
    studies.create(open_store(sqlite_url), "breast_cancer", {"balanced_accuracy": "maximize"}, {"task.name": "other"})
    train = Trainer()
    with pytest.raises(InputError, match="was begun with another config"):
        run(train)
    assert not train.calls


def test_an_empty_space_is_refused(run):
    with pytest.raises(InputError, match="has an empty space: there is nothing to draw"):
        run(Trainer(), more=["space=[]"])


def test_draws_repeat_and_differ():
    raw = {"x": 1, "y": "a", "trainer": {"epochs": 20, "steps": None, "val_every": 2}, "space": {}}
    space = Space.from_config({"x": {"low": 1, "high": 3}, "y": {"choices": ["a", ["b"]]}}, {"x": 1, "y": "a"})
    first = draw(raw, space, 4, 2, seed=0, data="d")
    assert [one.params for one in first] == [one.params for one in draw(raw, space, 4, 2, seed=0, data="d")]
    assert [one.params for one in first] != [one.params for one in draw(raw, space, 4, 2, seed=1, data="d")]
    assert len(draw(raw, space, 8, 2, seed=0, data="d")) == 6
    assert first[0].arm.config["trainer"] == {"epochs": 2, "steps": None, "val_every": 1}


def test_a_draw_is_queued_once_whatever_became_of_it():
    raw = {"x": 1, "trainer": {"epochs": 20, "steps": None, "val_every": 1}, "space": {}}
    space = Space.from_config({"x": {"low": 0.0, "high": 3.0}}, {"x": 1})
    drawn = draw(raw, space, 3, 1, seed=0, data="d")
    study = optuna.create_study()
    assert enqueue(study, drawn, None) == drawn
    trial = study.ask()
    study.tell(trial, trial.suggest_float("x", 0.0, 3.0))
    assert enqueue(study, drawn, None) == []
    assert trial_of(drawn[0], study.get_trials()).values == [drawn[0].params["x"]]


def test_smoothness_is_the_largest_norm_by_that_of_the_weight():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Dropout(), nn.Linear(5, 2)).train()
    batches = [(torch.randn(size, 3), None) for size in (4, 9, 2)]
    with torch.no_grad():
        expected = max(float(network[:2](x).norm()) for x, _ in batches) / float(network[3].weight.norm())
    assert smoothness(network, batches) == pytest.approx(expected, rel=1e-6)
    assert network.training
    assert math.isnan(smoothness(network, [(torch.full((2, 3), float("nan")), None)]))
    with pytest.raises(ValueError, match="has no linear or convolutional layer"):
        smoothness(nn.ReLU(), batches)


def test_a_real_epoch_reports_score_and_smoothness():
    raw = {**composed(tuple(STUDY)), "space": {}}
    config = resolve({**raw, "trainer": {**raw["trainer"], "epochs": 1}, "network": {**raw["network"], "width": 8}})
    found = train(Job(0, config, lambda fidelity, metrics: None))
    assert found.metrics["smoothness"] > 0
    assert 0 <= found.metrics["balanced_accuracy"] <= 1
    assert found.trained is None
    over = {**config, "budget": {**config["budget"], "params": 5}}
    assert train(Job(0, over, lambda fidelity, metrics: None)).state == "infeasible"


def test_spearman_against_scipy():
    first, second = [1.0, 2.0, 2.0, 5.0, 9.0, float("nan")], [0.1, 0.5, 0.4, 0.4, 0.9, 1.0]
    found = spearman(first, second)
    assert found.n == 5
    assert found.rho == pytest.approx(stats.spearmanr(first[:5], second[:5]).statistic)
    assert -1 <= found.low <= found.rho <= found.high <= 1
    assert math.isnan(spearman([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]).rho)
    assert math.isnan(spearman([1.0] * 5, [1.0, 2.0, 3.0, 4.0, 5.0]).rho)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"by": "smothness"}, r"^by must be one of .*Did you mean 'smoothness'"),
        ({"draws": "5", "top": "6"}, r"^top must be at most draws=5, but got 6. Set top=5"),
    ],
)
def test_wrong_options_are_one_line(given, match):
    with pytest.raises(InputError, match=match) as error:
        read(Options, given)
    assert "\n" not in str(error.value)
