"""Shortest paths under a curriculum: F1 after each switch to longer paths, and on larger grids, with templates or not.

Grids of 10x10 in four stages that allow longer and longer paths, one after another, with the same epochs each; the
optimiser begins anew at each switch. A pre-activation ResNet of 8 blocks whose layers mix 4 templates (`shared`), the
same without (`deep`), a narrower one with as many parameters as the shared one (`thin`), and one with two weights in
all its blocks (`tied`). F1 of each stage's own test grids before its first epoch and after each; then, being fully
convolutional, the networks are tried on larger grids: with paths as long as those trained on, and with longer ones.
Paired by seed; nothing is selected, and test grids are opened once all networks are trained.
"""

import copy
import time
from statistics import mean
from typing import Any

from benchmarks.claims.sharing import NETWORK, SHARED, TEMPLATES, points
from benchmarks.rig.record import spread
from benchmarks.rig.training import build, fit, open_task, parameters, score

SEEDS = range(5)
SIZE = 10
STAGES = (0.15, 0.3, 0.6, 1.0)
EPOCHS, FIRST = 5, 2  # of a stage, and those that count as the first after a switch
SHAPES = {
    "shared": {"blocks": 8, "width": 16},
    "deep": {"blocks": 8, "width": 16},
    "thin": {"blocks": 8, "width": 10},
    "tied": {"blocks": 8, "width": 16},
}
LARGER = (10, 14, 20, 28)
LENGTHS = ("same", "longer")


def measure() -> dict[str, Any]:
    """Train every network through the curriculum under every seed, then score all that was kept of it."""
    began = time.perf_counter()
    trained = {(name, seed): train(name, seed) for seed in SEEDS for name in SHAPES}
    results: dict[str, Any] = {"stages": list(STAGES), "epochs": EPOCHS, "params": {}}
    curves: dict[str, list[list[list[float]]]] = {name: [] for name in SHAPES}
    larger: dict[str, list[dict[str, float]]] = {name: [] for name in SHAPES}
    for (name, seed), (module, snapshots) in trained.items():
        results["params"][name] = parameters(module)
        curves[name].append(curve(module, snapshots, seed))
        larger[name].append(on_larger(module, seed))
    results["curves"] = {name: _averages(runs) for name, runs in curves.items()}
    results["after_switch"] = {name: spread([after_switch(run) for run in runs]) for name, runs in curves.items()}
    results["last"] = {name: spread([run[-1][-1] for run in runs]) for name, runs in curves.items()}
    results["larger"] = {
        name: {case: spread([run[case] for run in runs]) for case in runs[0]} for name, runs in larger.items()
    }
    others = [name for name in SHAPES if name != "shared"]
    for key in ("after_switch", "last"):
        results[f"shared_less_{key}"] = {name: _less(results[key], name) for name in others}
    results["shared_less_larger"] = {
        case: {name: _less({k: row[case] for k, row in results["larger"].items()}, name) for name in others}
        for case in results["larger"]["shared"]
    }
    _print(results)
    print(f"{time.perf_counter() - began:.0f} s")
    return {**results, "prose": prose(results)}


def grids(seed: int, size: int, difficulty: float) -> Any:
    """Open the task at a size and a difficulty."""
    config = {"name": "paths", "size": size, "rows": 2000, "validation": 1, "test": 1000, "difficulty": difficulty}
    return open_task(config, seed)


