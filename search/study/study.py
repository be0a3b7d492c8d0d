"""One Optuna study per name: made once, refused where its meaning changed, with our facts in its attributes."""

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.study import Study

from kirigami.errors import did_you_mean
from kirigami.search.config.identity import difference
from kirigami.search.errors import InputError
from kirigami.search.study.facts import SCHEMA, StudyFacts, facts_of
from kirigami.search.study.record import write
from kirigami.search.study.rivals import Rival


def find(storage: BaseStorage, name: str) -> Study | None:
    """Load the study, or return None where there is none yet.

    Raises:
        InputError: where a version of kirigami wrote it that keeps its facts in another way.
    """
    try:
        study = optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        return None
    written = facts_of(study).schema
    if written not in (None, SCHEMA):
        raise InputError(
            f"study={name} was written by another version of kirigami (its schema is {written!r}, and this version's "
            f"is {SCHEMA}). Use that version, or begin another study: name={name}-2."
        )
    return study


def existing(storage: BaseStorage, name: str) -> Study:
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
    facts = facts_of(study)
    if facts.identity is None and facts.copied is not None:
        raise InputError(
            f"study={study.study_name} in this store is a copy that was not finished. Run `kirigami copy` again."
        )
    if facts.identity is None:
        raise InputError(
            f"study={study.study_name} in this store was not made by kirigami. Choose another name: name=OTHER."
        )
    changes = difference(facts.identity, identity)
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
    if facts_of(study).identity is None:
        write(StudyFacts(schema=SCHEMA), study.set_user_attr)
        study.set_metric_names(list(directions))
        write(StudyFacts(identity=dict(identity)), study.set_user_attr)  # last: it says that the study is whole
    return study


def check_data(study: Study, fingerprint: str) -> None:
    """Refuse data that differ from those the study began with, whatever path they came from.

    Raises:
        InputError: where the fingerprints differ.
    """
    begun_with = facts_of(study).data
    if begun_with is None:
        write(StudyFacts(data=fingerprint), study.set_user_attr)
    elif begun_with != fingerprint:
        raise InputError(
            f"study={study.study_name} was begun on other data (fingerprint {begun_with}, now {fingerprint}). "
            f"Point task.path at the same data, or begin another study: name={study.study_name}-2."
        )


def note_baselines(study: Study, baselines: Mapping[str, Any]) -> None:
    """Keep with the study what always giving the same answer scores on its validation rows; once."""
    if baselines and facts_of(study).baselines is None:
        write(StudyFacts(baselines=dict(baselines)), study.set_user_attr)


def note_rivals(study: Study, rivals: Sequence[Rival]) -> None:
    """Keep the scores of simple models with the study; once."""
    if rivals and facts_of(study).rivals is None:
        write(StudyFacts(rivals=[rival.to_plain() for rival in rivals]), study.set_user_attr)
