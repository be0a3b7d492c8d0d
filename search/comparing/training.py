"""One repeat of a config, never trained on the study's test rows, and what a network scores on these in the end."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kirigami import tasks
from kirigami.errors import at
from kirigami.search.config.settings import TrialConfig
from kirigami.search.errors import InputError
from kirigami.search.export.judge import is_own_module, logged, metrics_of
from kirigami.search.training import alone as trial
from kirigami.search.training.building import load
from kirigami.search.training.job import Job, Outcome


def repeat(job: Job, test_split: int, threads: int | None = None) -> Outcome:
    """Train the job's config on a split of its own seed, but for the test rows, which are those of another.

    Args:
        test_split: seed of the test rows: the study's.
        threads: as for `trial.train`.
    """
    return trial.train(job, threads, test_split=test_split)


def retrain(job: Job, split: int, threads: int | None = None) -> Outcome:
    """Train the job's config with the rows split by another seed than its own, which draws weights and batches.

    A search selects on the validation rows of its split. Were the rows split anew, those test rows would be drawn from
    rows that had a part in the selection.

    Args:
        split: seed of the split.
        threads: as for `trial.train`.
    """
    outcome = trial.train(job, threads, split)
    measured = {name: value for name, value in outcome.metrics.items() if name != "seconds"}  # which the run has itself
    return replace(outcome, metrics=measured)


def retrain_whole(job: Job, split: int) -> Outcome:
    """Train the job's config, of several networks a trial, on all rows but the test rows, as an export of it does.

    Args:
        split: seed of the split.
    """
    chosen: dict[str, float] = {}
    if any(job.config["output"][key] != "none" for key in ("calibration", "threshold")):
        judged = replace(job, details={}, curve=[])
        trial.train(judged, split=split)
        chosen |= {name: judged.details[name] for name in ("temperature", "threshold") if name in judged.details}
    return Outcome("complete", trained=trial.train_draw(job, None, split, chosen))


def scores_on_test(files: Sequence[Path], config: TrialConfig, split: int) -> list[dict[str, float]]:
    """Open the test rows of a split and return all metrics of each network kept in a file.

    Those of a user's own LightningModule are what its validation logs of them.

    They are prepared as the networks' train rows were: where a trial has several networks, all but the test rows.

    Raises:
        InputError: where a network cannot be built again, or has no forward.
    """
    networks = [load(file)[0] for file in files]
    with at("task"):
        task = tasks.build(config.task, seed=split)
        task.fold = 0 if task.draws == 1 else None
        task.setup("fit")
        task.setup("test")
    try:
        if is_own_module(config, task):
            return [logged(network, config, task, "test") for network in networks]
        return [metrics_of(network, task, "test") for network in networks]
    except NotImplementedError as error:
        raise InputError("the network has no forward, so that its test rows cannot be scored.") from error
