"""Less data: verdicts on 1/2, 1/4 and 1/8 of the training rows of two defect projects, and core sets against chance.

Every arm is a whole config and every repeat a seed that all arms share (rows that judge, rows kept, initial weights,
order of the batches), as in `kirigami compare`, whose code trains and judges here: median difference, 90 % interval,
Wilcoxon's p (Holm over the arms of one verdict), Cliff's delta, margin .02. Ant learns from versions 1.3 to 1.6, Camel
from 1.0 to 1.4, by the network, optimiser and epochs of the study `defects`, untuned; a fraction trains for as many
epochs, so for fewer steps. Scores are AUC, the study's objective, of the validation rows of each repeat, a quarter of
the training rows, as `compare` takes them, and, apart from that, of the next version (ant 1.7, Camel 1.6), which
selects nothing here. By AUC the aims are judged; balanced accuracy stands beside it.

Core sets keep as many rows of each class as chance does at the same fraction. They are judged on the validation rows
of Camel (AUC) and of digits (accuracy, the same perceptron), 20 repeats, Holm over the three.

The defect data need KIRIGAMI_DATA, the folder that holds `promise`; without it only digits is measured.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from kirigami.search.comparing import compare, training
from kirigami.search.comparing.asked import Asked
from kirigami.search.comparing.paired import run_all, seeds_after
from kirigami.search.comparing.plan import Plan
from kirigami.search.comparing.record import Arm, Key, Record, Run
from kirigami.search.config.compose import compose
from kirigami.search.config.resolve import resolve
from kirigami.search.training.job import Job, Outcome
from kirigami.tasks.coreset import CORESETS

REPEATS, MARGIN = 20, 0.02
FRACTIONS = (1.0, 0.5, 0.25, 0.125)
CHOSEN = (0.5, 0.25)
SHARED = ["study=defects", "space=[]", "trainer.device=cpu"]
ANT = ["task.train=[ant-1.3.csv,ant-1.4.csv,ant-1.5.csv,ant-1.6.csv]", "task.test=ant-1.7.csv"]
SETS = {"ant": [*SHARED, *ANT], "camel": SHARED, "digits": [*SHARED, "task=digits", "objective=accuracy"]}
METRIC = {"ant": "auc", "camel": "auc", "digits": "accuracy"}
NEXT = " of the next version"
BESIDE = "balanced_accuracy"
AIMS = {"ant": "equivalent", "camel": "worse"}
OPTIONS = {"over": "task.fraction", "values": "", "reference": "", "against": "", "from": "config", "metric": ""}


def arms_of(name: str, fractions: Sequence[float], coresets: Sequence[str]) -> Iterator[Arm]:
    """Yield an arm for each fraction of rows by chance, and for each core set at each of `CHOSEN`."""
    config = resolve(compose(SETS[name]))
    for fraction in fractions:
        yield Arm(f"{fraction:g}", {**config, "task": {**config["task"], "fraction": fraction}}, fraction)
    for fraction in CHOSEN:
        for coreset in coresets:
            task = {**config["task"], "fraction": fraction, "coreset": coreset}
            yield Arm(f"{coreset} {fraction:g}", {**config, "task": task}, fraction)


def trainer(name: str, folder: Path) -> Any:
    """Return what trains a job and scores its network on the next version, where there is one."""

    def train(job: Job) -> Outcome:
        outcome = training.repeat(job, 0, 1)
        metrics = dict(outcome.metrics)
        if name in AIMS and outcome.save is not None:
            file = folder / "network.safetensors"
            outcome.save(file)
            (scores,) = training.scores_on_test([file], job.config, job.config["seed"])
            metrics |= {name + NEXT: score for name, score in scores.items()}
        return replace(outcome, metrics=metrics)

    return train


def judged(
    name: str, arms: Sequence[Arm], reference: str, metric: str, seeds: Sequence[int], runs: dict[Key, Run]
) -> dict[str, Any]:
    """Return the verdicts of `kirigami compare` on arms against one of them, by label."""
    asked = Asked.read({**OPTIONS, "margin": MARGIN, "repeats": len(seeds)})
    plan = Plan(name, Path(), asked.over, list(arms), reference, metric, "maximize", "the study's values", 0)
    return {row["arm"]: row for row in compare.judged(plan, asked, seeds, runs)["arms"]}


def measure_set(name: str, repeats: int) -> dict[str, Any]:
    """Return the verdicts on one set of data: on fractions where it has an aim, on core sets where that is asked."""
    coresets = [one for one in CORESETS if one != "random"] if name != "ant" else []
    arms = list(arms_of(name, FRACTIONS if name in AIMS else CHOSEN, coresets))
    seeds, metric = seeds_after(0, repeats), METRIC[name]
    with tempfile.TemporaryDirectory() as folder:
        record, console = Record(Path(folder) / "runs.jsonl"), Console(stderr=True, quiet=True)
        runs = run_all(arms, seeds, record, trainer(name, Path(folder)), metric=metric, console=console)
    found: dict[str, Any] = {}
    if name in AIMS:
        chance = [arm for arm in arms if arm.label == f"{arm.value:g}"]
        found["fractions"] = {
            one + rows: judged(name, chance, "1", one + rows, seeds, runs)
            for one in (metric, BESIDE)
            for rows in ("", NEXT)
        }
    if coresets:
        found["core sets"] = {
            f"{fraction:g}": judged(
                name, [arm for arm in arms if arm.value == fraction], f"{fraction:g}", metric, seeds, runs
            )
            for fraction in CHOSEN
        }
    print(name, *prose(name, found), sep="\n  ")
    return found


def measure(repeats: int = REPEATS) -> dict[str, Any]:
    """Return all verdicts."""
    from kirigami.search.training.trainer import quiet

    quiet()
    torch.set_num_threads(1)
    names = [name for name in SETS if name == "digits" or os.environ.get("KIRIGAMI_DATA")]
    found = {name: measure_set(name, repeats) for name in names}
    told = [f"{name}: {'; '.join(prose(name, rows, briefly=True))}." for name, rows in found.items()]
    missing = "" if "ant" in found else " The defect data were not measured: KIRIGAMI_DATA is not set."
    return {
        "sets": found,
        "prose": f"Less data, {repeats} paired repeats, margin {MARGIN}, median difference [90 % interval], p by Holm, "
        f"Cliff's delta, seconds of training. {' '.join(told)}{missing}",
    }


def prose(name: str, found: dict[str, Any], *, briefly: bool = False) -> list[str]:
    """Say each verdict, and whether the aim for one half is reached; briefly without 1/8 and the tests of core sets."""
    lines = []
    for metric, verdicts in found.get("fractions", {}).items():
        if metric.startswith(BESIDE):
            shown, aim = {"0.5": verdicts["0.5"]}, ""
        else:
            reached = "reached" if verdicts["0.5"]["verdict"] == AIMS[name] else "NOT reached"
            shown = {label: row for label, row in verdicts.items() if not briefly or label != "0.125"}
            aim = f" (aim 0.5 {AIMS[name]}: {reached})"
        lines.append(f"{metric}, all rows {verdicts['1']['mean']:.3f}, {listed(shown)}{aim}")
    for fraction, verdicts in found.get("core sets", {}).items():
        lines.append(f"{fraction} of the rows, by chance {verdicts[fraction]['mean']:.3f}, {listed(verdicts, briefly)}")
    return lines


def listed(verdicts: dict[str, Any], briefly: bool = False) -> str:
    """Return the rows that have a verdict, in words."""
    return ", ".join(
        f"{label} {row['verdict']} ({row['difference']:+.3f} [{row['interval'][0]:+.3f}, {row['interval'][1]:+.3f}]"
        + ("" if briefly else f", {tested(row)}")
        + ")"
        for label, row in verdicts.items()
        if "verdict" in row
    )


def tested(row: dict[str, Any]) -> str:
    """Return the test, the effect and the time of a row."""
    time = 100 * (row["seconds_ratio"] - 1)
    return f"p {row['p_holm']:.2g}, delta {row['cliffs_delta']:+.2f}, {time:+.0f} % time"
