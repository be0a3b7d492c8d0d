"""Defects of 8 projects, the last version judged once: searched networks, fixed ones, and published figures.

Table: learn from all versions but the last, test on the last (log(1 + metric), standardised). Arms:
- searched: 30 TPE trials over imbalance method, network and rate, each trained on 3/4 of the older versions' rows and
  judged by the balanced accuracy of the other quarter, drawn by class; the best trial's network is tested, once.
- cut: the same network with the threshold that has the best balanced accuracy on those validation rows.
- fixed: one class-weighted perceptron; logistic and forest: scikit-learn's, class_weight="balanced". They select
  nothing and so train on all rows but two, one of each class. They decide at .5, as `searched` does.
Test rows choose nothing. The published figures are medians of GHOST (Yedida & Menzies, TSE 2022), which picked the
best of 30 configurations on the test rows; what they call AUC is the balanced accuracy. Beside each F1 stands that of
calling every class defective; of calling none, it is 0. Seeds are paired; the pairs of a project share its test rows,
so there is a test over the 8 medians, too.

Methods: Camel 1.4 to 1.6, the fixed perceptron with every imbalance method against none, 20 paired seeds.

It needs KIRIGAMI_DATA, the folder that holds `promise`.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.rig import training
from benchmarks.rig.record import spread

PROJECTS = ("camel", "ivy", "jedit", "log4j", "lucene", "poi", "xalan", "xerces")
GHOST = dict(zip(PROJECTS, (0.623, 0.688, 0.677, 0.655, 0.589, 0.728, 0.748, 0.613), strict=True))
SEEDS, TRIALS, EPOCHS = range(5), 30, 15
METHODS = ("none", "weights", "oversample", "smote", "fuzzy", "radial")
CAMEL_SEEDS, RECALL, F1 = range(20), 0.25, 0.05  # aims over none
FIXED = {"network": {"name": "mlp", "width": 32, "depth": 2}, "optimizer": {"name": "adam", "lr": 0.01}}
SPACE = {
    "imbalance": {"method": {"choices": list(METHODS)}},
    "network": {
        "width": {"low": 8, "high": 64, "log": True},
        "depth": {"low": 1, "high": 3},
        "activation": {"choices": ["relu", "tanh", "silu", "mish"]},
    },
    "optimizer": {"lr": {"low": 1e-3, "high": 5e-2, "log": True}},
}
ARMS = ("searched", "cut", "fixed", "logistic", "forest")
SHOWN = ("balanced_accuracy", "recall", "false_alarm", "f1")
GOAL = "balanced_accuracy"


def measure() -> dict[str, Any]:
    """Measure the table and the methods."""
    if not os.environ.get("KIRIGAMI_DATA"):
        return {"prose": "Defects were not measured: KIRIGAMI_DATA is not set."}
    began = time.perf_counter()
    folder = Path(os.environ["KIRIGAMI_DATA"]) / "promise"
    splits = json.loads((folder / "splits.json").read_text())["ghost_project_splits_last_is_test"]
    by_project = {project: project_runs(project, splits[project]) for project in GHOST}
    methods = camel()
    verdicts = {"pairs": judged(by_project, medians=False), "projects": judged(by_project, medians=True)}
    result = {
        "projects": {
            project: {
                "ghost": GHOST[project],
                "f1_all_positive": runs[0]["searched"]["f1_all_positive"],
                "chosen": [run["searched"]["chosen"] for run in runs],
                **{arm: {key: spread([run[arm][key] for run in runs]) for key in (*SHOWN, "seconds")} for arm in ARMS},
            }
            for project, runs in by_project.items()
        },
        "against_searched": verdicts,
        "against_ghost": {arm: against_ghost(by_project, arm) for arm in ARMS},
        "camel_methods": methods,
    }
    print(f"{time.perf_counter() - began:.0f} s")
    return {**result, "prose": f"{table_prose(result)} {camel_prose(methods)}"}


def project_runs(project: str, versions: list[str]) -> list[dict[str, Any]]:
    """Return what every arm scored on the last version, seed by seed."""
    runs = []
    for seed in SEEDS:
        runs.append({**searched(versions, seed), **others(versions, seed)})
        print(
            f"{project:<7} {seed} GHOST {GHOST[project]:.3f}  "
            + "  ".join(f"{arm} {runs[-1][arm][GOAL]:.3f}" for arm in ARMS)
            + f"  ({runs[-1]['searched']['chosen']['imbalance']}, {runs[-1]['searched']['seconds']:.0f} s)",
            flush=True,
        )
    return runs


def table(versions: list[str], seed: int, method: str = "weights", *, validation: float = 0.25) -> Any:
    """Open the task that tests on the last of the versions."""
    import torch

    from kirigami import tasks

    torch.set_num_threads(1)
    config = {
        "name": "table",
        "path": str(Path(os.environ["KIRIGAMI_DATA"]) / "promise"),
        "train": [f"{version}.csv" for version in versions[:-1]],
        "test": f"{versions[-1]}.csv",
        "target": "bug",
        "positive": ">0",
        "drop": ["name", "version", "name.1"],
        "log": True,
        "validation": validation,
    }
    task = tasks.build(config, seed=seed)
    task.imbalance = tasks.imbalance.build({"method": method})
    task.setup("fit")
    return task


def train(task: Any, network: dict[str, Any], optimizer: dict[str, Any], seed: int) -> Any:
    """Train a network, with the task's class weights where it has any."""
    from kirigami import models

    module = training.build(network, task, seed)
    module.loss = models.outputs.loss("auto", task.kind, task.classes, weights=task.class_weights)
    training.fit(module, task, epochs=EPOCHS, lr=optimizer["lr"], optimizer=optimizer)
    return module


