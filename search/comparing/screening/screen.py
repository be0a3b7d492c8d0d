"""Draw, train for an epoch, rank, queue: and, once the search has trained them, how well the ranks foretold it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial
from rich.console import Console

from kirigami.search import storage
from kirigami.search.comparing.paired import Train, run_all
from kirigami.search.comparing.record import Record, Run
from kirigami.search.comparing.screening.draws import Draw, draw
from kirigami.search.comparing.screening.question import Question
from kirigami.search.comparing.screening.queue import enqueue, trial_of
from kirigami.search.comparing.screening.ranks import spearman
from kirigami.search.config.compose import compose
from kirigami.search.config.study import checked
from kirigami.search.errors import InputError
from kirigami.search.files import stored, write_json
from kirigami.search.rehearsal.building import rehearse
from kirigami.search.rehearsal.objectives import check_objectives, directions
from kirigami.search.study import provenance
from kirigami.search.study import study as studies
from kirigami.search.study.states import state_of

FILE = "screen"


def screen(
    overrides: Sequence[str], config_dirs: Sequence[Path], question: Question, train: Train, console: Console
) -> dict[str, Any]:
    """Train what is left to train, queue the best, write `studies/<name>/screen.json` and return what is in it.

    Args:
        train: runs one job and adds `smoothness` to its metrics, as `search.comparing.screening.smoothness.train`.
        console: shows how far it is.

    Raises:
        InputError: in one line.
        Interrupted: where the user asked to stop; the same command goes on.
    """
    settings = checked(compose(overrides, config_dirs))
    config, space = settings.config, settings.space
    if not len(space):
        raise InputError(f"study={config.name} has an empty space: there is nothing to draw. Set space=[optimizer].")
    task = rehearse(settings)
    objectives = directions(config)
    check_objectives(config, objectives, task)
    data, identity = task.fingerprint(), config.identity
    if storage.exists(config.storage):
        existing = studies.find(storage.open_storage(config.storage, create=False), config.name)
        if existing is not None:
            studies.check_same(existing, identity)
    drawn = draw(settings.raw, space, question.draws, question.epochs, seed=config.seed, data=data)
    folder = storage.folder_of(config.storage.url, config.name)
    metric, direction = next(iter(objectives.items()))
    record = Record(folder / f"{FILE}.jsonl")
    arms = [candidate.arm for candidate in drawn]
    runs = run_all(arms, [config.seed], record, train, metric=metric, console=console)
    by_draw = {candidate.number: runs[candidate.arm.identity, config.seed] for candidate in drawn}
    study = studies.create(storage.open_storage(config.storage), config.name, objectives, identity)
    studies.check_same(study, identity)
    studies.check_data(study, data)
    best = ranked(drawn, by_draw, question.by, metric, direction)[: question.top]
    added = enqueue(study, best, config.budget.trials)
    result = stored(judged(drawn, by_draw, study, question, metric, direction, added))
    write_json(folder / f"{FILE}.json", result)
    return {**result, "file": str(folder / f"{FILE}.json")}


def ranked(drawn: Sequence[Draw], runs: Mapping[int, Run], by: str, metric: str, direction: str) -> list[Draw]:
    """Return the draws that have a score, best first; of equals the one drawn first."""
    scores = {candidate.number: merit(runs[candidate.number], by, metric, direction) for candidate in drawn}
    good = [candidate for candidate in drawn if isfinite(scores[candidate.number])]
    return sorted(good, key=lambda candidate: (-scores[candidate.number], candidate.number))


def merit(run: Run, by: str, metric: str, direction: str) -> float:
    """Return a number that is larger for what is to be trained first; NaN where there is none."""
    if by == "score":
        return run.value(metric) * (1 if direction == "maximize" else -1)
    return run.value("smoothness") * (1 if by == "smoothness" else -1)


def judged(
    drawn: Sequence[Draw],
    runs: Mapping[int, Run],
    study: Study,
    question: Question,
    metric: str,
    direction: str,
    added: Sequence[Draw],
) -> dict[str, Any]:
    """Return what is known of every draw as plain data, best first, and how well it foretold what the search found."""
    trials = study.get_trials(deepcopy=False)
    order = ranked(drawn, runs, question.by, metric, direction)
    rest = [candidate for candidate in drawn if candidate not in order]
    rows = [
        _row(candidate, runs[candidate.number], trial_of(candidate, trials), metric) for candidate in (*order, *rest)
    ]
    sign = 1 if direction == "maximize" else -1
    ended = [row for row in rows if row["final"] is not None]
    finals = [sign * row["final"] for row in ended]
    return {
        "study": study.study_name,
        "metric": metric,
        "direction": direction,
        "by": question.by,
        "epochs": question.epochs,
        "top": question.top,
        "seconds": round(sum(row["seconds"] for row in rows), 3),
        "queued": [candidate.number for candidate in added],
        "draws": rows,
        "correlation": {
            "score": asdict(spearman([sign * row["score"] for row in ended], finals)),
            "smoothness": asdict(spearman([row["smoothness"] for row in ended], finals)),
        },
        "versions": provenance.versions(),
        "revision": provenance.revision(),
    }


def _row(candidate: Draw, run: Run, trial: FrozenTrial | None, metric: str) -> dict[str, Any]:
    done = trial is not None and state_of(trial) in ("complete", "over") and trial.values
    return {
        "draw": candidate.number,
        "params": candidate.params,
        "score": run.value(metric),
        "smoothness": run.value("smoothness"),
        "seconds": run.fit_s if run.state == "complete" else 0.0,
        "reason": run.reason,
        "trial": None if trial is None else trial.number,
        "state": None if trial is None else state_of(trial),
        "final": trial.values[0] if trial is not None and done else None,
    }
