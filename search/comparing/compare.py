"""Paired repeats of every arm, and a verdict on each against the reference."""

from collections.abc import Callable, Mapping, Sequence
from math import nan
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from rich.console import Console

from kirigami.search.comparing import plan as plans
from kirigami.search.comparing import statistics
from kirigami.search.comparing.paired import run_all, seeds_after
from kirigami.search.comparing.question import Question
from kirigami.search.comparing.record import Arm, Key, Record, Run
from kirigami.search.files import stored, write_json
from kirigami.search.study import provenance
from kirigami.search.training.job import Job, Outcome

FOLDER = "compare"
Repeat = Callable[[Job, int], Outcome]


def compare(
    overrides: Sequence[str], config_dirs: Sequence[Path], question: Question, repeat: Repeat, console: Console
) -> dict[str, Any]:
    """Run what is left to run, write `studies/<name>/compare/<over>.json` and return what is in it.

    Args:
        repeat: runs one job, with the test rows of a seed put aside.
        console: shows how far it is.

    Raises:
        InputError: in one line.
        Interrupted: where the user asked to stop; the same command goes on.
    """
    plan = plans.make(overrides, config_dirs, question)
    seeds = seeds_after(plan.seed, question.repeats)
    base = plan.folder / FOLDER / plan.over.replace("/", "_")
    record = Record(base.with_name(base.name + ".jsonl"))

    def train(job: Job) -> Outcome:
        return repeat(job, plan.seed)

    runs = run_all(plan.arms, seeds, record, train, metric=plan.metric, console=console)
    result = stored(judged(plan, question, seeds, runs))
    write_json(base.with_name(base.name + ".json"), result)
    return {**result, "file": str(base.with_name(base.name + ".json"))}


def judged(plan: plans.Plan, question: Question, seeds: Sequence[int], runs: Mapping[Key, Run]) -> dict[str, Any]:
    """Return the verdicts as plain data, the reference first."""
    scores = {arm.label: [runs[arm.identity, seed].value(plan.metric) for seed in seeds] for arm in plan.arms}
    base = scores[plan.reference]
    others = {name: values for name, values in scores.items() if name != plan.reference}
    verdicts = statistics.compare(base, others, direction=plan.direction, margin=question.margin)
    reference = next(arm for arm in plan.arms if arm.label == plan.reference)
    rest = [arm for arm in plan.arms if arm is not reference]
    return {
        "study": plan.study,
        "over": plan.over,
        "metric": plan.metric,
        "direction": plan.direction,
        "from": plan.source,
        "reference": plan.reference,
        "margin": question.margin,
        "level": statistics.LEVEL,
        "seeds": list(seeds),
        "arms": [
            arm_row(arm, scores[arm.label], seconds(arm, reference, seeds, runs), verdicts.get(arm.label))
            for arm in (reference, *rest)
        ],
        "versions": provenance.versions(),
        "revision": provenance.revision(),
    }


def arm_row(
    arm: Arm, scores: Sequence[float], spent: Mapping[str, float], verdict: statistics.Comparison | None
) -> dict[str, Any]:
    """Return what is known of one arm; the reference has no verdict."""
    values = [value for value in scores if value == value]
    row: dict[str, Any] = {
        "arm": arm.label,
        "value": arm.value,
        "identity": arm.identity,
        "runs": len(values),
        "failed": len(scores) - len(values),
        "mean": fmean(values) if values else nan,
        "sd": stdev(values) if len(values) > 1 else nan,
        "scores": list(scores),
        **spent,
    }
    if verdict is not None:
        row |= {
            "pairs": verdict.pairs,
            "difference": verdict.difference,
            "interval": [verdict.low, verdict.high],
            "p": verdict.p,
            "p_holm": verdict.p_holm,
            "cliffs_delta": verdict.delta,
            "verdict": verdict.verdict,
        }
    return row


def seconds(arm: Arm, reference: Arm, seeds: Sequence[int], runs: Mapping[Key, Run]) -> dict[str, float]:
    """Return the seconds of training over the repeats that both finished, and what the arm saves of the reference's."""
    both = [
        (runs[arm.identity, seed].fit_s, runs[reference.identity, seed].fit_s)
        for seed in seeds
        if runs[arm.identity, seed].state == runs[reference.identity, seed].state == "complete"
    ]
    arm_s, reference_s = sum(pair[0] for pair in both), sum(pair[1] for pair in both)
    ratio = arm_s / reference_s if reference_s > 0 else nan
    return {
        "seconds": round(arm_s, 3),
        "seconds_ratio": round(ratio, 4),
        "seconds_saved": round(reference_s - arm_s, 3),
    }