def outputs(module: Any, batches: Any) -> tuple[Any, Any]:
    """Return the outputs and targets of all rows."""
    import torch

    module.eval()
    with torch.no_grad():
        pairs = [(module(inputs), targets) for inputs, targets in batches]
    return tuple(torch.cat(part) for part in zip(*pairs, strict=True))


def searched(versions: list[str], seed: int) -> dict[str, Any]:
    """Search on the validation rows, and test the best network at .5 and at the threshold of the validation rows."""
    from kirigami import optimize
    from kirigami.models.calibration import choose_threshold

    began, best = time.perf_counter(), {"score": -1.0}

    def evaluate(config: Mapping[str, Any]) -> Iterator[tuple[int, dict[str, float]]]:
        task = table(versions, seed, config["imbalance"]["method"])
        module = train(task, config["network"], config["optimizer"], seed)
        score = task.evaluate(*outputs(module, task.val_dataloader()))[GOAL]
        if score > best["score"]:
            best.update(score=score, module=module, task=task, config=config)
        yield 1, {GOAL: score}

    optimize(
        SPACE,
        evaluate,
        budget=TRIALS,
        seed=seed,
        objective={GOAL: "maximize"},
        config={"imbalance": {"method": "none"}, **FIXED, "network": {**FIXED["network"], "activation": "relu"}},
    )
    task, module, config = best["task"], best["module"], best["config"]
    cut = choose_threshold(*outputs(module, task.val_dataloader()), GOAL)
    seconds = time.perf_counter() - began
    task.setup("test")
    scored, targets = outputs(module, task.test_dataloader())
    trivial = task.baselines(targets)["all_positive"]["f1"]
    chosen = {"imbalance": config["imbalance"]["method"], **config["network"], "lr": config["optimizer"]["lr"]}
    plain = {**task.evaluate(scored, targets), "seconds": seconds, "f1_all_positive": trivial, "chosen": chosen}
    moved = scored.clone()
    moved[:, 1] -= cut
    return {"searched": plain, "cut": {**task.evaluate(moved, targets), "seconds": seconds, "cut": cut}}


def others(versions: list[str], seed: int) -> dict[str, Any]:
    """Test the arms that select nothing, trained on all rows but two."""
    import torch
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    task = table(versions, seed, validation=2)
    task.setup("test")
    began = time.perf_counter()
    module = train(task, **FIXED, seed=seed)
    fixed = {"seconds": time.perf_counter() - began, **task.evaluate(*outputs(module, task.test_dataloader()))}
    scores = {"fixed": fixed}
    for name, learner in (
        ("logistic", LogisticRegression(class_weight="balanced", max_iter=1000)),
        ("forest", RandomForestClassifier(class_weight="balanced", random_state=seed, n_jobs=1)),
    ):
        began = time.perf_counter()
        learner.fit(*(part.numpy() for part in task.train))
        seconds = time.perf_counter() - began
        chances = torch.from_numpy(learner.predict_proba(task.test.inputs.numpy()))
        scores[name] = {"seconds": seconds, **task.evaluate(chances, task.test.targets)}
    return scores


def judged(by_project: dict[str, list[dict[str, Any]]], *, medians: bool) -> dict[str, Any]:
    """Compare every arm with the searched network: over all pairs, or over the medians of the projects."""
    from kirigami.search.comparing.statistics import compare

    def scores(arm: str) -> list[float]:
        rows = [[run[arm][GOAL] for run in runs] for runs in by_project.values()]
        return [median(row) for row in rows] if medians else [value for row in rows for value in row]

    verdicts = compare(scores("searched"), {arm: scores(arm) for arm in ARMS[1:]}, direction="maximize")
    return {arm: vars(verdict) for arm, verdict in verdicts.items()}


def against_ghost(by_project: dict[str, list[dict[str, Any]]], arm: str) -> dict[str, Any]:
    """Compare the medians of an arm with the published ones."""
    from kirigami.search.comparing.statistics import differences, wilcoxon_p

    ours = [median(run[arm][GOAL] for run in runs) for runs in by_project.values()]
    gaps = differences(ours, [GHOST[project] for project in by_project])
    return {
        "higher": int((gaps > 0).sum()),
        "lower": int((gaps < 0).sum()),
        "difference": float(np.median(gaps)),
        "p": wilcoxon_p(gaps),
    }


