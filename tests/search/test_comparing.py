"""Paired runs: recorded one by one, resumed where they stopped, failures kept as findings."""

import io
import json
import os
import signal
from dataclasses import replace
from math import isnan

import pytest
from rich.console import Console

from kirigami.search.command.compare import Options
from kirigami.search.command.options import read, read_value
from kirigami.search.comparing.paired import run_all, seeds_after
from kirigami.search.comparing.record import Arm, Record, Run
from kirigami.search.config.resolve import unlimited
from kirigami.search.errors import InputError, StudyStopped
from kirigami.search.files import append_line, as_json, lines, write_json
from kirigami.search.training.job import Interrupted, Job, Outcome

OPTIONS = {"over": "task.fraction"}
ARMS = [Arm(label, {"x": x, "seed": 0}, x) for label, x in (("low", 0.1), ("high", 0.5))]
RUN = Run("abc", 1000, "low", "complete", {"score": 0.5, "loss": None}, 0.1)


class Trainer:
    """Scores x plus a shade of the seed, and remembers what it was asked."""

    def __init__(self, stop_after=None, wrong=()) -> None:
        self.calls: list[tuple[float, int]] = []
        self.stop_after, self.wrong = stop_after, wrong

    def __call__(self, job: Job) -> Outcome:
        x, seed = job.config["x"], job.config["seed"]
        if self.stop_after is not None and len(self.calls) >= self.stop_after:
            os.kill(os.getpid(), signal.SIGINT)
            job.check_interrupt()
        self.calls.append((x, seed))
        if (x, seed) in self.wrong:
            raise RuntimeError("out of\nmemory")
        job.details["fit_s"] = 2 * x
        return Outcome("complete", {"score": x + (seed % 7) / 100})


@pytest.fixture
def record(tmp_path) -> Record:
    return Record(tmp_path / "compare" / "x.jsonl")


def run(record, train, seeds=(1000, 1001, 1002), arms=ARMS, metric="score", console=None):
    return run_all(arms, seeds, record, train, metric=metric, console=console or Console(file=io.StringIO()))


def test_every_arm_meets_every_seed_and_the_first_one_rotates(record):
    train = Trainer()
    found = run(record, train)
    assert train.calls == [(0.1, 1000), (0.5, 1000), (0.5, 1001), (0.1, 1001), (0.1, 1002), (0.5, 1002)]
    assert set(found) == {(arm.identity, seed) for arm in ARMS for seed in (1000, 1001, 1002)}
    assert found[ARMS[1].identity, 1001].fit_s == 1.0
    assert record.runs() == found


def test_finished_runs_are_not_repeated(record):
    first = run(record, Trainer(), seeds=(1000, 1001))
    again, said = Trainer(), io.StringIO()
    found = run(record, again, seeds=(1000, 1001, 1002), console=Console(file=said))
    assert again.calls == [(0.1, 1002), (0.5, 1002)]
    assert first.items() <= found.items()
    assert "resuming: 4 of 6 runs are done" in said.getvalue()


def test_ctrl_c_keeps_what_is_finished(record):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted):
        run(record, Trainer(stop_after=3))
    assert signal.getsignal(signal.SIGINT) is before
    assert len(record.runs()) == 3
    rest = Trainer()
    run(record, rest)
    assert rest.calls == [(0.1, 1001), (0.1, 1002), (0.5, 1002)]


def test_a_line_cut_in_half_is_run_again_and_spoils_no_other(record):
    run(record, Trainer())
    whole = record.path.read_bytes()
    record.path.write_bytes(whole[:-20])
    assert len(record.runs()) == 5
    rest = Trainer()
    run(record, rest)
    assert rest.calls == [(0.5, 1002)]
    assert len(record.runs()) == 6
    assert record.path.read_bytes().startswith(whole[:-20] + b"\n{")


def test_what_is_no_run_is_passed_over(record):
    for line in ({"other": 1}, {"identity": "x"}):
        append_line(record.path, line)
    with record.path.open("ab") as file:
        file.write(b"[1]\n\xff\xfe\n\n")
    record.append(RUN)
    assert list(record.runs().values()) == [RUN]


def test_another_config_or_other_data_do_not_mix():
    arm = Arm("a", {"task": {"name": "digits", "path": "here"}, "seed": 0, "budget": {"trials": 3}, "workers": 1})
    same = replace(
        arm, label="b", config={"task": {"path": "there", "name": "digits"}, "seed": 5, "budget": {}, "workers": 2}
    )
    assert same.identity == arm.identity
    assert replace(arm, data="other").identity != arm.identity
    assert replace(arm, config={**arm.config, "task": {"name": "table"}}).identity != arm.identity


