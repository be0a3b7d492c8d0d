"""The leaders of a study under new seeds, a winner by paired test, and then the test rows, once."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import nan
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from optuna.study import Study
from rich.console import Console

from kirigami.search.comparing import statistics, training
from kirigami.search.comparing.networks import Networks
from kirigami.search.comparing.paired import run_all, seeds_after
from kirigami.search.comparing.plan import origin
from kirigami.search.comparing.record import Arm, Key, Record, Run, digest
from kirigami.search.config.resolve import unlimited
from kirigami.search.config.settings import TrialConfig
from kirigami.search.errors import InputError, StudyStopped, one_line
from kirigami.search.files import append_line, lines, stored, write_json
from kirigami.search.study import provenance, ranking
from kirigami.search.study import study as studies
from kirigami.search.study.verdict import FILE, FOLDER
from kirigami.search.training.building import assemble, open_task
from kirigami.search.training.job import Job, Outcome

Retrain = Callable[[Job, int], Outcome]
Score = Callable[[Sequence[Path], TrialConfig, int], list[dict[str, float]]]


def confirm(
    study: Study,
    folder: Path,
    *,
    top: int,
    seeds: int,
    console: Console,
    retrain: Retrain = training.retrain,
    score: Score = training.scores_on_test,
) -> dict[str, Any]:
    """Train the leaders anew, name the winner, open the test rows for it; write `confirm/confirm.json` and return it.

    Runs on record are not repeated. Where the same question has been answered before, so it is again, and the test
    rows stay closed.

    Args:
        folder: the study's.
        top: how many leaders.
        seeds: repeats of each, all on the study's own split.
        retrain: trains a job on the split of a seed.
        score: opens the test rows of a split and scores the networks in files.

    Raises:
        InputError: where the study has no leaders, the data are not the study's, or a network has no forward.
        StudyStopped: where no leader finished all its repeats.
        Interrupted: where the user asked to stop; the same command goes on.
    """
    place = folder / FOLDER
    arms, split = leaders(study, top)
    repeats, metric = seeds_after(split, seeds), ranking.metric_names(study)[0]
    question = digest({"arms": [arm.identity for arm in arms], "seeds": repeats, "metric": metric})
    answers = lines(place / "results.jsonl")
    result = next((answer for answer in answers if answer.get("question") == question), None)
    if result is None:
        networks = Networks(place / "networks")
        answer, files = _answer(study, arms, repeats, split, networks, console, retrain, score)
        result = stored(
            {
                "question": question,
                **answer,
                "opened_before": len(answers),
                "versions": provenance.versions(),
                "revision": provenance.revision(),
            }
        )
        append_line(place / "results.jsonl", result)
        networks.drop_all_but(files)
    write_json(place / FILE, result)
    return {**result, "file": str(place / FILE)}


def _answer(
    study: Study,
    arms: Sequence[Arm],
    repeats: Sequence[int],
    split: int,
    networks: Networks,
    console: Console,
    retrain: Retrain,
    score: Score,
) -> tuple[dict[str, Any], list[Path]]:
    """Train what is not on record, name the winner and score it; return what was found, and its networks' files."""
    for arm in arms:
        check_forward(arm)

    def train(job: Job) -> Outcome:
        return retrain(job, split)

    metric, direction = ranking.metric_names(study)[0], study.directions[0].name.lower()
    record = Record(networks.folder.parent / "runs.jsonl")
    runs = run_all(arms, repeats, record, train, metric=metric, console=console, keep=networks.keep)
    rows = ranked(arms, repeats, runs, metric=metric, direction=direction)
    if rows[0]["failed"]:
        raise StudyStopped(f"no leader of {study.study_name} finished all repeats; {record.path} says why")
    winner = next(arm for arm in arms if arm.value == rows[0]["trial"])
    best = next(trial for trial in study.get_trials(deepcopy=False) if trial.number == winner.value)
    config = TrialConfig.from_resolved(winner.config)
    is_folded = open_task(config).draws > 1  # then none of a repeat's networks is the one to test
    files = networks.complete(winner, repeats, partial(training.retrain_whole, split=split) if is_folded else train)
    answer = {
        "study": study.study_name,
        "metric": metric,
        "direction": direction,
        "seeds": list(repeats),
        "split": split,
        "budget": TrialConfig.from_resolved(origin(best)).budget.limits,
        "trials": rows,
        "winner": winner.value,
        "not_told_apart": [row["trial"] for row in rows[1:] if row["verdict"] != "worse"],
        "test": summed(score(files, config, split)),
    }
    return answer, files


