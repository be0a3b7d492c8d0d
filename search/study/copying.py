"""Copying a study to another store: all trials with their numbers, and the study's `identity` last.

A study without `identity` but with `copied` is a copy that was interrupted; the next one begins it anew.
"""

import shutil
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.progress import track

from kirigami.search import storage
from kirigami.search.errors import InputError, StudyStopped
from kirigami.search.study import recovery
from kirigami.search.study import study as studies
from kirigami.search.study.facts import Copied, StudyFacts, facts_of
from kirigami.search.study.ledger import Ledger
from kirigami.search.study.record import write

PARTS = (
    *("number", "state", "values", "params", "distributions", "user_attrs", "system_attrs", "intermediate_values"),
    *("datetime_start", "datetime_complete"),
)


def copy_study(source: BaseStorage, goal: BaseStorage, name: str, origin: str, console: Console) -> list[FrozenTrial]:
    """Copy a study that nobody searches into a store without one of that name; return its trials.

    Args:
        origin: the source's URL without its password, kept with the copy.

    Raises:
        StudyStopped: where the source changed meanwhile.
    """
    old = source.get_study_id_from_name(name)
    trials, attributes = source.get_all_trials(old), source.get_study_user_attrs(old)
    began = datetime.now().isoformat(timespec="seconds")
    new = goal.create_new_study(source.get_study_directions(old), name)
    setter = partial(goal.set_study_user_attr, new)
    write(StudyFacts(copied=Copied(origin, began, recovery.signature())), setter)
    facts = StudyFacts.from_attrs(attributes)
    last = {*StudyFacts(copied=facts.copied, identity=facts.identity).to_attrs()}
    for key, value in attributes.items():
        if key not in last:
            setter(key, value)
    for key, value in source.get_study_system_attrs(old).items():
        goal.set_study_system_attr(new, key, value)
    hidden = not console.is_terminal
    for trial in track(trials, "copying", console=console, disable=hidden, transient=True):
        goal.create_new_trial(new, template_trial=trial)
    if _facts(goal.get_all_trials(new)) != _facts(source.get_all_trials(old)):
        raise StudyStopped(f"study={name} changed while it was copied. Stop its search, and copy it again.")
    write(StudyFacts(identity=facts.identity), setter)  # last: it says that the study is whole
    return trials


def settled(settings: storage.Settings, name: str) -> BaseStorage:
    """Return the source when no trial of the study runs; those of dead workers are queued again, as a worker does.

    Raises:
        InputError: where a worker is at work on it, or it was not made here.
    """
    store = storage.open_storage(settings, create=False)
    study = studies.existing(store, name)
    if facts_of(study).identity is None:
        studies.check_same(study, {})
    if _running(study) or Ledger(study.get_trials(deepcopy=False)).unretried():
        store = storage.open_storage(settings)
        study = studies.existing(store, name)
        recovery.take_over(study, store)
    running = _running(study)
    if running:
        numbers = ", ".join(str(trial.number) for trial in running[:5]) + (", …" if len(running) > 5 else "")
        raise InputError(
            f"study={name} is being searched (trial {numbers} runs). Stop the search, and copy it again; "
            f"if its worker died on another machine, that is known {settings.grace_s} s after its last sign of life."
        )
    return store


def _running(study: Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))


def make_room(goal: BaseStorage, name: str, url: str) -> None:
    """Remove an unfinished copy.

    Raises:
        InputError: where the target has a study of that name.
    """
    existing = studies.find(goal, name)
    if existing is None:
        return
    facts = facts_of(existing)
    untouched = not existing.user_attrs and not existing.get_trials(deepcopy=False)  # a copy that ended before it began
    if facts.identity is not None or (facts.copied is None and not untouched):
        raise InputError(
            f"study={name} is in the target already. Copy to another store, or remove it there first: "
            f"optuna delete-study --study-name {name} --storage '{storage.shown(url)}'."
        )
    worker = None if facts.copied is None else facts.copied.worker
    if worker is not None and worker.machine == recovery.signature().machine and not recovery.is_gone(worker):
        raise InputError(f"study={name} is being copied there right now, by process {worker.pid}.")
    optuna.delete_study(study_name=name, storage=goal)


def _facts(trials: Sequence[FrozenTrial]) -> list[str]:
    """Return trials as text, in which what is not a number equals itself and the order of attributes is none."""

    def fact(value: Any) -> str:
        return repr(sorted(value.items()) if isinstance(value, dict) else value)

    return [" ".join(fact(getattr(trial, part)) for part in PARTS) for trial in trials]


def copy_files(old: Path, new: Path) -> str:
    """Copy the study's folder to where the target's user looks for it; return what was done, in words."""
    if not old.is_dir():
        return "It has no files."
    if old.resolve() == new.resolve():
        return f"Its files stay in {old}."
    if new.exists():
        return f"Its files stay in {old}: {new} is there already, and was left as it is."
    unfinished = new.with_name(new.name + ".new")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(old, unfinished)
    unfinished.replace(new)
    return f"Its files are copied to {new}."
