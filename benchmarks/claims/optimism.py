"""How much better the chosen network looks on the rows it was chosen by than on unseen ones, by how rows validate.

Software defects of 8 projects (PROMISE, with KIRIGAMI_DATA), AUC. In each of three worlds the same random
configurations of a perceptron are tried, and one of them is chosen:

- `share`: a quarter of the train rows validates; the best trial's network is tested as it was trained.
- `folds`: each of five folds validates once; the best mean's configuration is trained again on all rows, and tested.

Of each also the choice that `export` makes by default, the smallest file not told apart from the best, is tested.

Unseen rows are of two kinds. `chance`: a third of the rows of all versions, drawn by chance, so that the difference is
what choosing and few rows do. `time`: the project's last version, so that what has changed since is in it too; there
`last` is a third way to validate, by the last of the train files.

Optimism is validation AUC minus test AUC. Spreads are over the projects, each the mean over seeds; its size is also
given without sign, for an estimate that is as often too low as too high is no better than one that is not.
"""

import json
import os
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.rig.record import spread

PROJECTS = ("camel", "ivy", "jedit", "log4j", "lucene", "poi", "xalan", "xerces")
SEEDS, TRIALS, EPOCHS, METRIC = range(2), 15, 12, "auc"
WAYS: dict[str, Any] = {"share": 0.25, "folds": {"folds": 5}, "last": {"last": True}}
SPACE = {
    "network": {
        "width": {"low": 4, "high": 64, "log": True},
        "depth": {"low": 1, "high": 3},
        "activation": {"choices": ["relu", "tanh", "silu"]},
    },
    "optimizer": {"lr": {"low": 1e-3, "high": 5e-2, "log": True}},
}


def measure() -> dict[str, Any]:
    """Measure every project, kind of unseen rows, way to validate and seed."""
    if not os.environ.get("KIRIGAMI_DATA"):
        return {"prose": "Optimism was not measured: KIRIGAMI_DATA is not set."}
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder, began = Path(os.environ["KIRIGAMI_DATA"]) / "promise", time.perf_counter()
    versions = json.loads((folder / "splits.json").read_text())["ghost_project_splits_last_is_test"]
    rows = [
        row
        for project in PROJECTS
        for unseen in ("chance", "time")
        for seed in SEEDS
        for row in arms(folder, project, versions[project], unseen, seed)
    ]
    names = dict.fromkeys(row["arm"] for row in rows)
    result = {
        "trials": TRIALS,
        "epochs": EPOCHS,
        "seeds": list(SEEDS),
        "projects": list(PROJECTS),
        "arms": {name: summed([row for row in rows if row["arm"] == name]) for name in names},
        "seconds": round(time.perf_counter() - began),
    }
    return {**result, "prose": prose(result)}


def arms(folder: Path, project: str, versions: list[str], unseen: str, seed: int) -> list[dict[str, Any]]:
    """Search by each way to validate; return what the best and the default choice score on validation and test rows."""
    from kirigami.search.study.choice import chosen
    from kirigami.search.study.record import figure_of

    rows = []
    for way in WAYS:
        if way == "last" and (unseen == "chance" or len(versions) < 3):
            continue
        study = search(config(folder, versions, unseen, WAYS[way], seed))
        choice = chosen(study)
        assert choice is not None
        for pick, trial in (("best", choice.best), ("default", choice.trial)):
            test = tested(trial, is_whole=way != "share", seed=seed)
            row = {"validation": trial.values[0], "test": test, "optimism": trial.values[0] - test}
            size = figure_of(trial, "bytes")
            rows.append({"arm": f"{unseen} {way} {pick}", "project": project, "seed": seed, "bytes": size, **row})
        line = "  ".join(f"{row['arm']} {row['validation']:.3f} - {row['test']:.3f}" for row in rows[-2:])
        print(f"{project:<7} {seed} {line}", flush=True)
    return rows