def leaders(study: Study, top: int) -> tuple[list[Arm], int]:
    """Return the best trials, each config once, and the seed of the study's split.

    Raises:
        InputError: where there are none, or their data are not those of the study.
    """
    arms: dict[str, Arm] = {}
    for trial in ranking.leaders(study):
        arm = Arm(f"trial {trial.number}", unlimited(origin(trial)), trial.number)
        arms.setdefault(arm.identity, arm)
        if len(arms) == top:
            break
    if not arms:
        raise InputError(f"study={study.study_name} has no complete trial within its budget yet. Search on.")
    for arm in arms.values():
        try:
            fingerprint = open_task(TrialConfig.from_resolved(arm.config)).fingerprint()
        except (ValueError, OSError) as error:
            raise InputError(f"{arm.label}: its data cannot be read: {one_line(error)}") from error
        studies.check_data(study, fingerprint)
    leading = list(arms.values())
    return leading, TrialConfig.from_resolved(leading[0].config).seed


def check_forward(arm: Arm) -> None:
    """Raise `InputError` where a leader's network could not be scored on the test rows in the end."""
    try:
        costs = assemble(TrialConfig.from_resolved(arm.config).without_techniques()).costs
    except Exception as error:  # of the user's own network
        raise InputError(f"{arm.label}: its network cannot be built and called: {one_line(error)}") from error
    if "macs" not in costs:
        raise InputError(
            f"{arm.label}: its network has no forward, so that its test rows could not be scored. Write one, which "
            "takes a batch of inputs and returns outputs."
        )


def ranked(
    arms: Sequence[Arm], seeds: Sequence[int], runs: Mapping[Key, Run], *, metric: str, direction: str
) -> list[dict[str, Any]]:
    """Return a row a leader, best mean first, those that failed last; each but the first is tested against it."""
    sign = -1 if direction == "maximize" else 1
    scores = {arm.label: [runs[arm.identity, seed].value(metric) for seed in seeds] for arm in arms}
    rows = [_row(arm, scores[arm.label], [runs[arm.identity, seed] for seed in seeds]) for arm in arms]
    rows.sort(key=lambda row: (row["failed"], sign * row["mean"] if row["runs"] else 0.0))
    first, *others = rows
    comparisons = statistics.compare(
        scores[first["arm"]],
        {row["arm"]: scores[row["arm"]] for row in others},
        direction=direction,
        margin=0.0,  # what is better by little is better still
    )
    for row in others:
        comparison = comparisons[row["arm"]]
        row |= {
            "difference": comparison.difference,
            "interval": [comparison.low, comparison.high],
            "p": comparison.p,
            "p_holm": comparison.p_holm,
        }
        row |= {"cliffs_delta": comparison.delta, "verdict": comparison.verdict}
    return rows


def _row(arm: Arm, scores: Sequence[float], runs: Sequence[Run]) -> dict[str, Any]:
    values = [value for value in scores if value == value]
    sizes = {
        name: [run.value(name) for run in runs if run.value(name) == run.value(name)] for name in ("params", "bytes")
    }
    return {
        "arm": arm.label,
        "trial": arm.value,
        "identity": arm.identity,
        "runs": len(values),
        "failed": len(scores) - len(values),
        **mean_and_sd(values),
        "scores": list(scores),
        "seconds": round(sum(run.fit_s for run in runs), 3),
        **{
            name: {"median": sorted(figures)[len(figures) // 2], "most": max(figures)}
            for name, figures in sizes.items()
            if figures
        },
    }


def mean_and_sd(values: Sequence[float]) -> dict[str, float]:
    """Return mean and sample deviation; NaN where there are too few values."""
    return {"mean": fmean(values) if values else nan, "sd": stdev(values) if len(values) > 1 else nan}


def summed(scores: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return mean and deviation of each metric over the networks."""
    return {name: mean_and_sd([row[name] for row in scores]) for name in scores[0]}
