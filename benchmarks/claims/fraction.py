"""Less data: verdicts on 1/2, 1/4 and 1/8 of the training rows of two defect projects, and core sets against chance.

Every arm is a whole config and every repeat a seed that all arms share (rows that judge, rows kept, initial weights,
order of the batches), as in `kirigami compare`: median difference, 90 % interval,
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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from kirigami.search.comparing.statistics import compare
from kirigami.search.comparing.training import repeat, scores_on_test
from kirigami.search.config.compose import compose
from kirigami.search.config.resolve import resolve
from kirigami.search.training.job import Job
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
SECONDS = "fit_s"
FIRST_SEED = 1000  # as `kirigami compare` begins
Scores = Mapping[str, Sequence[Mapping[str, float]]]
"""By arm and repeat: metrics of the validation rows, of the next version where there is one, and seconds of `fit`."""


def arms_of(fractions: Sequence[float], coresets: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield label and task of an arm for each fraction of rows by chance, and for each core set at each of `CHOSEN`."""
    for fraction in fractions:
        yield f"{fraction:g}", {"fraction": fraction}
    for fraction in CHOSEN:
        for coreset in coresets:
            yield f"{coreset} {fraction:g}", {"fraction": fraction, "coreset": coreset}


def trained(name: str, config: Mapping[str, Any], seed: int) -> dict[str, float]:
    """Train a config under a seed; return its scores, those of the next version too where there is one, and seconds."""
    job = Job(0, {**config, "seed": seed}, lambda fidelity, metrics: None)
    outcome = repeat(job, 0, 1)
    scores = {metric: float(outcome.metrics.get(metric, "nan")) for metric in {METRIC[name], BESIDE}}
    if name in AIMS and outcome.trained is not None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "network.safetensors"
            outcome.trained.save(file)
            (tested,) = scores_on_test([file], job.config, seed)
        scores |= {metric + NEXT: tested[metric] for metric in scores}
    return {**scores, SECONDS: job.details[SECONDS]}


def verdicts(scores: Scores, reference: str, metric: str) -> dict[str, dict[str, Any]]:
    """Return by arm its mean, and the verdict on it against the reference, which has none."""
    values = {label: [run.get(metric, float("nan")) for run in runs] for label, runs in scores.items()}
    seconds = {label: sum(run[SECONDS] for run in runs) for label, runs in scores.items()}
    others = {label: row for label, row in values.items() if label != reference}
    rows: dict[str, dict[str, Any]] = {label: {"scores": row, "mean": fmean(row)} for label, row in values.items()}
    for label, verdict in compare(values[reference], others, direction="maximize", margin=MARGIN).items():
        rows[label] |= {
            "verdict": verdict.verdict,
            "difference": verdict.difference,
            "interval": [verdict.low, verdict.high],
            "p_holm": verdict.p_holm,
            "cliffs_delta": verdict.delta,
            "seconds_ratio": round(seconds[label] / seconds[reference], 4),
        }
    return rows


def measure_set(name: str, repeats: int) -> dict[str, Any]:
    """Return the verdicts on one set of data: on fractions where it has an aim, on core sets where that is asked."""
    coresets = [coreset for coreset in CORESETS if coreset != "random"] if name != "ant" else []
    arms = dict(arms_of(FRACTIONS if name in AIMS else CHOSEN, coresets))
    config = resolve(compose(SETS[name]))
    scores: dict[str, list[dict[str, float]]] = {label: [] for label in arms}
    for index in range(repeats):
        turn = index % len(arms)  # each arm is once the first, which warms the machine up
        for label in [*list(arms)[turn:], *list(arms)[:turn]]:
            settings = {**config, "task": {**config["task"], **arms[label]}}
            scores[label].append(trained(name, settings, FIRST_SEED + index))
    tables: dict[str, Any] = {}
    if name in AIMS:
        chance = {label: scores[label] for label in arms if "coreset" not in arms[label]}
        metrics = (METRIC[name], METRIC[name] + NEXT, BESIDE, BESIDE + NEXT)
        tables["fractions"] = {metric: verdicts(chance, "1", metric) for metric in metrics}
    if coresets:
        tables["core sets"] = {}
        for fraction in CHOSEN:
            alike = {label: scores[label] for label in arms if arms[label]["fraction"] == fraction}
            tables["core sets"][f"{fraction:g}"] = verdicts(alike, f"{fraction:g}", METRIC[name])
    print(name, *prose(name, tables), sep="\n  ")
    return tables


def measure(repeats: int = REPEATS) -> dict[str, Any]:
    """Return all verdicts."""
    import torch

    from kirigami.search.training.trainer import quiet

    quiet()
    torch.set_num_threads(1)
    names = [name for name in SETS if name == "digits" or os.environ.get("KIRIGAMI_DATA")]
    tables = {name: measure_set(name, repeats) for name in names}
    lines = [f"{name}: {'; '.join(prose(name, rows, briefly=True))}." for name, rows in tables.items()]
    missing = "" if "ant" in tables else " The defect data were not measured: KIRIGAMI_DATA is not set."
    return {
        "sets": tables,
        "prose": f"Less data, {repeats} paired repeats, margin {MARGIN}, median difference [90 % interval], p by Holm, "
        f"Cliff's delta, seconds of training. {' '.join(lines)}{missing}",
    }


def prose(name: str, tables: dict[str, Any], *, briefly: bool = False) -> list[str]:
    """Say each verdict, and whether the aim for one half is reached; briefly without 1/8 and the tests of core sets."""
    lines = []
    for metric, rows in tables.get("fractions", {}).items():
        if metric.startswith(BESIDE):
            shown, aim = {"0.5": rows["0.5"]}, ""
        else:
            reached = "reached" if rows["0.5"]["verdict"] == AIMS[name] else "NOT reached"
            shown = {label: row for label, row in rows.items() if not briefly or label != "0.125"}
            aim = f" (aim 0.5 {AIMS[name]}: {reached})"
        lines.append(f"{metric}, all rows {rows['1']['mean']:.3f}, {listed(shown)}{aim}")
    for fraction, rows in tables.get("core sets", {}).items():
        lines.append(f"{fraction} of the rows, by chance {rows[fraction]['mean']:.3f}, {listed(rows, briefly)}")
    return lines


def listed(rows: dict[str, Any], briefly: bool = False) -> str:
    """Return the rows that have a verdict, in words."""
    return ", ".join(
        f"{label} {row['verdict']} ({row['difference']:+.3f} [{row['interval'][0]:+.3f}, {row['interval'][1]:+.3f}]"
        + ("" if briefly else f", {tested(row)}")
        + ")"
        for label, row in rows.items()
        if "verdict" in row
    )


def tested(row: dict[str, Any]) -> str:
    """Return the test, the effect and the time of a row."""
    time = 100 * (row["seconds_ratio"] - 1)
    return f"p {row['p_holm']:.2g}, delta {row['cliffs_delta']:+.2f}, {time:+.0f} % time"