def config(folder: Path, versions: list[str], unseen: str, validation: Any, seed: int) -> dict[str, Any]:
    """Return the resolved config of a study."""
    from kirigami.search.config.compose import compose
    from kirigami.search.config.resolve import resolve

    train = versions if unseen == "chance" else versions[:-1]
    overrides = [
        *("study=digits_dense", "~space.network", "space=[]", "task=table", "task.train=none", "task.target=bug"),
        *("task.positive='>0'", "task.drop=[name,version,name.1]", "task.log=true", "network=mlp", "network.dropout=0"),
        *("optimizer=adam", "schedule=constant", "trainer.device=cpu", "trainer.batch_size=64", f"seed={seed}"),
        *(f"trainer.epochs={EPOCHS}", f"trainer.val_every={EPOCHS}", f"objective={METRIC}"),
    ]
    resolved = resolve(compose(overrides))
    resolved["task"] |= {
        "path": str(folder),
        "train": [f"{version}.csv" for version in train],
        "test": None if unseen == "chance" else f"{versions[-1]}.csv",
        "test_share": 1 / 3,
        "validation": validation,
    }
    return resolved


def search(base: Mapping[str, Any]) -> Any:
    """Try the configurations of a seed; return the study."""
    import optuna

    from kirigami.search.loop import Loop
    from kirigami.search.training import alone
    from kirigami.search.training.runners import Solo
    from kirigami.spaces import Budget, Space

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=base["seed"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names([METRIC])
    space = Space.from_config(SPACE, base)
    Loop(
        study=study,
        space=space,
        runner=Solo(lambda job: alone.train(job, threads=1)),
        budget=Budget(trials=TRIALS),
        prepare=lambda values: space.apply(base, values),
    ).run()
    return study


def tested(trial: Any, *, is_whole: bool, seed: int) -> float:
    """Train a trial's network again, on all rows if it is to be, and return its score on the test rows."""
    from kirigami.search.export.judge import metrics_of
    from kirigami.search.study.provenance import origin_of
    from kirigami.search.training.alone import train_draw
    from kirigami.search.training.job import Job

    job = Job(trial.number, origin_of(trial).config, lambda fidelity, metrics: None)
    assembly = train_draw(job, None if is_whole else 0)
    assembly.task.setup("test")
    return float(metrics_of(assembly.network, assembly.task, "test")[METRIC])


def summed(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the spread over projects of their means over seeds."""
    projects = dict.fromkeys(row["project"] for row in rows)
    by_project = {project: [row for row in rows if row["project"] == project] for project in projects}
    means = {
        key: {project: fmean(row[key] for row in some) for project, some in by_project.items()}
        for key in ("validation", "test", "optimism", "bytes")
    }
    return {
        **{key: spread(list(values.values())) for key, values in means.items()},
        "size_of_optimism": spread([fmean(abs(row["optimism"]) for row in some) for some in by_project.values()]),
        "by_project": {project: round(value, 4) for project, value in means["optimism"].items()},
    }


def prose(result: Mapping[str, Any]) -> str:
    """Say what each way of validating and choosing came to."""
    from kirigami.search.comparing.statistics import differences, wilcoxon_p

    parts = [
        f"{name}: optimism {arm['optimism']['mean']:+.3f} (sd {arm['optimism']['sd']:.3f}, without sign "
        f"{arm['size_of_optimism']['mean']:.3f}), test {arm['test']['mean']:.3f}, {arm['bytes']['median']:,.0f} bytes"
        for name, arm in result["arms"].items()
    ]
    paired = []
    for unseen in ("chance", "time"):
        before, after = (result["arms"][f"{unseen} {way} best"] for way in ("share", "folds"))
        for key in ("optimism", "test"):
            gaps = differences(after[key]["runs"], before[key]["runs"])
            paired.append(f"{key} on rows unseen by {unseen} {gaps.mean():+.3f}, p {wilcoxon_p(gaps):.3f}")
    size = f"{len(result['projects'])} projects ({len(result['seeds'])} seeds each, {result['trials']} trials)"
    return (
        f"AUC of defects, means over {size}: {'; '.join(parts)}. Folds against a share, the best trial, paired over "
        f"projects: {'; '.join(paired)}."
    )
