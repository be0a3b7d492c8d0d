"""What a trial of several networks leaves: a network trained on all rows but the test rows, cut and tested."""

import io
import json
from dataclasses import replace
from functools import partial

import onnxruntime
import optuna
import pandas as pd
import pytest
from rich.console import Console

from kirigami.search.comparing import training
from kirigami.search.config.settings import TrialConfig
from kirigami.search.export.options import Options
from kirigami.search.export.run import export_study
from kirigami.search.study import study as studies
from kirigami.search.study.record import Origin, Result, write
from kirigami.search.training import alone
from kirigami.search.training.building import open_task
from tests.search.folded import job_of, write_table

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("table"))


def study_of(job):
    """A study in memory with the job's trial, trained."""
    outcome = alone.train(job)
    study = studies.create(optuna.storages.InMemoryStorage(), "s", {"auc": "maximize"}, {"a": 1})
    trial = study.ask()
    result = Result.from_details(state="complete", metrics=outcome.metrics, curve=job.curve, details=job.details)
    for fact in (Origin(job.config), result):
        write(fact, trial.set_user_attr)
    study.tell(trial, outcome.metrics["auc"])
    studies.check_data(study, open_task(TrialConfig.from_resolved(job.config)).fingerprint())
    return study


@pytest.mark.parametrize("validation", ["{folds: 3}", "0.25"])
def test_export_trains_on_all_rows_but_the_test_rows(data, tmp_path, validation):
    study, said = study_of(job_of(data, validation, "output.threshold=balanced_accuracy")), io.StringIO()
    options = Options.read({"trial": "chosen", "refit": validation == "0.25", "twin": False})
    folder = export_study(study, tmp_path, options, Console(file=said, width=400))
    card = json.loads((folder / "card.json").read_text())
    assert card["refit"]
    assert card["notes"][0].startswith("trained again on all 72 rows but the test rows; the cuts are those")
    assert card["test"]["rows"] == 18
    judged = card["validation"]
    assert judged["value"] == pytest.approx(study.best_value)
    assert judged["optimism"] == pytest.approx(study.best_value - card["test"]["value"])
    assert judged["networks"] == (3 if validation != "0.25" else 1)
    assert judged["error"] > 0
    line = f"{abs(judged['optimism']):.4f} ± {judged['error']:.4f} {'better' if judged['optimism'] >= 0 else 'worse'}"
    assert line in said.getvalue()
    assert line in (folder / "card.md").read_text()
    assert card["data"]["fingerprint"] == study.user_attrs["data"]
    rows = pd.read_csv(data / "rows.csv")[["a", "b", "c"]].to_numpy("float64")
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    assert session.run(None, {"input": rows})[0].shape == (90, 2)


def test_confirm_tests_a_network_of_all_rows_for_each_repeat(data, tmp_path):
    job = job_of(data, "{folds: 3}", "output.threshold=f1")
    outcome = training.retrain_whole(replace(job, config={**job.config, "seed": 5}), split=0)
    outcome.trained.save(tmp_path / "network.safetensors")
    assert len(outcome.trained.task.train.targets) == 72
    score = partial(training.scores_on_test, [tmp_path / "network.safetensors"], TrialConfig.from_resolved(job.config))
    outcome.trained.task.setup("test")
    network, task = outcome.trained.network, outcome.trained.task
    ((inputs, targets),) = task.test_dataloader()
    (scored,) = score(0)
    assert scored == pytest.approx(task.evaluate(network.eval()(inputs).detach(), targets))
