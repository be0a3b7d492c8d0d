"""Where trials stand, in words: one set of counts, and why a trial is not the best."""

import io
import json

import numpy as np
import pytest
from optuna.trial import TrialState, create_trial
from rich.console import Console
from rich.table import Table

from kirigami.search.report import results
from kirigami.search.report.dashboard import note
from kirigami.search.report.page import page
from kirigami.search.report.progress import Progress
from kirigami.search.report.tables import number, plain_console, score, settings
from kirigami.search.report.wording import counted, excess, why
from kirigami.search.study import study as studies
from kirigami.search.study.ledger import Ledger
from kirigami.search.study.ranking import best_trial, beyond, front
from kirigami.search.study.record import Origin, Result
from kirigami.search.study.states import MEANING, STATES
from kirigami.spaces import Budget

LIMIT = 3000


def ended(state, accuracy=None, size=None, reason=None):
    """A trial as the loop leaves it."""
    metrics = {} if accuracy is None else {"accuracy": accuracy, "bytes": float(size)}
    result = Result(state, reason, metrics, wall_s=1.0, figures={} if size is None else {"bytes": size})
    optunas = {"complete": TrialState.COMPLETE, "failed": TrialState.FAIL, "paused": TrialState.FAIL}
    trial = create_trial(
        state=optunas.get(state, TrialState.PRUNED),
        value=accuracy,
        user_attrs={**Origin({"budget": {"bytes": LIMIT}}).to_attrs(), **result.to_attrs()},
    )
    if size is not None:
        trial.set_constraint("bytes", size / LIMIT - 1)
    return trial


@pytest.fixture
def study(open_store, sqlite_url, name):
    made = studies.create(open_store(sqlite_url), name, {"accuracy": "maximize"}, {"space": "s"})
    made.add_trials(
        [
            *(ended("complete", 0.9944, 2161), ended("complete", 1.0, 4090), ended("complete", 0.99, 5000)),
            *(ended("infeasible", reason="at least 9 bytes"), ended("pruned", reason="accuracy 0.1 at fidelity 3")),
            *(ended("failed", reason="ValueError: no"), ended("paused", reason="at fidelity 3")),
        ]
    )
    return made


WORDS = "1 complete, 2 over the budget, 1 over the budget before training, 1 pruned, 1 failed, 1 paused"


def test_one_set_of_counts_stands_everywhere(study, capsys):
    shown = io.StringIO()
    results.print_table(study, 3, Console(file=shown, width=100))
    assert shown.getvalue().count(f"6 trials: {WORDS}\n") == 1
    assert f"6 trials: {WORDS}" in page(study)
    assert f"trials: 6 ({WORDS})" in note.text(study)
    results.print_json(study, 3)
    counts = json.loads(capsys.readouterr().out)["trials"]
    assert list(counts) == list(STATES)
    assert [counts[state] for state in ("complete", "over", "infeasible", "pruned", "failed", "paused")] == [
        *(1, 2, 1, 1, 1, 1)
    ]
    assert sum(counts.values()) == len(study.trials)


def test_a_trials_line_says_why_it_is_not_the_best(study):
    trials = study.get_trials(deepcopy=False)
    lines = [why(study, trial) for trial in trials]
    assert lines == [
        *("accuracy 0.9944", "accuracy 1.0000, 4,090 bytes: over 3,000", "accuracy 0.9900, 5,000 bytes: over 3,000"),
        *("at least 9 bytes", "accuracy 0.1 at fidelity 3", "ValueError: no", "at fidelity 3"),
    ]
    shown = io.StringIO()
    console = Console(file=shown, width=100)
    results.print_table(study, 3, console)
    assert "better, but over the budget: trial 1: accuracy 1.0000, 4,090 bytes: over 3,000" in shown.getvalue()


def test_the_log_has_the_same_words(study):
    shown = io.StringIO()
    progress = Progress(Console(file=shown, width=120), Budget(trials=9), began=-1e9)
    progress.update((study, Ledger().read(study)))
    lines = shown.getvalue().splitlines()
    assert lines[0].split() == ["trial", "0", "complete", "1.00", "s", "accuracy", "0.9944", "best", "so", "far"]
    assert lines[1].split()[2] == "over"
    assert lines[1].endswith("accuracy 1.0000, 4,090 bytes: over 3,000")
    assert lines[6].split()[2] == "paused"


def test_what_is_over_the_budget_is_in_no_ranking(study):
    assert best_trial(study).number == 0
    assert [trial.number for trial in front(study)] == [0]
    assert beyond(study).number == 1


def test_an_excess_of_an_unknown_limit_is_a_share():
    trial = create_trial(value=1.0)
    trial.set_constraint("bytes", 0.25)
    assert excess(trial) == "bytes 25 % over its limit"


def test_every_state_has_a_meaning():
    assert set(STATES) == set(MEANING)
    assert counted(Ledger()) == "0 trials"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, ""), (7354, "7,354"), (0.123456, "0.1235"), (12345.678, "1.235e+04"), ("relu", "relu"), (True, "True")],
)
def test_numbers(value, shown):
    assert number(value) == shown


def test_numbers_that_are_none_and_formats():
    assert number(float("nan")) == "nan"
    assert number(0.5, "+.3f") == "+0.500"


@pytest.mark.parametrize(
    ("value", "shown"), [(1.0, "1.0000"), (0.99437, "0.9944"), (4090.0, "4,090"), (2e-5, "2e-05"), (12.5, "12.5000")]
)
def test_scores(value, shown):
    assert score(value) == shown


def test_settings_are_as_they_are_given_on_the_command_line():
    assert settings({"optimizer.lr": 0.185123, "network.width": 1024}) == "optimizer.lr=0.1851 network.width=1024"


def test_the_front_of_several_objectives_is_optunas(memory_study):
    assert {trial.number for trial in front(memory_study)} == {trial.number for trial in memory_study.best_trials}


@pytest.fixture(params=range(3))
def memory_study(request, name):
    draw = np.random.default_rng(request.param)
    made = studies.optuna.create_study(study_name=name, directions=["maximize", "minimize", "minimize"])
    for values in draw.integers(0, 6, (40, 3)):
        trial = create_trial(values=[float(value) for value in values])
        trial.set_constraint("bytes", float(draw.integers(-3, 2)))
        made.add_trial(trial)
    return made


def test_brackets_and_colons_in_a_name_are_printed_as_they_are():
    written = io.StringIO()
    console = plain_console(file=written, width=80)
    table = Table("a column that is wide", title="[red] :smile:")
    table.add_row("[/b]")

    console.print("folder/[/b] :smile:", highlight=False)
    console.print(table)

    assert written.getvalue().startswith("folder/[/b] :smile:\n")
    assert "[red] :smile:" in written.getvalue()
    assert "[/b]" in written.getvalue().partition("\n")[2]
