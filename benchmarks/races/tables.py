"""Searched networks beside logistic or ridge regression and boosted trees: Camel, breast cancer, diabetes, digits.

Five seeds draw the rows (60 % train, 20 % validation, 20 % test; Camel: older versions, the last one tests) and the
search. The studies are the newcomer's: `breast_cancer`, `defects`, the first one's settings on scikit-learn's diabetes
as a table with a number to learn, and a shortened `digits_dense` (flat pixels for the rivals, a ConvNet for the
search). Two networks of a search are tested, once: the best on the validation rows, and the smallest not told apart
from it, which `export` takes. Rivals are fitted and chosen as in every study: on train rows alone. A network is picked
among so many by its validation rows, so only test rows compare.

It needs KIRIGAMI_DATA, the folder that holds `promise`.
"""

import tempfile
import threading
import time
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.rig.record import spread

SEEDS = (0, 1, 2, 3, 4)
TRIALS = 25
COLUMNS = "+space.task.scale.choices=[standard, robust, ranks]"
STUDIES: dict[str, list[str]] = {
    "breast cancer": ["study=breast_cancer"],
    "diabetes": ["study=breast_cancer", "task=table", "task.target=target", "objective=rmse", COLUMNS],
    "camel": ["study=defects"],
    "digits": ["study=digits_dense", "trainer.epochs=18", "pruner.min_resource=6", "budget.trials=10"],
}
NETWORKS = {"best": "best network", "chosen": "smallest not told apart"}


def measure() -> dict[str, Any]:
    """Search, test and compare, table by table; return what each arm scored."""
    tables = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, words in STUDIES.items():
            more = [f"task.train={diabetes(Path(folder))}"] if name == "diabetes" else []
            runs = [run(name, [f"budget.trials={TRIALS}", *words, *more], seed) for seed in SEEDS]
            tables[name] = summary(runs)
            print(in_words(name, tables[name]), flush=True)
    prose = " ".join(in_words(name, row) for name, row in tables.items())
    return {"tables": tables, "seeds": list(SEEDS), "prose": prose}


def diabetes(folder: Path) -> Path:
    """Write the 442 patients that come with scikit-learn as a CSV file."""
    from sklearn.datasets import load_diabetes

    path = folder / "diabetes.csv"
    load_diabetes(as_frame=True, scaled=False).frame.to_csv(path, index=False)
    return path


def run(name: str, words: list[str], seed: int) -> dict[str, Any]:
    """Search under a seed; return the scores of both networks and of the rivals, on validation and test rows."""
    from kirigami.search.config.compose import compose
    from kirigami.search.config.study import checked
    from kirigami.search.study.choice import chosen
    from kirigami.search.workers.worker import Orders, prepare

    with tempfile.TemporaryDirectory() as folder:
        place = [f"seed={seed}", "name=race", f"storage.url=sqlite:///{folder}/studies.db"]
        raw = checked(compose([*words, *place])).raw
        began = time.process_time()
        loop = prepare(Orders(raw, folder, 0, 1, []), threading.Event())
        loop.run()
        seconds = time.process_time() - began
        choice = chosen(loop.study)
        assert choice is not None, "a trial is complete"
        row = {"metric": loop.study.metric_names[0], "seconds": seconds, "arms": {}}
        for arm, trial in (("best", choice.best), ("chosen", choice.trial)):
            row["arms"][NETWORKS[arm]] = tested(trial, Path(folder), row["metric"])
        row["arms"] |= rivals(choice.best, row["metric"])
    scores = ", ".join(f"{arm} {scored['test']:.4f}" for arm, scored in row["arms"].items())
    print(f"{name} seed {seed}: {scores} ({row['metric']}, test rows), {seconds:.0f} s", flush=True)
    return row


def tested(trial: Any, folder: Path, metric: str) -> dict[str, float]:
    """Return the scores of a trial's network, as it was kept or trained again, and its bytes."""
    from kirigami.search.export.judge import metrics_of
    from kirigami.search.export.run import train_again
    from kirigami.search.study.record import figure_of
    from kirigami.search.training.building import load, open_task
    from kirigami.search.training.networks import Networks

    path = Networks(folder / "networks", "race").path(trial.number)
    if not path.exists():
        train_again(trial).save(path)
    network, config = load(path)
    task = open_task(config.with_changes(trainer={"device": "cpu"}))
    task.setup("test")
    test = metrics_of(network, task, "test")[metric]
    return {"validation": trial.values[0], "test": test, "bytes": figure_of(trial, "bytes")}


def rivals(trial: Any, metric: str) -> dict[str, dict[str, float]]:
    """Return the scores of simple models, and of constant answers, on the rows of a trial."""
    from kirigami.search.config.settings import TrialConfig
    from kirigami.search.study.provenance import origin_of
    from kirigami.search.training.building import open_whole
    from kirigami.tasks import rivals

    task = open_whole(TrialConfig.from_resolved(origin_of(trial).config))
    task.setup("test")
    arms: dict[str, dict[str, float]] = {}
    for part, judges in (("validation", task.validation), ("test", task.test)):
        table = rivals.offer(task, judges)
        assert table is not None, "these are tables"
        for rival in rivals.judge(task, metric, table, list(rivals.fit(table)), judges.targets):
            arms.setdefault(rival.name, {"bytes": rival.bytes})[part] = rival.metrics[metric]
        for name, scores in task.baselines(judges.targets).items():
            arms.setdefault(name.replace("_", " "), {"bytes": 0})[part] = scores[metric]
    return arms


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Bring the seeds of a table together; differences are of test rows, above 0 where the network is better."""
    from kirigami import tasks
    from kirigami.search.comparing.statistics import wilcoxon_p

    metric, arms = runs[0]["metric"], list(runs[0]["arms"])
    sign = 1 if tasks.direction(metric) == "maximize" else -1
    simple = [arm for arm in arms if arm in ("logistic regression", "ridge regression", "gradient boosting")]

    def values(arm: str, part: str) -> list[float]:
        return [run["arms"][arm][part] for run in runs]

    gaps = {
        network: {
            arm: [sign * (a - b) for a, b in zip(values(network, "test"), values(arm, "test"), strict=True)]
            for arm in simple
        }
        for network in NETWORKS.values()
    }
    return {
        "metric": metric,
        "arms": {arm: {part: spread(values(arm, part)) for part in ("test", "validation", "bytes")} for arm in arms},
        "against": {
            network: {
                arm: {"mean": mean(gap), "ahead": sum(one > 0 for one in gap), "p": wilcoxon_p(gap)}
                for arm, gap in of_arm.items()
            }
            for network, of_arm in gaps.items()
        },
        "seconds": spread([run["seconds"] for run in runs]),
    }


def in_words(name: str, table: dict[str, Any]) -> str:
    """Return what the arms scored on the test rows, and how the networks stand against the simple models."""
    scores = ", ".join(
        f"{arm} {row['test']['mean']:.4f} ± {row['test']['sd']:.4f}"
        + (f" in {row['bytes']['median']:,.0f} bytes" if row["bytes"]["median"] else "")
        for arm, row in table["arms"].items()
    )
    against = "; ".join(
        f"{network} against {arm} {gap['mean']:+.4f}, ahead in {gap['ahead']} of {len(SEEDS)} (p {gap['p']:.2f})"
        for network, row in table["against"].items()
        for arm, gap in row.items()
    )
    return f"{name}, test {table['metric']}: {scores}; {against}; {table['seconds']['median']:.0f} CPU s a search."
