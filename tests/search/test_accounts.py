"""`kirigami ledger`: what a study has cost, by worker, trial and state, and that it agrees with `results`."""

import csv
import io
import json
from types import SimpleNamespace

import pytest

from kirigami.search.command.cli import main
from kirigami.search.report.accounts import entries, rows, stored_bytes
from kirigami.search.study.ledger import Ledger
from kirigami.search.study.record import stored_result
from kirigami.search.training.job import Outcome, Pruned
from kirigami.search.training.runners import Solo
from tests.search.stored_trials import trial

pytestmark = [
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
]


@pytest.fixture
def study(make_loop, sqlite_url, tmp_path, name):
    """Three trials, the second pruned, the third the best; the networks of the first and the last are kept."""

    def run(job):
        job.details.update(device="cpu", device_s=job.number + 1.0, energy_j=3.0)
        if job.number == 1:
            raise Pruned("too slow")
        made = SimpleNamespace(save=lambda path: path.write_text("weights"))
        return Outcome("complete", {"score": -job.number}, trained=made)

    cost = {"per_device_hour": 1800.0, "currency": "EUR"}
    config = {"x": 0.5, "y": 2, "cost": cost, "trainer": {"devices": 1}}
    folder = tmp_path / "studies" / name / "networks"
    loop = make_loop(Solo(run), url=sqlite_url, trials=3, config=config, folder=folder)
    loop.run()
    (folder.parent / "checkpoints" / "trial-00001").mkdir(parents=True)
    (folder.parent / "checkpoints" / "trial-00001" / "last.ckpt").write_text("0123456789")
    loop.study._storage.remove_session()
    return loop.study


def ledger(capsys, study, url, *options, verb="ledger"):
    assert main([verb, f"study={study.study_name}", f"storage.url={url}", *options]) == 0
    return capsys.readouterr().out


def test_it_agrees_with_the_results(study, sqlite_url, capsys):
    found = json.loads(ledger(capsys, study, sqlite_url, "format=json"))
    results = json.loads(ledger(capsys, study, sqlite_url, "format=json", verb="results"))
    assert found["cost"] == results["cost"]
    assert found["cost"]["device_s"] == found["total"]["device_s"] == 6.0
    assert found["cost"]["money"] == found["total"]["money"] == 3.0
    assert found["cost"]["currency"] == "EUR"
    assert found["cost"]["energy_j"] == found["total"]["energy_j"] == 9.0
    (worker,) = found["rows"]
    assert worker["trials"] == 3
    assert worker["pruned"] == pytest.approx(2 / 6, abs=1e-4)
    assert worker["interrupted"] == 0
    assert worker["stored_bytes"] == len("weights") + 10
    assert "energy is that of the whole package" in found["notes"][0]


def test_by_trial_and_as_csv(study, sqlite_url, capsys):
    out = ledger(capsys, study, sqlite_url, "by=trial", "format=csv")
    found = list(csv.DictReader(io.StringIO(out)))
    assert [one["state"] for one in found] == ["complete", "pruned", "complete"]
    assert [float(one["device_s"]) for one in found] == [1.0, 2.0, 3.0]
    assert [int(one["stored_bytes"]) for one in found] == [0, 10, 7]
    assert {one["device"] for one in found} == {"cpu"}
    recorded = study.get_trials(deepcopy=False)
    assert [float(one["seconds"]) for one in found] == [round(stored_result(one)["wall_s"], 3) for one in recorded]


def test_by_state_as_a_table(study, sqlite_url, capsys):
    out = ledger(capsys, study, sqlite_url, "by=state")
    assert "complete" in out
    assert "pruned" in out
    assert "EUR" in out
    assert "devices 6.0 s  3.00 EUR  9 J" in out


@pytest.mark.parametrize(
    ("option", "allowed"), [("by=node", "worker, trial, state"), ("format=xml", "table, json, csv")]
)
def test_a_wrong_option_is_one_line(study, sqlite_url, capsys, option, allowed):
    assert main(["ledger", f"study={study.study_name}", f"storage.url={sqlite_url}", option]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert allowed in error


def test_workers_are_told_apart_and_interrupted_attempts_are_charged():
    first, second = ({"machine": "host/boot", "pid": pid, "started": "1"} for pid in (1, 2))
    trials = [
        trial(0, "COMPLETE", 0, 1, worker=first, outcome={"device_s": 3.0, "wall_s": 3.0}),
        trial(1, "FAIL", 0, 9, worker=second, lost_s=4.0),
        trial(2, "FAIL", 0, 9, worker=second),
        trial(3, "RUNNING", 0, worker=first),
        trial(4, "WAITING", retry_of=2),
    ]
    found = rows(entries(Ledger(trials), None), "worker")
    assert [(one["worker"], one["trials"], one["device_s"]) for one in found] == [
        ("host:2", 2, 4.0),
        ("host:1", 2, 3.0),
    ]
    assert [one["interrupted"] for one in found] == [1.0, 0.0]
    assert all(one["money"] is None and one["energy_j"] is None and one["stored_bytes"] is None for one in found)
    by_state = rows(entries(Ledger(trials), None), "state")
    assert sum(one["device_s"] for one in by_state) == Ledger(trials).device_seconds() == 7.0


def test_without_the_studys_folder_the_bytes_are_not_known(tmp_path):
    assert stored_bytes(tmp_path / "nowhere") is None
    assert stored_bytes(tmp_path) == {}


def test_an_empty_study_has_cost_nothing(make_loop, bowl, sqlite_url, capsys):
    study = make_loop(bowl, url=sqlite_url, trials=1).study
    assert Ledger().read(study).device_seconds() == 0
    assert "devices 0.0 s" in ledger(capsys, study, sqlite_url)
