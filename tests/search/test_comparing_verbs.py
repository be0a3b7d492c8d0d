"""`compare` from its options to its verdicts: on scores made up, and on digits really trained."""

import json
import sys

import numpy as np
import pytest

from kirigami.search.command.cli import main
from kirigami.search.command.compare import Options
from kirigami.search.command.options import read
from kirigami.search.comparing import training
from kirigami.search.errors import InputError
from kirigami.search.training.job import Interrupted, Job, Outcome

OPTIONS = {"over": "network.activation", "repeats": 8, "format": "json"}


@pytest.fixture
def overrides(tmp_path, sqlite_url, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return ["study=breast_cancer", "network.width=8", "trainer.device=cpu", f"storage.url={sqlite_url}"]


def compare(overrides, options):
    return main(["compare", *overrides, *(f"{key}={value}" for key, value in options.items())])


def pretend(job: Job) -> Outcome:
    """A small network loses .05, the others nothing but noise of their own."""
    seed, activation = job.config["seed"], job.config["network"]["activation"]
    shared = np.random.default_rng(seed).normal(0, 0.05)
    own = np.random.default_rng([seed, len(activation)]).normal(0, 0.002)
    job.details["fit_s"] = {"relu": 1.0, "silu": 2.0, "sin": 0.5}[activation]
    return Outcome("complete", {"balanced_accuracy": 0.8 + shared + own - 0.05 * (activation == "sin")})


def test_verdicts_are_told_and_written(overrides, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(training.trial, "train", lambda job, threads, test_split: pretend(job))
    options = {**OPTIONS, "values": "[relu,silu,sin]"}
    assert compare(overrides, options) == 0
    told = json.loads(capsys.readouterr().out)
    relu, silu, sin = told["arms"]
    assert "verdict" not in relu
    assert (silu["verdict"], sin["verdict"]) == ("equivalent", "worse")
    assert (silu["seconds_ratio"], sin["seconds_ratio"], sin["seconds_saved"]) == (2.0, 0.5, 4.0)
    assert sin["interval"][0] < sin["difference"] < sin["interval"][1] < -0.02
    written = tmp_path / "studies" / "breast_cancer" / "compare" / "network.activation.json"
    assert json.loads(written.read_text()) == {key: part for key, part in told.items() if key != "file"}
    assert compare(overrides, {**options, "format": "table"}) == 0
    out = capsys.readouterr().out
    assert "network.activation=silu is equivalent to relu" in out
    assert "network.activation=sin is worse than relu" in out
    assert "50 % fewer seconds" in out
    assert "100 % more seconds" in out


def test_an_arm_that_fails_is_shown_as_one(overrides, monkeypatch, capsys):
    def train(job, threads, test_split):
        if job.config["network"]["activation"] == "sin":
            raise RuntimeError("no")
        return pretend(job)

    monkeypatch.setattr(training.trial, "train", train)
    assert compare(overrides, {**OPTIONS, "values": "[relu,sin]", "format": "table"}) == 0
    out = capsys.readouterr().out
    assert "8 failed" in out
    assert "is undecided against relu" in out
    assert "no seconds to compare" in out


def test_ctrl_c_ends_with_one_and_the_same_command_resumes(overrides, monkeypatch, capsys):
    def stop(job, threads, test_split):
        if job.config["seed"] == 1003:
            raise Interrupted
        return pretend(job)

    options = {**OPTIONS, "values": "[relu,silu]"}
    monkeypatch.setattr(training.trial, "train", stop)
    assert compare(overrides, options) == 1
    told = capsys.readouterr()
    assert (told.out, "the same command resumes it" in told.err) == ("", True)
    monkeypatch.setattr(training.trial, "train", lambda job, threads, test_split: pretend(job))
    assert compare(overrides, options) == 0
    assert "resuming: 6 of 16 runs are done" in capsys.readouterr().err


def test_a_wrong_format_is_refused_before_anything_runs():
    with pytest.raises(InputError, match=r"^format must be one of"):
        read(Options, {"over": "task.fraction", "format": "yaml"})


def test_digits_are_really_trained(tmp_path, overrides, capsys):
    """The same seed gives both arms the same rows and weights: an arm of equal meaning differs in nothing."""
    small = ["study=digits_dense", "network=mlp", "network.width=8", "network.depth=1", "~space.network", "space=[]"]
    run = [*small, "trainer.epochs=1", *overrides[2:]]
    options = {**OPTIONS, "repeats": 5, "over": "task.fraction", "values": "[0.999999,1.0,0.1]"}
    assert compare(run, options) == 0
    full, same, tenth = json.loads(capsys.readouterr().out)["arms"]
    assert (full["arm"], same["arm"], tenth["arm"]) == ("1.0", "0.999999", "0.1")
    assert same["scores"] == full["scores"]
    assert same["verdict"] == "equivalent"
    assert tenth["mean"] < full["mean"] - 0.1
    assert tenth["interval"][1] < 0
    assert len(set(full["scores"])) > 1
    recorded = (tmp_path / "studies" / "digits_dense" / "compare" / "task.fraction.jsonl").read_text()
    assert recorded.count("\n") == 15