def camel() -> dict[str, Any]:
    """Return recall, F1 and what they cost on Camel 1.6 by imbalance method, with verdicts against none."""
    from kirigami.search.comparing.statistics import compare

    runs: dict[str, list[dict[str, float]]] = {method: [] for method in METHODS}
    for seed in CAMEL_SEEDS:
        for method, rows in runs.items():
            task = table(["camel-1.4", "camel-1.6"], seed, method)
            module = train(task, **FIXED, seed=seed)
            task.setup("test")
            scored, targets = outputs(module, task.test_dataloader())
            rows.append({**task.evaluate(scored, targets), "trivial": task.baselines(targets)["all_positive"]["f1"]})
    shown = (*SHOWN, "precision", "auc")
    methods: dict[str, Any] = {
        method: {key: spread([row[key] for row in rows]) for key in shown} for method, rows in runs.items()
    }
    for key in ("recall", "f1", GOAL):
        scores = {method: [row[key] for row in rows] for method, rows in runs.items()}
        verdicts = compare(scores.pop("none"), scores, direction="maximize")
        for method, verdict in verdicts.items():
            methods[method][f"{key}_over_none"] = vars(verdict)
    for method in METHODS:
        print(f"camel 1.6 {method:<10} " + "  ".join(f"{key} {methods[method][key]['median']:.3f}" for key in shown))
    return {"f1_all_positive": runs["none"][0]["trivial"], "seeds": len(CAMEL_SEEDS), "methods": methods}


def table_prose(result: dict[str, Any]) -> str:
    """Say who was ahead, project by project and over all."""
    rows = []
    for project, row in result["projects"].items():
        arms = ", ".join(f"{arm} {row[arm][GOAL]['median']:.3f}" for arm in ARMS)
        f1 = f"F1 {row['searched']['f1']['median']:.2f} (all positive {row['f1_all_positive']:.2f})"
        rates = (
            f"recall {row['searched']['recall']['median']:.2f}, alarms {row['searched']['false_alarm']['median']:.2f}"
        )
        rows.append(f"{project} GHOST {row['ghost']:.3f}, {arms}, searched {rates}, {f1}")
    ahead = "; ".join(
        f"{arm} above in {row['higher']} and below in {row['lower']} of {len(GHOST)} (median {row['difference']:+.3f}, "
        f"p {row['p']:.2f})"
        for arm, row in result["against_ghost"].items()
    )
    pairs, medians = (result["against_searched"][key] for key in ("pairs", "projects"))
    against = "; ".join(
        f"{arm} {row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}], p {row['p_holm']:.3f}, Cliff's delta "
        f"{row['delta']:+.2f}: {row['verdict']}; over the medians p {medians[arm]['p_holm']:.2f}: "
        f"{medians[arm]['verdict']}"
        for arm, row in pairs.items()
    )
    seconds = {arm: median(row[arm]["seconds"]["median"] for row in result["projects"].values()) for arm in ARMS}
    took = ", ".join(f"{arm} {seconds[arm]:.2g} s" for arm in ("searched", "fixed", "logistic", "forest"))
    return (
        f"Balanced accuracy on the last version, median of {len(SEEDS)} seeds, beside the published median of the best "
        f"of 30 on the test rows: {'; '.join(rows)}. Against GHOST: {ahead}. Against searched ({TRIALS} trials), "
        f"{len(SEEDS) * len(GHOST)} pairs: {against}. Median wall time: {took}."
    )


def camel_prose(table: dict[str, Any]) -> str:
    """Say what every method did to recall and F1."""
    plain = table["methods"]["none"]
    parts = []
    for method in METHODS[1:]:
        row = table["methods"][method]
        recall, f1, balanced = (row[f"{key}_over_none"] for key in ("recall", "f1", GOAL))
        better = recall["verdict"] == f1["verdict"] == "better"
        reached = better and recall["difference"] >= RECALL and f1["difference"] >= F1
        parts.append(
            f"{method} recall {recall['difference']:+.2f} ({recall['verdict']}), F1 {f1['difference']:+.3f} "
            f"[{f1['low']:+.3f}, {f1['high']:+.3f}] ({f1['verdict']}), balanced accuracy {balanced['difference']:+.3f} "
            f"({balanced['verdict']}), false alarms {row['false_alarm']['median']:.2f}: "
            f"{'reached' if reached else 'NOT reached'}"
        )
    return (
        f"Camel 1.4 to 1.6, {table['seeds']} paired seeds, one perceptron: none has recall "
        f"{plain['recall']['median']:.2f}, false alarms {plain['false_alarm']['median']:.2f}, F1 "
        f"{plain['f1']['median']:.3f} (all positive {table['f1_all_positive']:.3f}, all negative 0). Over none (aim "
        f"recall +{RECALL}, F1 +{F1}): {'; '.join(parts)}."
    )
