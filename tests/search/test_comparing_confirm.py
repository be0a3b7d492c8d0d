"""`confirm`: leaders under new seeds, a winner by paired test, the test rows opened once and for the winner alone."""

import copy
import io
import json
import sys
from functools import cache
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
from rich.console import Console
from safetensors import safe_open

from kirigami.search.command.cli import main
from kirigami.search.comparing.confirm import confirm, leaders
from kirigami.search.comparing.training import retrain, scores_on_test
from kirigami.search.config.compose import compose
from kirigami.search.config.resolve import resolve
from kirigami.search.config.settings import TrialConfig
from kirigami.search.errors import InputError, StudyStopped
from kirigami.search.report import confirmed
from kirigami.search.study import study as studies
from kirigami.search.training import building
from kirigami.search.training.job import Interrupted, Job, Outcome

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
OVERRIDES = ["study=digits_dense", "network=mlp", "~space.network", "space=[]", "trainer.epochs=1", "seed=3"]
QUALITY = {0.3: 0.95, 0.1: 0.95, 0.01: 0.80}  # by learning rate: two alike, one worse


@cache
def composed():
    raw = compose([*OVERRIDES, "network.width=8", "network.depth=1", "trainer.device=cpu"])
    return {key: part for key, part in resolve(raw).items() if key not in ("space", "storage")}


@pytest.fixture
def make_study(open_store):
    """A study with a complete trial for each learning rate and score given, in memory or in a store."""

    def make(trials, *, url=None, budget=None):
        storage = open_store(url) if url else optuna.storages.InMemoryStorage()
        study = studies.create(storage, "s", {"accuracy": "maximize"}, {"a": 1})
        for lr, value in trials:
            config = copy.deepcopy(composed())
            config["optimizer"]["lr"] = lr
            config["budget"] |= budget or {}
            one = study.ask()
            one.set_user_attr("origin", {"config": config})
            one.set_user_attr("outcome", {"state": "complete"})
            study.tell(one, value)
        return study

    return make


class Retrain:
    """Scores by the learning rate, with noise by the seed; keeps a file that says which run it was."""

    def __init__(self, fails=(), stop_after=None) -> None:
        self.calls, self.splits = [], set()
        self.fails, self.stop_after = fails, stop_after

    def __call__(self, job: Job, split: int) -> Outcome:
        lr, seed = job.config["optimizer"]["lr"], job.config["seed"]
        if len(self.calls) == self.stop_after:
            raise Interrupted
        self.calls.append((lr, seed))
        self.splits.add(split)
        if (lr, seed) in self.fails or lr in self.fails:
            raise RuntimeError("no")
        noise = np.random.default_rng(seed).normal(0, 0.05) + np.random.default_rng([seed, int(lr * 100)]).normal(
            0, 0.005
        )
        metrics = {"accuracy": QUALITY[lr] + noise, "bytes": 100.0 * lr}
        return Outcome("complete", metrics, trained=SimpleNamespace(save=lambda path: path.write_text(f"{lr} {seed}")))


class Score:
    """Remembers which networks were scored on the test rows, and how often they were opened."""

    def __init__(self) -> None:
        self.opened = []

    def __call__(self, files, config, split):
        self.opened.append([file.read_text() for file in files])
        return [{"accuracy": 0.9 + index / 100} for index in range(len(files))]


def asked(study, folder, retrain, score, top=5, seeds=8, said=None):
    console = Console(file=said or io.StringIO())
    return confirm(study, folder, top=top, seeds=seeds, console=console, retrain=retrain, score=score)


def test_the_winner_is_tested_and_the_test_rows_are_opened_once(make_study, tmp_path):
    study = make_study([(0.01, 0.99), (0.3, 0.97)])
    train, score = Retrain(), Score()
    found = asked(study, tmp_path, train, score)
    first, second = found["trials"]
    assert (found["winner"], first["trial"], second["trial"]) == (1, 1, 0)  # the search had flattered trial 0
    assert second["verdict"] == "worse"
    assert found["not_told_apart"] == []
    assert second["p_holm"] < 0.05
    assert second["interval"][1] < 0
    assert train.splits == {3}
    assert sorted({seed for _, seed in train.calls}) == found["seeds"] == list(range(1003, 1011))
    assert score.opened == [[f"0.3 {seed}" for seed in found["seeds"]]]
    assert found["test"]["accuracy"]["mean"] == pytest.approx(0.935)
    assert found["test"]["accuracy"]["sd"] == pytest.approx(np.std(np.arange(8) / 100, ddof=1))
    assert json.loads((tmp_path / "confirm" / "confirm.json").read_text())["winner"] == 1
    assert len(list((tmp_path / "confirm" / "networks").iterdir())) == 8  # the winner's


def test_the_same_question_opens_nothing_again_and_another_one_says_so(make_study, tmp_path):
    study = make_study([(0.01, 0.99), (0.3, 0.97)])
    first = asked(study, tmp_path, Retrain(), Score())
    train, score = Retrain(), Score()
    assert json.dumps(asked(study, tmp_path, train, score)) == json.dumps(first)
    assert (train.calls, score.opened) == ([], [])
    more = asked(study, tmp_path, train, score, seeds=9)
    assert [seed for _, seed in train.calls] == [1011, 1011]
    assert (first["opened_before"], more["opened_before"]) == (0, 1)
    assert "opened 1 time before" in " ".join(confirmed.sentences(more))