def test_what_fails_is_a_finding_and_tried_again_when_asked_again(record):
    found = run(record, Trainer(wrong=[(0.5, 1001)]))
    failed = found[ARMS[1].identity, 1001]
    assert (failed.state, failed.reason) == ("failed", "RuntimeError: out of memory")
    assert isnan(failed.value("score"))
    again = Trainer()
    assert run(record, again)[ARMS[1].identity, 1001].state == "complete"
    assert again.calls == [(0.5, 1001)]
    assert all(one.state == "complete" for one in record.runs().values())


def test_it_stops_where_every_arm_fails(record):
    with pytest.raises(StudyStopped, match=r"all of 2 runs under the first seed failed.*out of memory"):
        run(record, Trainer(wrong=[(0.1, 1000), (0.5, 1000)]))


def test_a_score_that_is_no_number_is_kept_as_none(record):
    found = run(record, lambda job: Outcome("complete", {"score": float("nan")}))
    assert {one.metrics["score"] for one in found.values()} == {None}
    assert all(isnan(one.value("score")) for one in record.runs().values())


def test_a_metric_that_is_not_reported_is_refused(record):
    with pytest.raises(InputError, match=r"^metric must be one of \(score\), but got 'f1'"):
        run(record, Trainer(), metric="f1")


def test_seeds_are_not_the_studys():
    assert seeds_after(3, 4) == [1003, 1004, 1005, 1006]


def test_limits_are_lifted():
    budget = {"trials": 60, "bytes": 3000, "params": 5}
    assert unlimited({"x": 1, "budget": budget}) == {
        "x": 1,
        "budget": {"trials": 60, "bytes": None, "params": None, "macs": None, "latency_ms": None},
    }


def test_results_are_whole_json(tmp_path):
    write_json(tmp_path / "new" / "a.json", {"x": float("nan"), "y": [float("inf"), 1.0]})
    assert json.loads((tmp_path / "new" / "a.json").read_text()) == {"x": None, "y": [None, 1.0]}
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["a.json"]
    assert lines(tmp_path / "nothing") == []
    assert as_json({1: (2,)}) == '{\n  "1": [\n    2\n  ]\n}'


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"over": ""}, r"^over= is missing"),
        ({"repeats": "4"}, r"^repeats must be a whole number of at least 5, but got '4'. Set repeats=20"),
        ({"from": "bset"}, r"^from must be one of .*Did you mean 'best'"),
        ({"values": "0.5"}, r"^values must be a list .*got '0.5'"),
        ({"values": "[0.5"}, r"^values=\[0.5 cannot be read"),
        ({"margin": "0"}, r"^margin must be a number above 0"),
        ({"margin": "wide"}, r"^margin must be a number above 0.*got 'wide'"),
    ],
)
def test_wrong_options_are_one_line(given, match):
    with pytest.raises(InputError, match=match) as error:
        read(Options, {**OPTIONS, **given})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [("[1e-3, relu]", [0.001, "relu"]), ("null", None), ("true", True), ("[[1,2],[3]]", [[1, 2], [3]])],
)
def test_values_are_read_as_a_config_reads_them(text, value):
    assert read_value("values", text) == value


@pytest.mark.parametrize(
    ("over", "given", "own", "values", "reference", "all_of_them"),
    [
        ("task.fraction", "", 0.5, [0.5, 1.0, 0.75], 1.0, [0.5, 1.0, 0.75]),
        ("network.activation", "", "silu", ["relu", "silu"], "silu", ["relu", "silu"]),
        ("network.activation", "", "gelu", ["relu", "silu"], "relu", ["relu", "silu"]),
        ("network.activation", "gelu", "silu", ["relu"], "gelu", ["relu", "gelu"]),
        ("optimizer.lr", "", 0.1, [0.1, 0.1, 0.3], 0.1, [0.1, 0.3]),
    ],
)
def test_the_reference_is_the_configs_own_value_or_the_largest_fraction(
    over, given, own, values, reference, all_of_them
):
    question = read(Options, {"over": over, "reference": given})
    assert question.arranged(own, values) == (reference, all_of_them)


def test_one_value_is_no_comparison():
    with pytest.raises(InputError, match=r"needs at least two values, but got \[0.5\]"):
        read(Options, OPTIONS).arranged(0.5, [0.5])
