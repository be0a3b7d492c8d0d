"""What is taken of a study: the smallest file that is not told apart from the best on the validation rows."""

import io
import json

import numpy as np
import optuna
import pytest
from optuna.trial import create_trial
from rich.console import Console

from kirigami.search.errors import InputError
from kirigami.search.export.choosing import pick
from kirigami.search.report import results
from kirigami.search.report.dashboard import note
from kirigami.search.report.page import page
from kirigami.search.study.choice import chosen, is_rival
from kirigami.search.study.ledger import Ledger
from kirigami.search.study.record import Result, stored_result
from kirigami.search.study.rows import Rows, p_worse
from kirigami.search.training.networks import Networks

ROWS = 400


def hits(wrong, of=b"rows"):
    """Rows of which the first `wrong` are not hit."""
    values = np.ones(ROWS)
    values[:wrong] = 0
    return Rows.build("accuracy", of, values)


def ended(wrong, size, rows=None):
    """A complete trial that has so many rows wrong, in a file of so many bytes."""
    rows = hits(wrong) if rows is None else rows
    accuracy = 1 - wrong / ROWS
    result = Result("complete", None, {"accuracy": accuracy}, rows=rows.to_plain(), figures={"bytes": size})
    return create_trial(value=accuracy, user_attrs=result.to_attrs())


@pytest.fixture
def memory_study():
    return optuna.create_study(direction="maximize")


@pytest.fixture
def study(memory_study):
    memory_study.set_metric_names(["accuracy"])
    memory_study.add_trials([ended(8, 4090), ended(12, 1288), ended(60, 300), ended(10, 2000), ended(8, 5000)])
    return memory_study


def test_the_smallest_file_not_told_apart_is_chosen(study):
    choice = chosen(study)
    assert (choice.best.number, choice.trial.number) == (0, 1)
    assert choice.p == pytest.approx(0.0625)  # 4 rows that the best alone has right: 1 / 2**4


def test_results_name_both(study, capsys):
    shown = io.StringIO()
    results.print_table(study, 3, Console(file=shown, width=200))
    line = "best trial 0: 0.9800, 4,090 bytes; smallest not told apart trial 1: 0.9700, 1,288 bytes (p 0.062)"
    assert line in shown.getvalue()
    results.print_json(study, 1)
    read = json.loads(capsys.readouterr().out)
    assert read["best"]["number"] == 0
    assert (read["chosen"]["number"], read["chosen"]["bytes"]) == (1, 1288)


@pytest.mark.parametrize("rows", [hits(8, b"other rows"), Rows("loss", hits(8).of, np.ones(ROWS)), None])
def test_without_the_same_rows_the_best_is_chosen(memory_study, rows):
    memory_study.set_metric_names(["accuracy"])
    memory_study.add_trials([ended(4, 900), ended(8, 300, rows)] if rows else [ended(4, 900)])
    if rows is None:
        memory_study.add_trial(create_trial(value=0.98, user_attrs=Result("complete", figures={"bytes": 3}).to_attrs()))
    choice = chosen(memory_study)
    assert choice.trial.number == choice.best.number == 0
    assert results.choice_line(memory_study) is None


def test_rows_are_stored_in_full():
    assert Rows.from_plain(json.loads(json.dumps(hits(7).to_plain()))).values.tolist() == hits(7).values.tolist()
    figures = Rows.build("auc", b"r", np.random.default_rng(0).normal(size=128))
    stored = figures.to_plain()
    assert len(json.dumps(stored)) < 800
    assert Rows.from_plain(stored).values == pytest.approx(figures.values, rel=1e-6)
    assert Rows.from_plain(stored).of == figures.of


def test_the_test_holds_its_level():
    generator = np.random.default_rng(0)
    p_values = []
    for _ in range(400):
        base = generator.normal(size=64)
        first, second = (Rows("auc", "r", base + generator.normal(size=64)) for _ in range(2))
        p_values.append(p_worse(first, second, -1))
    assert np.mean(np.array(p_values) < 0.05) == pytest.approx(0.05, abs=0.025)


def test_a_constant_lag_is_told_apart_and_no_difference_is_not():
    flat = Rows("mse", "r", np.full(5, 1.0))
    assert p_worse(Rows("mse", "r", np.full(5, 1.5)), flat, 1) == 0
    assert p_worse(flat, flat, 1) == 1


def test_export_takes_the_chosen_one_and_says_why(study, tmp_path):
    ((trial, reason),) = pick(study, "chosen", tmp_path)
    assert trial.number == 1
    assert reason.startswith("the smallest file not told apart (best trial 0: 0.9800, 4,090 bytes; ")
    assert pick(study, "best", tmp_path)[0].trial.number == 0
    assert pick(study, "2", tmp_path)[0].trial.number == 2
    for wanted in ("9", "front", "smallest"):
        with pytest.raises(InputError):
            pick(study, wanted, tmp_path)


@pytest.mark.parametrize(("confirmed", "number"), [([3, 0], 3), ([3, 2], 1)])
def test_the_verdict_of_confirm_is_taken_while_it_holds(study, tmp_path, confirmed, number):
    (tmp_path / "confirm").mkdir()
    answer = {"winner": 3, "trials": [{"trial": trial} for trial in confirmed], "seeds": list(range(10))}
    (tmp_path / "confirm" / "confirm.json").write_text(json.dumps(answer))
    ((trial, reason),) = pick(study, "chosen", tmp_path)
    assert trial.number == number
    words = "winner of `kirigami confirm` over 10 new seeds" if number == 3 else "older than trial 0, the best now"
    assert words in reason


def test_the_networks_of_the_best_and_the_chosen_are_kept(memory_study, tmp_path):
    memory_study.set_metric_names(["accuracy"])
    networks, kept = Networks(tmp_path, "s"), []
    for trial in (ended(8, 4090), ended(12, 1288), ended(11, 2000), ended(60, 300), ended(7, 3000)):
        ledger = Ledger().read(memory_study)
        memory_study.add_trial(trial)
        number = len(memory_study.trials) - 1
        save, figures = (lambda path: path.write_text("weights")), stored_result(trial)
        networks.keep_if_best(memory_study, number, trial.values, save, ledger, figures)
        kept.append(sorted(int(file.stem[-5:]) for file in tmp_path.iterdir()))
    assert kept == [[0], [0, 1], [0, 1], [0, 1], [4]]


def test_a_larger_file_is_no_rival(study):
    trials = study.get_trials()
    assert is_rival(study, stored_result(trials[1]), trials[0])
    assert not is_rival(study, stored_result(trials[4]), trials[0])
    assert not is_rival(study, stored_result(trials[2]), trials[0])


def test_a_mean_of_several_networks_says_how_sure_it_is(memory_study):
    memory_study.set_metric_names(["auc"])
    folds = {"scores": {"auc": [0.7, 0.8]}, "error": {"auc": 0.05}}
    memory_study.add_trial(create_trial(value=0.75, user_attrs=Result("complete", folds=folds).to_attrs()))
    line = "trial 0 is the mean of 2 networks (0.7000, 0.8000), standard error 0.0500"
    assert results.folds_line(memory_study) == line
    assert results.summary(memory_study)["best"]["folds"] == folds
    assert f"Trial {line[6:]}. " in page(memory_study)
    assert f"Trial {line[6:]}." in note.text(memory_study)