def test_what_is_not_told_apart_is_no_loser(make_study, tmp_path):
    found = asked(make_study([(0.1, 0.9), (0.3, 0.9), (0.01, 0.9)]), tmp_path, Retrain(), Score())
    (tied,) = found["not_told_apart"]
    assert {found["winner"], tied} == {0, 1}
    assert found["trials"][-1]["trial"] == 2
    assert f"is not told apart from {tied}." in confirmed.sentences(found)[0]


def test_a_stopped_one_resumes(make_study, tmp_path):
    study, score = make_study([(0.1, 0.9), (0.01, 0.8)]), Score()
    with pytest.raises(Interrupted):
        asked(study, tmp_path, Retrain(stop_after=5), score)
    assert score.opened == []
    (tmp_path / "confirm" / "networks").joinpath("x").with_suffix(".safetensors").write_text("a loser's")
    for file in (tmp_path / "confirm" / "networks").glob("*-1003.safetensors"):
        file.unlink()  # lost since: trained again where it is the winner's
    rest = Retrain()
    asked(study, tmp_path, rest, score)
    assert len(rest.calls) == 11 + 1
    assert rest.calls[-1] == (0.1, 1003)
    assert len(score.opened[0]) == 8


def test_a_leader_that_fails_does_not_win(make_study, tmp_path):
    study = make_study([(0.3, 0.9), (0.01, 0.8)])
    found = asked(study, tmp_path, Retrain(fails=[(0.3, 1005)]), Score())
    assert [(row["trial"], row["failed"]) for row in found["trials"]] == [(1, 0), (0, 1)]
    assert found["winner"] == 1
    assert confirmed.table(found).row_count == 2
    never = asked(study, tmp_path, Retrain(fails=[0.3]), Score(), seeds=5, top=2)
    assert never["trials"][1]["failed"] == 1  # four of these five seeds are on record
    assert confirmed.table(asked(study, tmp_path, Retrain(), Score(), seeds=5)).row_count == 2


def test_a_leader_that_always_fails_has_no_figures(make_study, tmp_path):
    found = asked(make_study([(0.3, 0.9), (0.01, 0.8)]), tmp_path, Retrain(fails=[0.3]), Score())
    assert (found["trials"][1]["difference"], found["trials"][1]["mean"]) == (None, None)
    shown = io.StringIO()
    Console(file=shown, width=120).print(confirmed.table(found))
    assert "8 failed" in shown.getvalue()


def test_it_stops_where_all_fail(make_study, tmp_path):
    with pytest.raises(StudyStopped, match="RuntimeError: no"):
        asked(make_study([(0.3, 0.9)]), tmp_path, Retrain(fails=[0.3]), Score())


def test_networks_over_the_budget_are_told(make_study, tmp_path):
    found = asked(make_study([(0.3, 0.9)], budget={"bytes": 20}), tmp_path, Retrain(), Score())
    assert "over budget.bytes=20." in " ".join(confirmed.sentences(found))
    assert found["trials"][0]["bytes"] == {"median": 30.0, "most": 30.0}


def test_leaders_are_told_once_and_best_first(make_study):
    arms, split = leaders(make_study([(0.1, 0.8), (0.3, 0.9), (0.3, 0.9), (0.01, 0.7)]), 2)
    assert [arm.value for arm in arms] == [1, 0]
    assert split == 3
    assert all(arm.config["budget"]["bytes"] is None for arm in arms)


def test_a_study_without_trials_is_refused(make_study, tmp_path):
    with pytest.raises(InputError, match=r"^study=s has no complete trial within its budget yet"):
        asked(make_study([]), tmp_path, Retrain(), Score())


def test_other_data_are_refused(make_study, tmp_path):
    study = make_study([(0.1, 0.9)])
    study.set_user_attr("data", "another")
    with pytest.raises(InputError, match="begun on other data"):
        asked(study, tmp_path, Retrain(), Score())


def test_seeds_change_weights_and_order_but_not_the_split():
    config = {**composed(), "seed": 1004}
    job = Job(0, config, lambda fidelity, metrics: None)
    first, again = retrain(job, 3), retrain(Job(0, config, lambda fidelity, metrics: None), 3)
    other = retrain(Job(0, {**config, "seed": 1005}, lambda fidelity, metrics: None), 3)
    elsewhere = retrain(Job(0, config, lambda fidelity, metrics: None), 4)
    assert first.metrics == again.metrics
    assert first.metrics["loss"] not in (other.metrics["loss"], elsewhere.metrics["loss"])
    assert job.details["fit_s"] > 0


def test_digits_are_really_confirmed(make_study, sqlite_url, tmp_path, monkeypatch, capsys):
    make_study([(0.3, 0.9), (1e-4, 0.8)], url=sqlite_url)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    command = ["confirm", "name=s", f"storage.url={sqlite_url}", "top=2", "seeds=6"]
    assert main([*command, "format=json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["winner"] == 0
    assert found["trials"][1]["verdict"] == "worse"
    assert found["test"]["accuracy"]["mean"] > 0.4
    files = sorted((tmp_path / "studies" / "s" / "confirm" / "networks").iterdir())
    assert len(files) == 6
    with safe_open(str(files[0]), framework="pt") as file:
        assert json.loads(file.metadata()["kirigami"])["config"]["seed"] == 1003
    task = building.open_task(TrialConfig.from_resolved({**composed(), "seed": 3}))
    task.setup("test")
    (again,) = scores_on_test(files[:1], TrialConfig.from_resolved(composed()), 3)
    assert set(again) == set(task.metrics)
    assert main(command) == 0
    assert "Trial 0 wins." in capsys.readouterr().out
