"""Shared and folded networks: digits against the deep unshared twin, shortest paths with and without fold pressure.

(a) Digits, a pre-activation ResNet of one stage, 7 blocks, width 16: 4 templates against the unshared network.
(b) Shortest paths on 8x8 grids, 8 blocks: the network before the fold, folded with its norms re-estimated, and after
    fine-tuning; with pressure and without, each beside a random fold of equal size. Controls, trained for as long in
    all: a network tied from the start, an unshared one of equal size and the deep one. F1 of the cells on a path.
The similarity of layers is printed beside that of random coefficients. Nothing is selected, so the figures are those
of the test rows, opened once all networks are trained.
"""

import copy
import time
from statistics import mean
from typing import Any

from benchmarks.record import spread

SEEDS = (0, 1, 2)
SHARED = ["stages.0.[!0].conv*"]  # as in the paper, the first block keeps its own weights
TEMPLATES, DISTINCT, PRESSURE = 4, 2, 3.0
DIGITS = {"task": {"name": "digits"}, "blocks": 7, "epochs": 20, "lr": 0.1, "metric": "accuracy"}
PATHS = {
    "task": {"name": "paths", "size": 8, "rows": 2000, "validation": 500, "test": 2000},
    "blocks": 8,
    "epochs": 16,
    "lr": 0.1,
    "metric": "f1",
}
TUNING = {"epochs": 3, "lr": 0.02}
CONTROLS = {"tied": 8, "shallow": 2, "deep": 8}  # and their blocks


def measure() -> dict[str, Any]:
    """Run both parts and return their figures."""
    began = time.perf_counter()
    digits, paths = compare_digits(), compare_paths()
    print(f"{time.perf_counter() - began:.0f} s")
    return {"digits": digits, "paths": paths, "prose": f"{_digits_prose(digits)} {_paths_prose(paths)}"}


def compare_digits(rows: str = "test") -> dict[str, Any]:
    """Train the deep network and its shared twin, seed by seed."""
    import models
    from models.sharing import SoftSharing

    runs: dict[str, list[float]] = {"deep": [], "shared": []}
    found: dict[str, Any] = {"reports": []}
    for seed in SEEDS:
        task, modules = _open(DIGITS, seed), {}
        for name in runs:
            module, technique = _module(DIGITS["blocks"], task, seed), SoftSharing(TEMPLATES, groups=SHARED, seed=seed)
            fit(module, task, [technique] if name == "shared" else [], DIGITS, DIGITS["epochs"])
            modules[name] = module
            found[f"{name}_params"] = models.cost.parameters(module.network)
        found["reports"].append(technique.report())
        for name, module in modules.items():
            runs[name].append(score(module, task, rows, "accuracy"))
    found |= {name: spread(values) for name, values in runs.items()}
    found["difference"] = spread([b - a for a, b in zip(runs["deep"], runs["shared"], strict=True)])
    found["share"] = round(found["shared_params"] / found["deep_params"], 4)
    _print_digits(found, rows)
    return found


def compare_paths(rows: str = "test") -> dict[str, Any]:
    """Train with and without pressure, fold both ways, and train the tied control."""
    table: dict[str, dict[str, list[float]]] = {}
    reports: dict[str, list[dict[str, float]]] = {}
    facts: dict[str, Any] = {}
    for seed in SEEDS:
        task = _open(PATHS, seed)
        scored: list[tuple[str, str, Any]] = []
        for name, pressure in (("free", 0.0), ("pressed", PRESSURE)):
            module, technique = _shared(task, seed, pressure)
            reports.setdefault(name, []).append(technique.report())
            facts[f"{name}_params"] = _parameters(module)
            scored.append((name, "before", module))
            scored += _folds(name, module, task, seed, facts)
        scored += [(name, "tuned", _control(name, task, seed, facts)) for name in CONTROLS]
        for name, stage, module in scored:
            table.setdefault(name, {}).setdefault(stage, []).append(score(module, task, rows, "f1"))
    found: dict[str, Any] = {name: {k: spread(v) for k, v in stages.items()} for name, stages in table.items()}
    found |= {"reports": reports, "fold_minus_tied": _paired(found, "pressed", "tied"), **facts}
    _print_paths(found, rows)
    return found