def train(name: str, seed: int) -> tuple[Any, list[list[dict[str, Any]]]]:
    """Train through all stages; return the module and its states, by stage, before the first epoch and after each."""
    from lightning.pytorch import Callback, LightningModule, Trainer

    from kirigami.models.sharing import SoftSharing, TiedLayers

    class Keep(Callback):
        def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            snapshots[-1].append(copy.deepcopy(pl_module.state_dict()))

    techniques = {
        "shared": lambda: [SoftSharing(TEMPLATES, groups=SHARED, seed=seed)],
        "tied": lambda: [TiedLayers(groups=SHARED, distinct=2, seed=seed)],
    }
    callbacks = techniques[name]() if name in techniques else []
    module = build({**NETWORK, **SHAPES[name]}, grids(seed, SIZE, STAGES[0]), seed)
    for technique in callbacks:
        technique.attach(module.network)
    snapshots: list[list[dict[str, Any]]] = []
    for difficulty in STAGES:
        snapshots.append([copy.deepcopy(module.state_dict())])
        schedule = {"name": "cosine" if difficulty == STAGES[-1] else "constant"}
        task = grids(seed, SIZE, difficulty)
        fit(module, task, [*callbacks, Keep()], epochs=EPOCHS, lr=0.05, schedule=schedule)
    return module, snapshots


def curve(module: Any, snapshots: list[list[dict[str, Any]]], seed: int) -> list[list[float]]:
    """Return F1 of each stage's test grids: before its first epoch and after each; the module keeps the last state."""
    rows = []
    for difficulty, states in zip(STAGES, snapshots, strict=True):
        task, row = grids(seed, SIZE, difficulty), []
        for state in states:
            module.load_state_dict(state)
            row.append(score(module, task, "test", "f1"))
        rows.append(row)
    return rows


def after_switch(run: list[list[float]]) -> float:
    """Return the mean F1 over the first epochs after all switches."""
    return mean(value for row in run[1:] for value in row[1 : 1 + FIRST])


def on_larger(module: Any, seed: int) -> dict[str, float]:
    """Return F1 on grids of growing size, by `size, length of paths`."""
    reach = 2 * (SIZE - 1)
    cases = {}
    for size in LARGER:
        for length in LENGTHS:
            difficulty = reach / (2 * (size - 1)) if length == "same" else 1.0
            cases[f"{size}, {length}"] = score(module, grids(seed, size, difficulty), "test", "f1")
    return cases


def _less(rows: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the shared network's figure less another's, seed by seed."""
    return spread([a - b for a, b in zip(rows["shared"]["runs"], rows[name]["runs"], strict=True)])


def _averages(runs: list[list[list[float]]]) -> list[list[float]]:
    """Return mean F1 over the seeds, by stage and epoch."""
    return [[round(mean(values), 4) for values in zip(*rows, strict=True)] for rows in zip(*runs, strict=True)]


def _print(results: dict[str, Any]) -> None:
    for name, rows in results["curves"].items():
        stages = "   ".join(" ".join(f"{value:.3f}" for value in row) for row in rows)
        print(f"{name:<8} {results['params'][name]:>7,} parameters  {stages}")
    for case in results["larger"]["shared"]:
        row = "  ".join(f"{name} {results['larger'][name][case]['mean']:.4f}" for name in SHAPES)
        print(f"grids {case:<12} {row}")


def prose(results: dict[str, Any]) -> str:
    """Say what came out."""
    params = ", ".join(f"{name} {count:,}" for name, count in results["params"].items())
    switch, last, larger = (results[f"shared_less_{key}"] for key in ("after_switch", "last", "larger"))
    grown = [f"{LARGER[-1]}, {length}" for length in LENGTHS]

    def against(rows: dict[str, Any]) -> str:
        return ", ".join(f"{points(row)} from {name}" for name, row in rows.items())

    same, longer = (results["larger"]["shared"][case]["mean"] for case in grown)
    first, final = (results[key]["shared"]["mean"] for key in ("after_switch", "last"))
    return (
        f"Paths 10x10, longest path in four stages of {EPOCHS} epochs; test F1, {len(SEEDS)} seeds ({params} "
        f"parameters). Mean of the first {FIRST} epochs after each switch: shared {first:.3f}, {against(switch)}; at "
        f"the end {final:.3f}, {against(last)}. On grids of {LARGER[-1]}x{LARGER[-1]} with paths as long as in "
        f"training: shared {same:.3f}, {against(larger[grown[0]])}; with longer ones {longer:.3f}, "
        f"{against(larger[grown[1]])}."
    )
