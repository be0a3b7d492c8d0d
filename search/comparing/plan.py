"""What a comparison is between: the arms, each a whole config, from a study's config and one dimension of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from optuna.study import Study
from optuna.trial import FrozenTrial

from kirigami import tasks
from kirigami.errors import did_you_mean
from kirigami.search import storage
from kirigami.search.comparing.question import Question
from kirigami.search.comparing.record import Arm
from kirigami.search.config.compose import compose
from kirigami.search.config.groups import FREE, MADE_BY, QUESTION
from kirigami.search.config.identity import difference, leaves
from kirigami.search.config.objective import named
from kirigami.search.config.resolve import resolve, unlimited
from kirigami.search.config.settings import StudyConfig, TrialConfig
from kirigami.search.config.study import StudySettings, checked
from kirigami.search.errors import InputError
from kirigami.search.rehearsal.building import rehearse_trial
from kirigami.search.rehearsal.objectives import check_objectives, directions
from kirigami.search.study import ranking
from kirigami.search.study import study as studies
from kirigami.search.study.facts import facts_of
from kirigami.search.study.provenance import origin_of
from kirigami.spaces import Space


@dataclass(frozen=True)
class Plan:
    """Arms to run and how to judge them.

    Attributes:
        reference: label of the arm that the others are compared with.
        source: where the values of all other dimensions come from, in words.
        seed: the study's own.
    """

    study: str
    folder: Path
    over: str
    arms: list[Arm]
    reference: str
    metric: str
    direction: str
    source: str
    seed: int


def make(overrides: Sequence[str], config_dirs: Sequence[Path], question: Question) -> Plan:
    """Compose the arms that are asked for and build each of them once, untrained.

    Raises:
        InputError: in one line, for a dimension, value or study that is not there, and for what an arm's network or
            task refuses.
    """
    settings = checked(compose(overrides, config_dirs))
    config = settings.config
    study = _study_of(config)
    if question.over == "study":
        arms, reference, source = _studies(config, study, question)
    elif question.over in MADE_BY:
        arms, reference, source = _files(overrides, config_dirs, settings, study, question)
    else:
        arms, reference, source = _leaves(settings, study, question)
    metric, direction = _metric(config, question.metric)
    over = f"study-{question.against}" if question.over == "study" else question.over
    folder = storage.folder_of(config.storage.url, config.name)
    arms = _rehearsed(question.over, arms, metric, direction)
    return Plan(config.name, folder, over, arms, reference, metric, direction, source, config.seed)


def _study_of(config: StudyConfig) -> Study | None:
    """Return the study where the store has it."""
    if not storage.exists(config.storage):
        return None
    return studies.find(storage.open_storage(config.storage, create=False), config.name)


def _metric(config: StudyConfig, name: str) -> tuple[str, str]:
    try:
        objectives = directions(config, named(name) if name else None)
    except ValueError as error:
        raise InputError(str(error).replace("objective", "metric", 1) if name else str(error)) from error
    return next(iter(objectives.items()))


def _best(config: StudyConfig, study: Study | None, question: Question) -> tuple[dict[str, Any], str]:
    """Return the best trial's values by dotted path, and where they come from; none where the config's own are meant.

    Raises:
        InputError: where there is no such trial, or the study was begun with another config.
    """
    best = None if study is None or question.from_ == "config" else ranking.best_trial(study)
    if best is None or study is None:
        if question.from_ == "best":
            raise InputError(
                f"from=best: study={config.name} has no complete trial within its budget. Set from=config."
            )
        return {}, "the config's own values"
    changes = [
        change
        for change in difference(facts_of(study).identity or {}, config.identity)
        if change.partition(".")[0] not in ("space", "budget", "objective") and not change.startswith("objective:")
    ]
    if changes:
        raise InputError(
            f"study={study.study_name} was begun with another config ({'; '.join(changes[:6])}), for which its best "
            "trial's values were not found. Undo the change, or set from=config."
        )
    return {path: _leaf(origin(best), path) for path in best.params}, f"the values of trial {best.number}, the best"


def origin(trial: FrozenTrial) -> dict[str, Any]:
    """Return the resolved config that a trial was made from."""
    return dict(origin_of(trial).config)


def _leaf(config: Mapping[str, Any], path: str) -> Any:
    node: Any = config
    for key in path.split("."):
        node = node[key]
    return node


def _leaves(settings: StudySettings, study: Study | None, question: Question) -> tuple[list[Arm], str, str]:
    """Make an arm of each value of one leaf of the config."""
    plain = {key: part for key, part in settings.config.plain.items() if key not in (*FREE, *QUESTION)}
    dimensions = dict(leaves(plain))
    if question.over not in dimensions:
        names = [*dimensions, *MADE_BY, "study"]
        raise InputError(f"over={question.over}: no such dimension in the config.{did_you_mean(question.over, names)}")
    space = settings.space
    taken, source = _best(settings.config, study, question)
    base = space.apply(settings.raw, taken)
    current = _leaf(resolve(base), question.over)
    reference, values = question.arranged(current, _choices(space, question))
    arms = [Arm(label(value), _plain(space.apply(base, {question.over: value})), value) for value in values]
    return arms, label(reference), source


def _choices(space: Space, question: Question) -> list[Any]:
    """Return the values asked for, or all choices that the space has of the dimension."""
    if question.values is not None:
        return question.values
    dimension = next((each for each in space.dimensions if each.path == question.over), None)
    if dimension is None:
        raise InputError(f"over={question.over} is no dimension of the study's space. Name its values: values=[A,B].")
    if dimension.choices is None:
        raise InputError(
            f"over={question.over} is a range from {dimension.low} to {dimension.high}. Name some of its values: "
            f"values=[{dimension.low},{dimension.high}]."
        )
    return list(dimension.choices)


def _files(
    overrides: Sequence[str],
    config_dirs: Sequence[Path],
    settings: StudySettings,
    study: Study | None,
    question: Question,
) -> tuple[list[Arm], str, str]:
    """Make an arm of each file of a group; what a search found for another file means nothing to an arm."""
    if question.values is None:
        raise InputError(f"over={question.over} is a group of files. Name some of them: values=[A,B].")
    taken, source = _best(settings.config, study, question)
    chosen = {
        str(value): compose([*overrides, f"{question.over}={value}"], config_dirs) for value in question.all_values()
    }
    before = settings.config.plain[question.over]
    current = next((name for name, raw in chosen.items() if resolve(raw)[question.over] == before), None)
    reference, values = question.arranged(current, question.values)
    arms = []
    for value in values:
        raw = chosen[str(value)]
        is_other = str(value) != current
        suited = {
            path: setting
            for path, setting in taken.items()
            if path in dict(leaves(raw)) and not (is_other and path.startswith(f"{question.over}."))
        }
        arms.append(Arm(str(value), _plain(Space.from_config({}, {}).apply(raw, suited)), value))
    return arms, str(reference), source


def _studies(config: StudyConfig, study: Study | None, question: Question) -> tuple[list[Arm], str, str]:
    """Make an arm of the best trial of each of two studies."""
    if not question.against or question.against == config.name:
        raise InputError(f"over=study compares two studies, but got against={question.against!r}. Set against=OTHER.")
    if question.values is not None or question.from_ == "config":
        raise InputError("over=study compares the best trials of two studies. Leave out values= and from=config.")
    store = storage.open_storage(config.storage, create=False)
    arms = []
    for name in (config.name, question.against):
        searched = study if study is not None and name == config.name else studies.existing(store, name)
        best = ranking.best_trial(searched)
        if best is None:
            raise InputError(f"study={name} has no complete trial within its budget yet. Search on.")
        arms.append(Arm(name, {**unlimited(origin(best)), "seed": config.seed}, name))
    reference, _ = question.arranged(config.name, [arm.label for arm in arms])
    return arms, str(reference), "the best trial of each study"


def _plain(raw: Mapping[str, Any]) -> dict[str, Any]:
    return unlimited(resolve({**raw, "space": {}}))


def _rehearsed(over: str, arms: Sequence[Arm], metric: str, direction: str) -> list[Arm]:
    """Build every arm once, and refuse arms that would be judged on different rows."""
    rehearsed: list[Arm] = []
    first: tasks.Task | None = None
    for arm in arms:
        if any(arm.label == other.label for other in rehearsed):
            raise InputError(f"values has {arm.label} twice, in two types. Remove one.")
        try:
            config = TrialConfig.from_resolved(arm.config)
            task = rehearse_trial(config)
            check_objectives(config, {metric: direction}, task)
        except ValueError as error:
            text = str(error).replace("objective must", "metric must", 1)
            raise InputError(f"{over}={arm.label} is refused: {text}") from error
        first = first or task
        if not _same_rows(task, first):
            raise InputError(
                f"{over}={arm.label} would be judged on other validation rows than {over}={rehearsed[0].label}: "
                "the repeats were no pairs. Compare what leaves the rows alone."
            )
        rehearsed.append(replace(arm, data=f"{task.fingerprint()}, test rows of seed {arm.config['seed']}"))
    return rehearsed


def _same_rows(one: tasks.Task, other: tasks.Task) -> bool:
    """Tell whether two tasks judge by the same rows, as far as their targets show it."""
    first, second = one.validation.targets, other.validation.targets
    if one.kind != other.kind or first.shape != second.shape:
        return False
    return one.kind == "values" or torch.equal(first, second)  # values are in units of the rows kept for training


def label(value: Any) -> str:
    """Return a value as it would be written on the command line."""
    return value if isinstance(value, str) else json.dumps(value)
