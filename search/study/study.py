"""One Optuna study per name: made once, refused where its meaning changed, with our facts in its attributes."""

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.study import Study

from kirigami.errors import did_you_mean
from kirigami.search.config.identity import difference
from kirigami.search.errors import InputError
from kirigami.search.study import ledger
from kirigami.search.study.ledger import is_feasible

SCHEMA = 1


def find(storage: BaseStorage, name: str) -> Study | None:
    """Load the study, or return None where there is none yet.

    Raises:
        InputError: where a version of kirigami wrote it that keeps its facts in another way.
    """
    try:
        study = optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        return None
    written = study.user_attrs.get("schema", SCHEMA)
    if written != SCHEMA:
        raise InputError(
            f"study={name} was written by another version of kirigami (its schema is {written!r}, and this version's "
            f"is {SCHEMA}). Use that version, or begin another study: name={name}-2."
        )
    return study


def known(storage: BaseStorage, name: str) -> Study:
    """Load the study.

    Raises:
        InputError: where the store has none of that name.
    """
    study = find(storage, name)
    if study is None:
        names = optuna.get_all_study_names(storage)
        listed = f" Studies: {', '.join(sorted(names))}." if names else " The store is empty."
        raise InputError(f"study={name}: not in the store.{did_you_mean(name, names)}{listed}")
    return study


def check_same(study: Study, identity: Mapping[str, Any]) -> None:
    """Refuse to mix trials of two meanings under one name.

    Raises:
        InputError: where space, task or another part of the identity differs from what the study began with.
    """
    old = study.user_attrs.get("identity")
    if old is None and "copied" in study.user_attrs:
        raise InputError(
            f"study={study.study_name} in this store is a copy that was not finished. Run `kirigami copy` again."
        )
    if old is None:
        raise InputError(
            f"study={study.study_name} in this store was not made by kirigami. Choose another name: name=OTHER."
        )
    changes = difference(old, identity)
    if changes:
        shown = "; ".join(changes[:6]) + ("; …" if len(changes) > 6 else "")
        raise InputError(
            f"study={study.study_name} was begun with another config ({shown}). "
            f"Undo the change, or begin another study: name={study.study_name}-2."
        )


def create(storage: BaseStorage, name: str, directions: Mapping[str, str], identity: Mapping[str, Any]) -> Study:
    """Load the study or create it; safe when several workers do so at once."""
    try:
        study = optuna.create_study(study_name=name, storage=storage, directions=list(directions.values()))
    except optuna.exceptions.DuplicatedStudyError:
        study = optuna.load_study(study_name=name, storage=storage)
    if "identity" not in study.user_attrs:
        study.set_user_attr("schema", SCHEMA)
        study.set_metric_names(list(directions))
        study.set_user_attr("identity", dict(identity))  # last: it says that the study is whole
    return study


def check_data(study: Study, fingerprint: str) -> None:
    """Refuse data that differ from those the study began with, whatever path they came from.

    Raises:
        InputError: where the fingerprints differ.
    """
    begun_with = study.user_attrs.get("data")
    if begun_with is None:
        study.set_user_attr("data", fingerprint)
    elif begun_with != fingerprint:
        raise InputError(
            f"study={study.study_name} was begun on other data (fingerprint {begun_with}, now {fingerprint}). "
            f"Point task.path at the same data, or begin another study: name={study.study_name}-2."
        )


def note_baselines(study: Study, baselines: Mapping[str, Any]) -> None:
    """Keep with the study what always giving the same answer scores on its validation rows; once."""
    if baselines and "baselines" not in study.user_attrs:
        study.set_user_attr("baselines", dict(baselines))


def metric_names(study: Study) -> list[str]:
    """Return the names of the study's objectives."""
    return list(study.metric_names or [f"value {index}" for index in range(len(study.directions))])


def feasible_trials(study: Study) -> list[optuna.trial.FrozenTrial]:
    """Return the complete trials that keep to the budget's limits."""
    complete = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    return [trial for trial in complete if is_feasible(trial)]


def sign_of(study: Study) -> int:
    """Return 1 where a smaller first objective is better, -1 where a larger one is."""
    return -1 if study.directions[0] is optuna.study.StudyDirection.MAXIMIZE else 1


def leaders(study: Study, top: int | None = None) -> list[optuna.trial.FrozenTrial]:
    """Return the feasible trials, best first: by the first objective; of equals the smallest file; then the first."""
    return ledger.read(study).ranked(sign_of(study))[:top]


def best_trial(study: Study) -> optuna.trial.FrozenTrial | None:
    """Return the first of the `leaders`; None before the first feasible trial."""
    return next(iter(leaders(study, 1)), None)
