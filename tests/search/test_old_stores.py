"""Studies outlive the code that wrote them: a store of each schema that was ever written opens, and means the same."""

import json
import sqlite3
from pathlib import Path

import pytest

from kirigami.search.command.cli import main
from kirigami.search.study import recovery
from kirigami.search.study import study as studies
from kirigami.search.study.attempts import device_seconds_of
from kirigami.search.study.facts import facts_of
from kirigami.search.study.ledger import Ledger
from kirigami.search.study.ranking import best_trial
from kirigami.search.study.record import GivenUp, Origin, Retry, Worker, result_of
from kirigami.search.study.states import state_of

STORES = sorted((Path(__file__).parent / "stores").glob("*.sql"))
BEGUN_WITH = [
    *("study=breast_cancer", "name=old", "space=[optimizer]", "network.depth=1", "trainer.epochs=3"),
    *("+space.network.width.low=4", "+space.network.width.high=12", "pruner.min_resource=2"),
    *("pruner.reduction_factor=2", "budget.params=350", "budget.bytes=850", "cost.per_device_hour=0.5"),
]


@pytest.fixture(params=STORES, ids=lambda file: file.stem)
def folder(request, tmp_path, monkeypatch):
    """A folder with a store as an older revision left it."""
    with sqlite3.connect(tmp_path / "studies.db") as database:
        database.executescript(request.param.read_text())
    database.close()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def study(folder, open_store):
    return studies.existing(open_store(f"sqlite:///{folder}/studies.db"), "old")


def out(capsys, *arguments):
    """Run a command; return what it prints."""
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


STATES = [
    *("infeasible", "complete", "over", "infeasible", "infeasible", "interrupted", "interrupted"),
    *("infeasible", "pruned", "failed"),
]


def test_trials_stand_where_they_stood(study):
    trials = study.get_trials(deepcopy=False)
    assert sorted(map(state_of, trials)) == sorted(STATES)
    ledger = Ledger(trials)
    assert (ledger.finished, ledger.open, ledger.unretried()) == (8, 0, [])
    assert ledger.device_seconds() == sum(map(device_seconds_of, trials)) > 0
    assert ledger.money() > 0


def test_every_fact_is_read(study):
    facts = facts_of(study)
    assert facts.schema == 1
    assert facts.copied is None
    assert set(facts.baselines) == {"all_positive", "all_negative"}
    assert facts.identity["trainer.epochs"] == 3
    assert len(facts.data) == 16
    for trial in study.get_trials(deepcopy=False):
        origin, worker, result = (
            Origin.from_attrs(trial.user_attrs),
            Worker.from_attrs(trial.user_attrs),
            result_of(trial),
        )
        assert origin.config["optimizer"]["lr"] == trial.params["optimizer.lr"]
        assert {"torch", "optuna"} <= set(origin.versions)
        assert worker.pid > 0
        assert recovery.is_gone(worker) or worker.machine != recovery.signature().machine
        if state_of(trial) in ("complete", "over"):
            assert [fidelity for fidelity, _ in result.curve] == [1, 2, 3]
            assert result.curve[-1][1]["balanced_accuracy"] == trial.values[0]
            assert result.metrics["bytes"] == result.figures["bytes"] > 0
            assert result.device == "cpu"


def test_retries_and_what_was_given_up_are_read(study):
    trials = study.get_trials(deepcopy=False)
    interrupted = [trial for trial in trials if state_of(trial) == "interrupted"]
    ways = [GivenUp.from_attrs(trial.user_attrs) for trial in interrupted]
    assert [way.handed_back for way in ways] == [True, False]
    assert all(way.lost_s > 0 for way in ways)
    retries = [retry for trial in trials if (retry := Retry.from_attrs(trial.user_attrs)) is not None]
    assert [retry.of for retry in retries] == [trial.number for trial in interrupted]
    assert [retry.deaths for retry in retries] == [0, 1]


def test_results_ledger_and_report(folder, capsys):
    results = json.loads(out(capsys, "results", "name=old", "format=json"))
    assert results["trials"] == {state: STATES.count(state) for state in results["trials"]}
    assert results["best"]["bytes"] <= 850
    table = out(capsys, "results", "name=old")
    assert "8 trials: 1 complete, 1 over the budget, 4 over the budget before training, 1 pruned, 1 failed" in table
    assert "failed: its worker died in 1 attempts" in table
    ledger = json.loads(out(capsys, "ledger", "name=old", "by=state", "format=json"))
    assert {row["state"]: row["trials"] for row in ledger["rows"]} == {one: STATES.count(one) for one in set(STATES)}
    out(capsys, "report", "name=old")
    assert "1 over the budget" in (folder / "studies" / "old" / "report.html").read_text()


def test_the_command_that_began_it_goes_on_with_it(folder, capsys):
    assert "the budget is met" in out(capsys, "search", *BEGUN_WITH, "budget.trials=8")


def test_another_config_is_still_refused(folder, capsys):
    assert main(["search", *BEGUN_WITH, "budget.trials=8", "trainer.batch_size=16"]) == 2
    assert "was begun with another config" in capsys.readouterr().err


def test_its_best_trial_is_trained_again_and_exported(folder, study, capsys):
    out(capsys, "export", "name=old", "twin=false")
    card = json.loads(next(folder.rglob("card.json")).read_text())
    assert card["trial"] == best_trial(study).number
