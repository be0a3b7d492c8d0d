"""A trial that trains a network for each fold: what it reports, what is stored, how it ends and goes on."""

import math
from statistics import fmean, stdev

import pytest
import torch

from kirigami.search.study.record import Result
from kirigami.search.study.rows import Rows, p_worse
from kirigami.search.training import alone
from kirigami.search.training.job import Pruned
from tests.search.checkpointed import Kept, measured
from tests.search.folded import EPOCHS, job_of, write_table


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("table"))


def trained(job):
    return alone.train(job), job


@pytest.fixture(scope="module")
def of_folds(data):
    kept = Kept()
    outcome, job = trained(job_of(data, kept=kept))
    return outcome, job, kept


def test_the_first_fold_streams_and_each_later_one_reports_the_mean_so_far(of_folds):
    outcome, job, _ = of_folds
    scores = job.details["folds"]["scores"]["auc"]
    assert [fidelity for fidelity, _ in job.curve] == [1, 2, 3, 6, 9]
    assert [metrics["auc"] for _, metrics in job.curve][2:] == pytest.approx([fmean(scores[:n]) for n in (1, 2, 3)])
    assert len(scores) == 3
    assert outcome.metrics["auc"] == pytest.approx(fmean(scores))
    assert job.details["folds"]["error"]["auc"] == pytest.approx(stdev(scores) / math.sqrt(3))
    assert outcome.trained is None
    assert "folds_so_far" not in job.details


def test_what_rows_add_is_that_of_all_folds(of_folds):
    outcome, job, _ = of_folds
    rows = Rows.from_plain(job.details["rows"])
    assert rows.values.mean() == pytest.approx(outcome.metrics["auc"], abs=0.02)
    assert len(rows.values) == 72  # all but the test rows, each judged once


def test_hits_of_all_folds_stand_side_by_side(data):
    outcome, job = trained(job_of(data, metric="accuracy"))
    rows = Rows.from_plain(job.details["rows"])
    assert rows.are_hits
    assert len(rows.values) == 72
    assert rows.values.mean() == pytest.approx(outcome.metrics["accuracy"])  # folds of 24 rows each


def test_the_record_reads_back(of_folds):
    _, job, _ = of_folds
    result = Result.from_details(state="complete", details=job.details)
    read = Result.from_attrs(result.to_attrs())
    assert read.folds == job.details["folds"]
    assert read.rows == job.details["rows"]
    assert not {"folds", "rows"} & set(read.figures)


@pytest.mark.parametrize("place", [0.2, 0.5, 0.9])
def test_a_killed_worker_goes_on_in_the_fold_it_was_in(data, of_folds, place):
    outcome, job, kept = of_folds
    fidelity, state = kept.put_in[int(place * len(kept.put_in))]
    again, resumed = trained(job_of(data, kept=Kept((fidelity, state))))
    assert resumed.details["resumed_from"]["fidelity"] == fidelity
    assert resumed.curve == job.curve
    assert measured(again.metrics) == measured(outcome.metrics)
    assert measured(resumed.details) == measured(job.details)


def test_a_pruner_stops_after_a_fold_and_what_was_done_is_noted(data):
    def stop(fidelity, metrics):
        if fidelity == 2 * EPOCHS:
            raise Pruned("enough")

    job = job_of(data, on_report=stop)
    with pytest.raises(Pruned):
        alone.train(job)
    assert len(job.details["folds"]["scores"]["auc"]) == 2
    assert "folds_so_far" not in job.details


def test_repeats_share_rows_and_their_error_says_so(data):
    outcome, job = trained(job_of(data, "{repeats: 2, share: 0.25}"))
    scores = job.details["folds"]["scores"]["auc"]
    assert outcome.metrics["auc"] == pytest.approx(fmean(scores))
    assert job.details["folds"]["error"]["auc"] == pytest.approx(stdev(scores) * math.sqrt(1 / 2 + 18 / 54))
    single, _ = trained(job_of(data, "0.25"))
    assert single.metrics["auc"] == scores[0]  # the first repeat is the plain share, to the last digit
    assert single.trained is not None


def test_the_whole_is_trained_on_all_but_the_test_rows(data):
    job = job_of(data, "{folds: 3}", "output.threshold=0.3")
    assembly = alone.train_draw(job, None, chosen={"threshold": 0.3})
    assert len(assembly.task.train.inputs) == 72
    plain = alone.train_draw(job_of(data, "{folds: 3}"), None)
    last, other = (list(each.network.parameters())[-1].detach() for each in (assembly, plain))
    assert float((other - last)[1]) == pytest.approx(math.log(0.3 / 0.7), rel=1e-4)
    assert torch.equal(other[:1], last[:1])


def test_figures_of_the_same_rows_pair_whatever_share_is_trained_on(data):
    rows = []
    for share in (0.5, 1.0):
        job = job_of(data, "0.25", "task.target=b", f"task.fraction={share}", metric="rmse")
        alone.train(job)
        rows.append(Rows.from_plain(job.details["rows"]))
    assert rows[0].of == rows[1].of
    assert p_worse(*rows, sign=1) is not None
