"""The `export` verb: a trial's network, cut for the last time, as files that are checked before they are kept."""

from pathlib import Path
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from torch import nn

from kirigami import tasks
from kirigami.search.config.settings import TrialConfig
from kirigami.search.errors import InputError, StudyStopped, one_line
from kirigami.search.export import card as cards
from kirigami.search.export.files import compare, written
from kirigami.search.export.finish import Judge, finish
from kirigami.search.export.folder import replaced
from kirigami.search.export.options import Options
from kirigami.search.export.twin import dense_twin
from kirigami.search.storage.artifacts import Artifacts
from kirigami.search.study import ranking
from kirigami.search.study import study as studies
from kirigami.search.study.record import Origin
from kirigami.search.training import trainer as trainers
from kirigami.search.training.alone import train
from kirigami.search.training.building import load, open_task
from kirigami.search.training.job import Job
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
    chosen = choose(study, options.trial)
    target = folder / "export"
    with replaced(target) as unfinished:
        for one in chosen:
            into = unfinished if len(chosen) == 1 else unfinished / f"trial-{one.number:05d}"
            into.mkdir(exist_ok=True)
            Networks(folder / "networks", study.study_name, artifacts).fetch(one.number)
            card = export_trial(study, one, folder, into, options, console)
            console.print(cards.summary(card), highlight=False)
    return target


def choose(study: Study, asked: str) -> list[FrozenTrial]:
    """Return the trials meant by "best", "front" or a number.

    Raises:
        InputError: where there are none.
    """
    if asked == "front" and len(study.directions) == 1:
        raise InputError("trial=front needs a study of several objectives. Set trial=best, or trial=NUMBER.")
    if asked in ("best", "front"):
        best = ranking.best_trial(study)
        found = ranking.front(study) if asked == "front" else [best] if best else []
        if not found:
            raise InputError(f"study={study.study_name} has no complete trial within its budget yet. Search on.")
        return found
    if not asked.isdigit():
        raise InputError(f"trial must be best, front or a trial's number, but got {asked!r}.")
    known = study.get_trials(deepcopy=False)
    if int(asked) >= len(known) or known[int(asked)].state is not TrialState.COMPLETE:
        state = known[int(asked)].state.name.lower() if int(asked) < len(known) else "not there"
        raise InputError(f"trial={asked} of study={study.study_name} is {state}, and only complete ones are exported.")
    return [known[int(asked)]]


def export_trial(
    study: Study, one: FrozenTrial, folder: Path, into: Path, options: Options, console: Console
) -> dict[str, Any]:
    """Write the files of one trial and return its card."""
    trainers.quiet()
    with console.status(f"trial {one.number}: reading its network"):
        network, trained, recipes = obtain(study, one, folder, console, options.path)
    config = trained.with_changes(trainer={"device": "cpu"})
    try:
        task = open_task(config)
    except ValueError as error:
        raise InputError(f"{one_line(error)} Or say where the data lie now: path=FOLDER.") from error
    check_data(study, task)
    judge = Judge(task, judged_by(study, task), options.tolerance)
    with console.status(f"trial {one.number}: last cuts, judged on validation rows"):
        done = finish(network, config, judge)
    try:
        files = written(done, config.network, recipes, task)
    except ValueError as error:
        raise StudyStopped(f"trial {one.number} cannot be exported: {one_line(error)}") from error
    task.setup("test")  # nothing is chosen any more
    with console.status(f"trial {one.number}: comparing all forms on the test rows"):
        agreed = compare(done.network, files, task)
    twin = dense_twin(config, task, judge.metric, console) if options.twin and config.methods else None
    card = cards.card_of(study, one, done, files, task, judge, agreed, twin, config)
    for name, data in files.items():
        (into / name).write_bytes(data)
    (into / "card.json").write_text(cards.as_json(card))
    (into / "card.md").write_text(cards.as_markdown(card))
    return card


def obtain(
    study: Study, one: FrozenTrial, folder: Path, console: Console, data: str | None = None
) -> tuple[nn.Module, TrialConfig, list[dict[str, Any]]]:
    """Return a trial's network, config and recipes: as it was kept, or trained again from its record.

    Args:
        study: its study.
        one: the trial.
        folder: the study's.
        console: where to say that it is trained again.
        data: where the data lie now; None is where the trial read them.
    """
    path = Networks(folder / "networks", study.study_name).path(one.number)
    if path.exists():
        network, config = load(path)
        return network, _moved(config, data), about_file(path)["recipes"]
    origin = Origin.from_attrs(one.user_attrs)
    assert origin is not None, "a trial that has ended was begun"
    config = _moved(TrialConfig.from_resolved(origin.config), data)
    console.print(f"trial {one.number}: its weights were not kept; training it again", highlight=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        outcome = train(Job(one.number, config.plain, lambda fidelity, metrics: None))
    except ValueError as error:
        raise InputError(f"trial {one.number} cannot be trained again: {one_line(error)}") from error
    assert outcome.made is not None, "a trial without pruner and budget is complete"
    outcome.made.save(path)
    return obtain(study, one, folder, console, data)


def _moved(config: TrialConfig, data: str | None) -> TrialConfig:
    return config if data is None else config.with_changes(task={"path": data})


def check_data(study: Study, task: tasks.Task) -> None:
    """Refuse data that differ from the study's.

    Raises:
        InputError: where the fingerprints differ.
    """
    studies.check_data(study, task.fingerprint())


def judged_by(study: Study, task: tasks.Task) -> str:
    """Return the first objective that is one of the task's metrics."""
    names = [name for name in ranking.metric_names(study) if name in task.metrics]
    return names[0] if names else task.default_metric
