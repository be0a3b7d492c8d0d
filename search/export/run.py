"""The `export` verb: a trial's network, cut for the last time, as files that are checked before they are kept."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial
from rich.console import Console
from torch import nn

from kirigami import tasks
from kirigami.errors import at
from kirigami.search.config.settings import TrialConfig
from kirigami.search.errors import InputError, StudyStopped, one_line
from kirigami.search.export import card as cards
from kirigami.search.export.choosing import Pick, pick
from kirigami.search.export.files import compare, written
from kirigami.search.export.finish import finish
from kirigami.search.export.folder import replaced
from kirigami.search.export.judge import judge_of, outputs_of
from kirigami.search.export.optimism import optimism, sentence
from kirigami.search.export.options import Options
from kirigami.search.export.refit import refit
from kirigami.search.export.twin import dense_twin
from kirigami.search.storage.artifacts import Artifacts
from kirigami.search.study import study as studies
from kirigami.search.study.provenance import origin_of
from kirigami.search.training import trainer as trainers
from kirigami.search.training.alone import train_draw
from kirigami.search.training.building import load, open_task
from kirigami.search.training.job import Job, Trained
from kirigami.search.training.networks import Networks, about_file


def export_study(
    study: Study, folder: Path, options: Options, console: Console, artifacts: Artifacts | None = None
) -> Path:
    """Export the trials asked for into `folder`/export and return that folder.

    Args:
        study: its study.
        folder: the study's.
        options: what the user asked for.
        console: where to say what is done.
        artifacts: where workers on other machines have put the networks of the best trials.

    Raises:
        InputError: where there is no such trial.
        StudyStopped: where the forms of the network do not agree; then what was there stays.
    """
    picks = pick(study, options.trial, folder)
    target = folder / "export"
    with replaced(target) as unfinished:
        for trial, reason in picks:
            console.print(f"trial {trial.number}: {reason}", highlight=False, markup=False)
            into = unfinished if len(picks) == 1 else unfinished / f"trial-{trial.number:05d}"
            into.mkdir(exist_ok=True)
            Networks(folder / "networks", study.study_name, artifacts).fetch(trial.number)
            card = export_trial(study, Pick(trial, reason), folder, into, options, console)
            console.print(cards.summary(card), highlight=False)
    return target


def export_trial(
    study: Study, picked: Pick, folder: Path, into: Path, options: Options, console: Console
) -> dict[str, Any]:
    """Write the files of a trial and return its card."""
    trial = picked.trial
    trainers.quiet()
    with console.status(f"trial {trial.number}: reading its network"):
        network, trained, recipes = obtain(study, trial, folder, console, options.path)
    config = trained.with_changes(trainer={"device": "cpu"})
    try:
        task = open_task(config)
    except ValueError as error:
        raise InputError(f"{one_line(error)} Or say where the data lie now: path=FOLDER.") from error
    check_data(study, task)
    judge = judge_of(study, config, task, options.tolerance)
    with console.status(f"trial {trial.number}: last cuts, judged on validation rows"), _exporting(trial):
        judged = done = finish(network, config, judge)
    is_refit = options.refit or task.draws > 1
    if is_refit:
        with console.status(f"trial {trial.number}: training it again on all rows but the test rows"):
            done, recipes, task = refit(trained, trial, judged)
    with _exporting(trial):
        files = written(done, config.network, recipes, task)
    open_test_rows(task, console)  # nothing is chosen any more
    with console.status(f"trial {trial.number}: comparing all forms on the test rows"), _exporting(trial):
        agreed = compare(done.network, files, task)
    twin = dense_twin(config, task, judge, console) if options.twin and config.methods else None
    card = cards.card_of(study, trial, done, files, task, judge, agreed, twin, config)
    tested = outputs_of(done.network, task, "test")
    card["validation"] |= optimism(trial, judged, judge, tested, card["test"]["value"], is_refit=is_refit)
    card |= {"choice": picked.reason, "refit": is_refit}
    console.print(sentence(card), highlight=False)
    for name, data in files.items():
        (into / name).write_bytes(data)
    (into / "card.json").write_text(cards.as_json(card))
    (into / "card.md").write_text(cards.as_markdown(card))
    return card


@contextmanager
def _exporting(trial: FrozenTrial) -> Iterator[None]:
    """Turn whatever a network, or what writes and runs its files, raises into a line.

    Raises:
        StudyStopped: naming the trial and the reason.
    """
    try:
        yield
    except (InputError, StudyStopped, OSError, MemoryError):
        raise
    except Exception as error:
        raise StudyStopped(f"trial {trial.number} cannot be exported: {one_line(error)}") from error


def open_test_rows(task: tasks.Task, console: Console) -> None:
    """Read the test rows, and say what is to be known of them.

    Raises:
        ArgumentError: naming the file, the row and the column that cannot be read.
    """
    before = len(task.notices)
    with at("task"):
        task.setup("test")
    for line in task.notices_at("task")[before:]:
        console.print(line, highlight=False, markup=False)


def obtain(
    study: Study, trial: FrozenTrial, folder: Path, console: Console, data: str | None = None
) -> tuple[nn.Module, TrialConfig, list[dict[str, Any]]]:
    """Return a trial's network, config and recipes: as it was kept, or trained again from its record.

    Args:
        study: its study.
        trial: which one.
        folder: the study's.
        console: where to say that it is trained again.
        data: where the data lie now; None is where the trial read them.
    """
    path = Networks(folder / "networks", study.study_name).path(trial.number)
    made_by = dict(origin_of(trial).config)
    if not path.exists() or about_file(path)["config"] != made_by:  # a deleted trial had the number before
        console.print(f"trial {trial.number}: its weights were not kept; training it again", highlight=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        train_again(trial, data).save(path)
    network, config = load(path)
    return network, _moved(config, data), about_file(path)["recipes"]


def train_again(trial: FrozenTrial, data: str | None = None) -> Trained:
    """Train a trial again from its record; return what it has trained, of several networks the first.

    Raises:
        InputError: where its data or its own code are not what they were.
    """
    config = _moved(TrialConfig.from_resolved(origin_of(trial).config), data)
    try:
        return train_draw(Job(trial.number, config.plain, lambda fidelity, metrics: None), 0)
    except ValueError as error:
        raise InputError(f"trial {trial.number} cannot be trained again: {one_line(error)}") from error


def _moved(config: TrialConfig, data: str | None) -> TrialConfig:
    return config if data is None else config.with_changes(task={"path": data})


def check_data(study: Study, task: tasks.Task) -> None:
    """Refuse data that differ from the study's.

    Raises:
        InputError: where the fingerprints differ.
    """
    studies.check_data(study, task.fingerprint())
