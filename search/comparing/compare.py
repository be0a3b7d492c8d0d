"""The `compare` verb: paired repeats of every arm, and a verdict on each against the reference."""

from collections.abc import Callable, Mapping, Sequence
from math import nan
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from rich.console import Console
from rich.table import Table

from kirigami.search.comparing import plan as plans
from kirigami.search.comparing import statistics
from kirigami.search.comparing.asked import Asked
from kirigami.search.comparing.paired import run_all, seeds_after
from kirigami.search.comparing.record import Arm, Key, Record, Run
from kirigami.search.files import stored, write_json
from kirigami.search.report.tables import narrow, number
from kirigami.search.study import provenance
from kirigami.search.training.job import Job, Outcome

FOLDER = "compare"
Repeat = Callable[[Job, int], Outcome]


def compare(
    overrides: Sequence[str], config_dirs: Sequence[Path], asked: Asked, repeat: Repeat, console: Console
) -> dict[str, Any]:
    """Run what is left to run, write `studies/<name>/compare/<over>.json` and return what is in it.

    Args:
        repeat: runs one job, with the test rows of a seed put aside.
        console: shows how far it is.

    Raises:
        InputError: in one line.
        Interrupted: where the user asked to stop; the same command goes on.
    """
    plan = plans.make(overrides, config_dirs, asked)
    seeds = seeds_after(plan.seed, asked.repeats)
    base = plan.folder / FOLDER / plan.over.replace("/", "_")
    record = Record(base.with_name(base.name + ".jsonl"))

    def train(job: Job) -> Outcome:
        return repeat(job, plan.seed)

    runs = run_all(plan.arms, seeds, record, train, metric=plan.metric, console=console)
    result = stored(judged(plan, asked, seeds, runs))
    write_json(base.with_name(base.name + ".json"), result)
    return {**result, "file": str(base.with_name(base.name + ".json"))}


def judged(plan: plans.Plan, asked: Asked, seeds: Sequence[int], runs: Mapping[Key, Run]) -> dict[str, Any]:
    """Return the verdicts as plain data, the reference first."""
    scores = {arm.label: [runs[arm.identity, seed].value(plan.metric) for seed in seeds] for arm in plan.arms}
    base = scores[plan.reference]
    others = {name: values for name, values in scores.items() if name != plan.reference}
    found = statistics.compare(base, others, direction=plan.direction, margin=asked.margin)
    reference = next(arm for arm in plan.arms if arm.label == plan.reference)
    rest = [arm for arm in plan.arms if arm is not reference]
    return {
        "study": plan.study,
        "over": plan.over,
        "metric": plan.metric,
        "direction": plan.direction,
        "from": plan.source,
        "reference": plan.reference,
        "margin": asked.margin,
        "level": statistics.LEVEL,
        "seeds": list(seeds),
        "arms": [
            arm_row(arm, scores[arm.label], seconds(arm, reference, seeds, runs), found.get(arm.label))
            for arm in (reference, *rest)
        ],
        "versions": provenance.versions(),
        "revision": provenance.revision(),
    }


def arm_row(
    arm: Arm, scores: Sequence[float], spent: Mapping[str, float], found: statistics.Comparison | None
) -> dict[str, Any]:
    """Return what is known of one arm; the reference has no verdict."""
    values = [one for one in scores if one == one]
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
    if found is not None:
        row |= {
            "pairs": found.pairs,
            "difference": found.difference,
            "interval": [found.low, found.high],
            "p": found.p,
            "p_holm": found.p_holm,
            "cliffs_delta": found.delta,
            "verdict": found.verdict,
        }
    return row


def seconds(arm: Arm, reference: Arm, seeds: Sequence[int], runs: Mapping[Key, Run]) -> dict[str, float]:
    """Return the seconds of training over the repeats that both finished, and what the arm saves of the reference's."""
    both = [
        (runs[arm.identity, seed].fit_s, runs[reference.identity, seed].fit_s)
        for seed in seeds
        if runs[arm.identity, seed].state == runs[reference.identity, seed].state == "complete"
    ]
    mine, theirs = sum(one for one, _ in both), sum(one for _, one in both)
    ratio = mine / theirs if theirs > 0 else nan
    return {"seconds": round(mine, 3), "seconds_ratio": round(ratio, 4), "seconds_saved": round(theirs - mine, 3)}


def table(result: Mapping[str, Any]) -> Table:
    """Return the verdicts as a table."""
    shown = narrow(f"{result['study']}: {result['metric']}, {len(result['seeds'])} paired repeats, {result['from']}")
    level = f"{100 * result['level']:.0f} % interval"
    for column in (result["over"].rpartition(".")[2], "mean ± sd", "median\ndiff.", level, "p\n(Holm)", "Cliff\nδ"):
        shown.add_column(column, no_wrap=True)
    for column in ("time", "verdict"):
        shown.add_column(column, no_wrap=True)
    for row in result["arms"]:
        name, score = row["arm"], scored(row)
        if "verdict" not in row:
            shown.add_row(name, score, "", "", "", "", f"{row['seconds']:.1f} s", "reference")
            continue
        shown.add_row(
            name,
            score,
            number(row["difference"], "+.3f"),
            ", ".join(number(end, "+.3f") for end in row["interval"] if end is not None),
            number(row["p_holm"], ".2g"),
            number(row["cliffs_delta"], "+.2f"),
            "" if row["seconds_ratio"] is None else f"{100 * (row['seconds_ratio'] - 1):+.0f} %",
            row["verdict"],
        )
    return shown


def scored(row: Mapping[str, Any]) -> str:
    """Return mean and deviation of an arm, and how often it failed."""
    failed = f"{row['failed']} failed"
    if not row["runs"]:
        return failed
    return f"{number(row['mean'], '.3f')} ± {number(row['sd'], '.3f')}" + (f", {failed}" if row["failed"] else "")


def said(result: Mapping[str, Any]) -> list[str]:
    """Return each verdict as a sentence."""
    unit = f"{result['metric']}, margin ±{result['margin']:g}"
    return [
        f"{result['over']}={row['arm']} is {row['verdict']} "
        f"{'to' if row['verdict'] == 'equivalent' else 'against' if row['verdict'] == 'undecided' else 'than'} "
        f"{result['reference']} ({unit}); {_saved(row)}"
        for row in result["arms"]
        if "verdict" in row
    ]


def _saved(row: Mapping[str, Any]) -> str:
    if row["seconds_ratio"] is None:
        return "no seconds to compare"
    share = 100 * (1 - row["seconds_ratio"])
    words = "fewer" if share >= 0 else "more"
    return f"{abs(share):.0f} % {words} seconds of training"