def _paired(found: dict[str, Any], one: str, other: str) -> dict[str, Any]:
    """Return the difference of two networks after fine-tuning, seed by seed."""
    return spread([a - b for a, b in zip(found[one]["tuned"]["runs"], found[other]["tuned"]["runs"], strict=True)])


def _shared(task: Any, seed: int, pressure: float) -> tuple[Any, Any]:
    from models.sharing import SoftSharing

    technique = SoftSharing(TEMPLATES, groups=SHARED, pressure=pressure, distinct=DISTINCT, harden_at=1.0, seed=seed)
    module = _module(PATHS["blocks"], task, seed)
    fit(module, task, [technique], PATHS, PATHS["epochs"])
    return module, technique


def _folds(name: str, module: Any, task: Any, seed: int, facts: dict[str, Any]) -> list[tuple[str, str, Any]]:
    """Fold copies of a network by its similarity and at random; return them before and after fine-tuning.

    Without pressure no pairs are `tau` alike, so there the most similar layers fold into as many weights.
    """
    import torch

    from models.norms import reestimate
    from models.sharing import fold, shuffled
    from models.sharing.bank import banks
    from models.sharing.fold import similar

    layers = next(iter(banks(module.network).values()))
    clusters = similar(layers) if name == "pressed" else similar(layers, most=DISTINCT)
    patterns = {name: clusters, f"{name}, random": shuffled(clusters, torch.Generator().manual_seed(seed))}
    facts.setdefault(f"{name}_clusters", []).append([len(cluster) for cluster in clusters])
    scored = []
    for label, pattern in patterns.items():
        folded = copy.deepcopy(module)
        done = fold(folded.network, pattern=pattern)
        reestimate(folded.network, task.train_dataloader())
        scored.append((label, "folded", copy.deepcopy(folded)))
        fit(folded, task, [], {**PATHS, **TUNING}, TUNING["epochs"])
        scored.append((label, "tuned", folded))
        if label == name:
            facts[f"{name}_folded_params"] = done.after
            facts.setdefault(f"{name}_loops", []).append([[len(loop.blocks), loop.period] for loop in done.loops])
    return scored


def _control(name: str, task: Any, seed: int, facts: dict[str, Any]) -> Any:
    from models.sharing import TiedLayers

    module = _module(CONTROLS[name], task, seed)
    techniques = [TiedLayers(groups=SHARED, distinct=DISTINCT, seed=seed)] if name == "tied" else []
    fit(module, task, techniques, PATHS, PATHS["epochs"] + TUNING["epochs"])
    facts[f"{name}_params"] = _parameters(module)
    return module


def _open(setting: dict[str, Any], seed: int) -> Any:
    import torch

    import tasks

    torch.set_num_threads(1)
    task = tasks.build(setting["task"], seed=seed)
    task.batch_size = 64
    task.setup("fit")
    return task


def _module(blocks: int, task: Any, seed: int) -> Any:
    import torch

    import models

    torch.manual_seed(seed)
    network = models.build_network(
        {"name": "resnet", "stages": 1, "blocks": blocks, "width": 16, "preactivation": True},
        in_shape=task.in_shape,
        out_features=task.out_features,
        dense=task.kind == "pixels",
    )
    return models.Learner(network, models.outputs.loss("auto", task.kind, task.classes), task.evaluate, {}, {})


def fit(module: Any, task: Any, techniques: list[Any], setting: dict[str, Any], epochs: int) -> None:
    """Train a module for some epochs under one-cycle SGD, with techniques."""
    from lightning.pytorch import Trainer

    from search.trial import quiet

    quiet()
    module.optimizer_config = {
        "name": "sgd",
        "lr": setting["lr"],
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 5e-4,
    }
    module.schedule_config = {"name": "onecycle"}
    Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=techniques,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    ).fit(module, task.train_dataloader())


def score(module: Any, task: Any, rows: str, metric: str) -> float:
    """Return a metric of the rows named."""
    import torch

    task.setup("test" if rows == "test" else "fit")
    batches = list(task.test_dataloader() if rows == "test" else task.val_dataloader())
    module.eval()
    with torch.no_grad():
        outputs = torch.cat([module(inputs) for inputs, _ in batches])
    return float(task.evaluate(outputs, torch.cat([targets for _, targets in batches]))[metric])


