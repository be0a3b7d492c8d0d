"""The same Pareto study with pruning and without: training spent and hypervolume of the front, in pairs.

Digits, accuracy against the bytes of the encoded file. Under random search both studies of a pair draw the same trials,
and one that is not pruned ends as its twin does, so the ratio of hypervolumes says exactly what pruning threw away;
TPE, the default, draws others after what it was told. The reference point was fixed beforehand: 80 % accuracy at
100,000 bytes, with bytes on a logarithmic scale (and, beside it, on a linear one). A second part searches a formula
with other pruners and more seeds.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from math import log10, sqrt
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.rig import command
from benchmarks.rig.record import spread
from kirigami import optimize
from kirigami.search.study.record import result_of

SEEDS = (0, 1, 2)
FORMULA_SEEDS = range(5)
TRIALS = 32
RATIOS = ("seconds", "epochs", "log_bytes", "bytes")
REFERENCE = (0.8, 100_000)  # accuracy, bytes
STUDY = """
# @package _global_
defaults:
  - override /task: digits
  - override /network: convnet
  - override /space: [optimizer, activation]
objective: {accuracy: maximize, bytes: minimize}
space:
  network:
    width: {low: 2, high: 32, log: true}
    depth: {low: 2, high: 4}
    dropout: {low: 0.0, high: 0.5}
trainer: {epochs: 54}
pruner: {min_resource: 6, reduction_factor: 3}
budget: {trials: %d, bytes: null}
"""


def measure() -> dict[str, Any]:
    """Run the pairs of studies and the formula, print the fronts, and return the ratios."""
    digits = {sampler: summary([pair(sampler, seed) for seed in SEEDS]) for sampler in ("random", "tpe")}
    formula = {f"{sampler}, {pruner}": searched(sampler, pruner) for sampler in ("random", "tpe") for pruner in PRUNERS}
    for name, row in formula.items():
        print(f"formula, {name:<18} epochs {row['epochs']['median']:.2f}   hypervolume {row['volume']['median']:.4f}")
    prose = "; ".join(
        f"{sampler}: {row['seconds']['mean']:.2f} ± {row['seconds']['sd']:.2f} of the training seconds, "
        f"{row['epochs']['mean']:.2f} ± {row['epochs']['sd']:.2f} of the epochs, {row['log_bytes']['mean']:.4f} of the "
        f"hypervolume (worst {row['log_bytes']['min']:.4f}; {row['bytes']['mean']:.4f} with bytes on a linear scale)"
        for sampler, row in digits.items()
    )
    prose = (
        f"A Pareto study of {TRIALS} digits trials (accuracy, bytes) with pruning, of the same without it, "
        f"{len(SEEDS)} paired seeds, hypervolume from {REFERENCE[0]:.0%} accuracy at {REFERENCE[1]:,} bytes, "
        f"logarithmic in bytes: {prose}."
    )
    return {"trials": TRIALS, "reference": list(REFERENCE), "digits": digits, "formula": formula, "prose": prose}


def summary(pairs: list[dict[str, Any]]) -> dict[str, Any]:
    """Bring the seeds of one sampler together."""
    return {**{name: spread([ratios[name] for ratios in pairs]) for name in RATIOS}, "pairs": pairs}


def pair(sampler: str, seed: int) -> dict[str, Any]:
    """Run the study in full and pruned, print both fronts, and return pruned / full of all that is compared."""
    full, pruned = (run(sampler, seed, name) for name in ("none", "asha"))
    for name, outcome in (("in full", full), ("pruned", pruned)):
        shown = "  ".join(f"{accuracy:.4f} at {size:,.0f} B" for accuracy, size in outcome["front"])
        print(
            f"{sampler}, seed {seed}, {name}: {outcome['epochs']} epochs, {outcome['seconds']:.0f} s; front {shown}",
            flush=True,
        )
    ratios = {name: pruned[name] / full[name] for name in ("seconds", "epochs")}
    for name, scale in (("log_bytes", log10), ("bytes", float)):
        volumes = [
            hypervolume([(1 - a, scale(b)) for a, b in outcome["front"]], (1 - REFERENCE[0], scale(REFERENCE[1])))
            for outcome in (pruned, full)
        ]
        ratios[name] = volumes[0] / volumes[1]
    same = sum(full["values"].get(number) == values for number, values in pruned["values"].items())
    return {"seed": seed, **ratios, "same_trials": same, "full": shown_of(full), "pruned": shown_of(pruned)}


def shown_of(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a run goes into the record."""
    return {name: run[name] for name in ("seconds", "epochs", "complete", "front")}


