"""One repeat of a config, never trained on the study's test rows, and what a network scores on these in the end."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kirigami import tasks
from kirigami.errors import at
from kirigami.search.config.settings import TrialConfig
from kirigami.search.errors import InputError
from kirigami.search.export.finish import metrics_of
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


def scores_on_test(files: Sequence[Path], config: TrialConfig, split: int) -> list[dict[str, float]]:
    """Open the test rows of a split and return all metrics of each network kept in a file.

    Raises:
        InputError: where a network cannot be built again, or has no forward.
    """
    networks = [load(file)[0] for file in files]
    with at("task"):
        task = tasks.build(config.task, seed=split)
        task.setup("fit")
        task.setup("test")
    try:
        return [metrics_of(network, task, "test") for network in networks]
    except NotImplementedError as error:
        raise InputError("the network has no forward, so that its test rows cannot be scored.") from error