def _parameters(module: Any) -> int:
    import models

    return models.cost.parameters(module.network)


def _similarity(reports: list[dict[str, float]]) -> str:
    similar, chance = (mean(report[key] for report in reports) for key in ("similar", "similar_null"))
    lsm, band = (mean(report[key] for report in reports) for key in ("lsm", "lsm_null"))
    return (
        f"{100 * similar:.1f} % of pairs >= .95 (random {100 * chance:.1f} %), mean S {lsm:.2f} (random p95 {band:.2f})"
    )


def _print_digits(found: dict[str, Any], rows: str) -> None:
    for name in ("deep", "shared"):
        row, count = found[name], found[f"{name}_params"]
        print(f"digits {name:<16} {count:>7,} parameters   {rows} accuracy {row['mean']:.4f} {row['runs']}")
    print(f"digits, shared layers: {_similarity(found['reports'])}")


def _print_paths(found: dict[str, Any], rows: str) -> None:
    print(f"paths, {rows} F1         before   folded    tuned")
    for name in ("free", "free, random", "pressed", "pressed, random", *CONTROLS):
        cells = [_mean(found, name, stage) if stage in found[name] else "" for stage in ("before", "folded", "tuned")]
        print(f"{name:<20} {cells[0]:>8} {cells[1]:>8} {cells[2]:>8}")
    for name in ("free", "pressed"):
        counts = f"{found[f'{name}_params']:,} -> {found[f'{name}_folded_params']:,} parameters"
        print(f"{name}: {counts}; {_similarity(found['reports'][name])}")
        print(f"  clusters {found[f'{name}_clusters']}, loops [blocks, period] {found[f'{name}_loops']}")
    print(", ".join(f"{name} {found[f'{name}_params']:,} parameters" for name in CONTROLS))


def _mean(found: dict[str, Any], name: str, stage: str) -> str:
    return f"{found[name][stage]['mean']:.3f}"


def _digits_prose(found: dict[str, Any]) -> str:
    points = 100 * found["difference"]["mean"]
    met = "met" if points >= -0.5 and found["share"] <= 0.5 else "missed"
    more = mean(report["similar"] - report["similar_null"] for report in found["reports"])
    emerges = "layers are no more alike than random ones" if more <= 0.01 else "layers are more alike than random ones"
    return (
        f"Digits (test rows, {len(SEEDS)} seeds): with {100 * found['share']:.0f} % of the parameters the shared "
        f"network is {points:+.2f} points from its deep twin ({found['shared']['mean']:.3f}, "
        f"{found['deep']['mean']:.3f}), so the aim of -.5 at 50 % is {met}; {emerges}: {_similarity(found['reports'])}."
    )


def _paths_prose(found: dict[str, Any]) -> str:
    drops = [100 * (found["pressed"]["before"]["mean"] - found["pressed"][s]["mean"]) for s in ("folded", "tuned")]
    met = "met" if drops[0] <= 0.5 and drops[1] <= 0.2 else "missed"
    stages = {
        name: " -> ".join(_mean(found, name, stage) for stage in ("before", "folded", "tuned") if stage in found[name])
        for name in ("pressed", "pressed, random", "free", "free, random", *CONTROLS)
    }
    sizes = {name: f"{found[f'{name}_params'] / 1000:.1f}k" for name in CONTROLS}
    return (
        f"Paths (test F1, before -> folded with norms re-estimated -> fine-tuned): with pressure {stages['pressed']}, "
        f"drops of {drops[0]:.2f} and {drops[1]:.2f} points, so the aim of .5 and .2 is {met}; folded at random "
        f"{stages['pressed, random']}; without pressure {stages['free']}, at random {stages['free, random']}. "
        f"{found['pressed_params'] / 1000:.1f}k parameters become {found['pressed_folded_params'] / 1000:.1f}k, "
        f"operations stay; tied from the start ({sizes['tied']}) {stages['tied']}, from which the fold differs by "
        f"{100 * found['fold_minus_tied']['mean']:+.1f} points (deviation {100 * found['fold_minus_tied']['sd']:.1f}); "
        f"unshared shallow ({sizes['shallow']}) {stages['shallow']}, unshared deep ({sizes['deep']}) {stages['deep']}."
    )