def run(sampler: str, seed: int, pruner: str) -> dict[str, Any]:
    """Run the study in an empty folder; return its front, its complete trials and what they cost."""
    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder) / "conf" / "study"
        study.mkdir(parents=True)
        (study / "pareto.yaml").write_text((STUDY % TRIALS).lstrip())
        where = ["study=pareto", "--config-dir", str(study.parent), f"seed={seed}", f"sampler={sampler}"]
        # A group chosen here would bring its own settings with it.
        pruned = [] if pruner == "asha" else ["pruner=none", "~pruner.min_resource", "~pruner.reduction_factor"]
        command.run(folder, "search", *where, *pruned)
        results = command.as_json(folder, "results", "study=pareto")
        trials = command.trials(folder, "pareto")
    return {
        "seconds": results["cost"]["device_s"],
        "epochs": sum(curve[-1][0] for trial in trials if (curve := result_of(trial).curve)),
        "complete": results["trials"]["complete"],
        "front": [row["values"] for row in results["front"]],
        "values": {trial.number: trial.values for trial in trials if trial.state.name == "COMPLETE"},
    }


def hypervolume(points: Sequence[tuple[float, float]], reference: tuple[float, float]) -> float:
    """Return the area that points (both coordinates minimised) dominate, up to the reference point."""
    area, ceiling = 0.0, reference[1]
    for x, y in sorted(points):
        if x < reference[0] and y < ceiling:
            area += (reference[0] - x) * (ceiling - y)
            ceiling = y
    return area


PRUNERS: dict[str, dict[str, Any]] = {
    "asha": {"name": "asha", "min_resource": 3, "reduction_factor": 3},
    "hyperband": {"name": "hyperband", "min_resource": 3, "reduction_factor": 3, "max_resource": "auto"},
}
SPACE = {
    "size": {"low": 1.0, "high": 1000.0, "log": True},
    "rate": {"low": 1e-3, "high": 1.0, "log": True},
    "drop": {"low": 0.0, "high": 0.5},
}


def curve(config: Mapping[str, Any]) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield 27 errors: large sizes end lower, slow rates and drop-out come late, so the curves cross."""
    distance = (log10(config["rate"]) + 1.5) ** 2
    end = 0.02 + 0.3 / sqrt(config["size"]) + 0.05 * distance + 0.1 * (config["drop"] - 0.2) ** 2
    for epoch in range(1, 28):
        lag = 0.5 * (1 + config["drop"]) * (1 + distance) / (epoch * (0.5 + 3 * config["rate"]))
        yield epoch, {"error": end + 0.3 * min(1.0, lag), "size": config["size"]}


def searched(sampler: str, pruner: str) -> dict[str, Any]:
    """Search the formula pruned and in full under each seed, 100 trials each; return pruned / full."""
    epochs, volumes = [], []
    for seed in FORMULA_SEEDS:
        sides = [
            optimize(
                SPACE,
                curve,
                budget=100,
                seed=seed,
                objective={"error": "minimize", "size": "minimize"},
                sampler=sampler,
                pruner=settings,
                fidelities=27,
            )
            for settings in (PRUNERS[pruner], {"name": "none"})
        ]
        spent = [sum(len(row["curve"]) for row in side.trials) for side in sides]
        areas = [
            hypervolume([(row["values"][0], log10(row["values"][1])) for row in side.front], (0.5, 3.0))
            for side in sides
        ]
        epochs.append(spent[0] / spent[1])
        volumes.append(areas[0] / areas[1])
    return {"epochs": spread(epochs), "volume": spread(volumes), "median_loss": round(1 - median(volumes), 4)}
