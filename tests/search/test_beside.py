"""What simple models score beside a study's networks: fitted in a process of their own, stored once, shown in lines."""

import io
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
from optuna.trial import create_trial
from rich.console import Console

from kirigami.search.config.compose import compose
from kirigami.search.config.study import checked
from kirigami.search.report import results
from kirigami.search.report.page import page
from kirigami.search.study.facts import facts_of
from kirigami.search.study.record import Result
from kirigami.search.study.rivals import Rival, rivals_of
from kirigami.search.study.rows import Rows
from kirigami.search.study.study import note_rivals
from kirigami.search.workers import beside
from kirigami.tasks import rivals
from kirigami.tasks.bundled import BreastCancer

ROWS = 400


def hits(wrong):
    values = np.ones(ROWS)
    values[:wrong] = 0
    return Rows.build("accuracy", b"rows", values)


def rival(name, wrong, fitted_on=300, rows=True):
    stored = hits(wrong).to_plain() if rows else None
    return Rival(name, "C=1", {"accuracy": 1 - wrong / ROWS}, 0.5, 124, fitted_on, 300, stored)


@pytest.fixture
def study():
    study = optuna.create_study(direction="maximize")
    study.set_metric_names(["accuracy"])
    result = Result("complete", None, {"accuracy": 0.95}, rows=hits(20).to_plain(), figures={"bytes": 4000})
    study.add_trial(create_trial(value=0.95, user_attrs=result.to_attrs()))
    return study


def shown(study):
    out = io.StringIO()
    results.print_table(study, 3, Console(file=out, width=200))
    return out.getvalue()


def test_a_rival_that_wins_is_said_to(study, capsys):
    note_rivals(study, [rival("linear", 2), rival("trees", 18, fitted_on=30), rival("behind", 40)])
    text = shown(study)
    scores = "linear 0.9950 in 124 bytes, trees on 30 of 300 rows 0.9550 in 124 bytes, behind 0.9000 in 124 bytes"
    assert f"beside it  {scores} (accuracy, validation rows)" in text
    assert "linear is better than trial 0 by 0.045 (p 3.8e-06)" in text
    assert "trees is ahead of trial 0 by 0.005, not told apart (p 0.25)" in text
    assert "behind is" not in text
    assert "linear is better than trial 0" in page(study)
    results.print_json(study, 1)
    linear, _, behind = json.loads(capsys.readouterr().out)["rivals"]
    assert (linear["name"], linear["ahead_by"]) == ("linear", pytest.approx(0.045))
    assert "ahead_by" not in behind
    assert "rows" not in linear


def test_what_differs_by_rounding_alone_is_not_ahead(study):
    note_rivals(study, [replace(rival("linear", 20), metrics={"accuracy": 0.95 + 5e-9})])
    assert "ahead" not in shown(study)


def test_without_rows_a_rival_is_ahead_by_its_score_alone(study):
    note_rivals(study, [rival("linear", 2, rows=False)])
    assert "linear is ahead of trial 0 by 0.045 (no paired test)" in shown(study)


def test_rivals_without_the_objective_are_not_shown(study):
    study.set_metric_names(["cost"])
    note_rivals(study, [rival("linear", 2)])
    assert "linear" not in shown(study)


def test_rivals_are_stored_once(study):
    assert results.summary(study)["rivals"] == []
    note_rivals(study, [rival("linear", 2)])
    note_rivals(study, [rival("other", 3)])
    assert [row.name for row in rivals_of(study)] == ["linear"]
    assert rivals_of(study) == [rival("linear", 2)]


def test_a_process_fits_them_and_its_worker_stores_them(study):
    task = BreastCancer(seed=0)
    task.setup("fit")
    table = rivals.offer(task, task.validation)

    def store(models):
        note_rivals(study, beside.scored([task], "accuracy", [table], models))

    process = beside.start([table], store)
    process.process.wait()
    assert process.look()
    assert process.look()  # nothing is left to do
    linear, trees = rivals_of(study)
    assert (linear.name, trees.name) == ("logistic regression", "gradient boosting")
    assert Rows.from_plain(linear.rows).values.mean() == pytest.approx(linear.metrics["accuracy"])


def test_they_learn_from_all_train_rows_and_are_joined_over_folds(study, tmp_path):
    rows = "\n".join(f"{index / 60},{index % 7},{'ab'[index // 30]}" for index in range(60))
    (tmp_path / "rows.csv").write_text(f"x,y,z\n{rows}\n")
    changes = ["study=breast_cancer", "task=table", f"task.train={tmp_path}/rows.csv", "task.target=z", "name=rows"]
    smaller = ["task.validation={folds: 3}", "task.fraction=0.5", "imbalance=oversample"]
    settings = checked(compose([*changes, *smaller]))
    loop = SimpleNamespace(study=study, prepare=settings.resolved)
    begun = beside.begin(loop)
    begun.process.wait()
    assert begun.look()
    linear, _ = rivals_of(study)
    assert (linear.fitted_on, linear.train_rows) == (32, 32)  # of 48 that are not test rows
    assert len(Rows.from_plain(linear.rows).values) == 48
    assert beside.begin(loop) is None


def test_a_worker_that_is_asked_to_stop_waits_for_none(study):
    task = BreastCancer(seed=0)
    task.setup("fit")
    process = beside.start([rivals.offer(task, task.validation)], pytest.fail)
    process.finish(lambda: True)
    assert process.process.poll() is not None
    assert process.look()
    assert facts_of(study).rivals is None


def test_what_a_killed_process_has_fitted_is_read(study):
    outputs, written = np.eye(3, dtype=np.float32), io.BytesIO()
    for draw, name in ((0, "linear"), (0, "trees"), (2, "linear")):
        about = {"name": name, "settings": "", "seconds": 1.0, "bytes": 4, "draw": draw, "has_choice": False}
        written.write(json.dumps(about).encode() + b"\n")
        np.save(written, outputs)
    whole, cut = (beside.received(written.getvalue()[:end]) for end in (None, -5))
    assert [[model.name for model in draw] for draw in whole] == [["linear", "trees"], [], ["linear"]]
    assert [[model.name for model in draw] for draw in cut] == [["linear", "trees"]]
    assert (cut[0][0].outputs == outputs).all()
    assert cut[0][0].chooses is None
