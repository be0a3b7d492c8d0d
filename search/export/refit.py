"""The chosen configuration trained again on all rows but the test rows, with the cuts that its judged network passed.

No row is left to judge by. So a network that has not seen the validation rows is cut first and judged by them, as ever;
then the same cuts are made to the one that is trained on all rows. Temperature and threshold are those of the search,
of several networks their mean.
"""

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from optuna.trial import FrozenTrial

from kirigami import tasks
from kirigami.errors import ArgumentError
from kirigami.search.config.settings import TrialConfig
from kirigami.search.errors import InputError, one_line
from kirigami.search.export.finish import Finished, cut_alike
from kirigami.search.study.record import result_of
from kirigami.search.training.alone import train_draw
from kirigami.search.training.building import load
from kirigami.search.training.job import Job
from kirigami.search.training.networks import about_file

WORDS = (
    "trained again on all {rows:,} rows but the test rows; the cuts are those that a network passed which had not seen "
    "the validation rows"
)


class Refit(NamedTuple):
    """A network that is trained on all rows but the test rows, its recipes, and its task."""

    done: Finished
    recipes: list[dict[str, Any]]
    task: tasks.Task


def refit(config: TrialConfig, trial: FrozenTrial, judged: Finished) -> Refit:
    """Train a trial's configuration on all rows but the test rows, and cut it as a judged network of it was cut.

    Args:
        config: the trial's, on the device and the data that it is trained on.
        trial: whose record has what was chosen on validation rows.
        judged: a network of it that has not seen the validation rows, cut.

    Raises:
        InputError: where it cannot be trained.
    """
    figures = result_of(trial).figures
    chosen = {name: float(figures[name]) for name in ("temperature", "threshold") if name in figures}
    try:
        trained = train_draw(Job(trial.number, config.plain, lambda fidelity, metrics: None), None, chosen={})
        with tempfile.TemporaryDirectory(prefix="kirigami-refit-") as folder:
            path = Path(folder) / "network.safetensors"
            trained.save(path)  # from which it has its final form, as a network that was kept
            network, recipes = load(path)[0], about_file(path)["recipes"]
        trained.task.device = "cpu"  # as for the judged network
        done = cut_alike(network, config, trained.task, judged, chosen)
    except (ArgumentError, ValueError) as error:
        raise InputError(f"trial {trial.number} cannot be trained on all rows: {one_line(error)}") from error
    done.notes.insert(0, WORDS.format(rows=len(trained.task.train.targets)))
    return Refit(done, recipes, trained.task)
