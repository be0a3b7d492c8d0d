"""Continuous Sparsification against magnitude, iterative and random pruning at equal density and equal training.

Digits, convolutional network of width 16 and depth 3, the same 50 epochs for everybody, of which the last 40 % are
fine-tuning under the final mask; paired by seed (split, weights, batches and masks). Densities are shares of the
weights of all convolutions. The methods' settings were chosen on validation rows of other splits; accuracies are on
test rows, opened when all networks are trained.
"""

from collections.abc import Callable
from statistics import mean, stdev
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from benchmarks.rig.record import spread
from kirigami import models, tasks
from kirigami.models.sparsity import (
    ContinuousSparsification,
    GradualPruning,
    MagnitudePruning,
    Masking,
    RandomPruning,
    iterative_magnitude,
    rewind,
    winning_ticket,
)
from kirigami.models.technique import network_of

NETWORK = {"name": "convnet", "width": 16, "depth": 3}
OPTIMIZER = {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
SCHEDULE = {"name": "onecycle"}
SEEDS = range(5)
TICKET_SEEDS = range(3)
EPOCHS = 50
TARGETS = (0.02, 0.03, 0.05, 0.1, 0.2, 0.5)
COMPARED = (0.05, 0.03, 0.02)
ROUNDS = 9
TICKET_ROUNDS = 3


class Run:
    """One network on one split, and what is known of its mask."""

    def __init__(self, seed: int) -> None:
        self.task = tasks.build({"name": "digits"}, seed=seed)
        self.task.setup("fit")
        torch.manual_seed(seed)
        shapes = {"in_shape": self.task.in_shape, "out_features": self.task.out_features}
        network = models.build_network(NETWORK, **shapes)
        loss = models.outputs.loss("auto", self.task.kind, self.task.classes)
        self.module: LightningModule = models.Learner(network, loss, self.task.evaluate, OPTIMIZER, SCHEDULE)
        self.network = network_of(self.module)
        self.technique: Masking | None = None

    def fit(self, *callbacks: Callback, epochs: int = EPOCHS) -> None:
        """Train for a whole run, from the weights that are there."""
        trainer = Trainer(
            max_epochs=epochs,
            check_val_every_n_epoch=epochs,
            callbacks=list(callbacks),
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        trainer.fit(self.module, self.task.train_dataloader(), self.task.val_dataloader())

    def accuracy(self, rows: str) -> float:
        """Return per cent right of the "validation" or "test" rows."""
        if rows == "test":
            self.task.setup("test")
        batches = self.task.test_dataloader() if rows == "test" else self.task.val_dataloader()
        self.network.eval()
        with torch.no_grad():
            right = [(self.network(inputs).argmax(1) == targets) for inputs, targets in batches]
        return 100 * float(torch.cat(right).float().mean())


def trained(seed: int, technique: Masking | None) -> Run:
    """Train one network in one run with a technique, or dense."""
    run = Run(seed)
    run.technique = technique
    run.fit(*([technique] if technique else []))
    return run


def iterative(seed: int, density: float) -> Run:
    """Prune by magnitude in rounds, with all rounds together as long as one run."""
    run = Run(seed)
    each = EPOCHS // (ROUNDS + 1)
    run.technique = iterative_magnitude(
        run.network, lambda callbacks: run.fit(*callbacks, epochs=each), density, ROUNDS, rewind_at=None
    )
    return run


def restarted(seed: int, density: float) -> Run:
    """Find a mask by Continuous Sparsification, then train it from other random weights: the control."""
    run = trained(seed, ContinuousSparsification(density))
    rewind(run.network, Run(1000 + seed).network.state_dict())
    run.fit(run.technique)
    return run


def learnt_ticket(seed: int, density: float) -> Run:
    """Find a winning ticket by rounds of Continuous Sparsification, each as long as a run."""
    run = Run(seed)
    run.technique = ContinuousSparsification(density, harden_at=1.0)
    winning_ticket(run.network, lambda callbacks: run.fit(*callbacks), run.technique, TICKET_ROUNDS)
    return run


def magnitude_ticket(seed: int, density: float) -> Run:
    """Find a winning ticket by rounds of magnitude pruning, each as long as a run."""
    run = Run(seed)
    run.technique = iterative_magnitude(run.network, lambda callbacks: run.fit(*callbacks), density, TICKET_ROUNDS)
    return run


def layerwise(seed: int, learnt: Run) -> Run:
    """Draw masks by lot with the density of each layer that Continuous Sparsification found."""
    assert learnt.technique is not None
    return trained(seed, RandomPruning(learnt.technique.densities(), seed=seed))


def measure() -> dict[str, Any]:
    """Train all, then open the test rows; return accuracies, paired differences and errors of the density."""
    from kirigami.search.training.trainer import quiet

    quiet()
    torch.set_num_threads(1)
    runs: dict[str, list[Run]] = {"dense": [trained(seed, None) for seed in SEEDS]}
    for density in COMPARED:
        runs |= {f"{name} {density:.0%}": group for name, group in compared(density).items()}
    targets = {
        density: [trained(seed, ContinuousSparsification(density)) for seed in TICKET_SEEDS]
        for density in TARGETS
        if density not in COMPARED
    }
    targets |= {density: runs[f"continuous {density:.0%}"] for density in COMPARED}
    rows = {name: figures(group) for name, group in runs.items()}
    pairs = differences(rows)
    errors = {f"{density:.0%}": density_error(density, targets[density]) for density in TARGETS}
    show(rows, pairs, errors)
    return {"accuracy": rows, "differences": pairs, "density_error": errors, "prose": prose(rows, pairs, errors)}


def compared(density: float) -> dict[str, list[Run]]:
    """Train every method at one density."""
    learnt = [trained(seed, ContinuousSparsification(density)) for seed in SEEDS]
    ways: dict[str, Callable[[int], Run]] = {
        "one-shot": lambda seed: trained(seed, MagnitudePruning(density)),
        "gradual": lambda seed: trained(seed, GradualPruning(density)),
        "iterative": lambda seed: iterative(seed, density),
        "random": lambda seed: trained(seed, RandomPruning(density, seed=seed)),
        "random, learnt layer densities": lambda seed: layerwise(seed, learnt[seed]),
    }
    groups = {"continuous": learnt} | {name: [way(seed) for seed in SEEDS] for name, way in ways.items()}
    longer: dict[str, Callable[[int], Run]] = {
        "continuous mask, random restart": lambda seed: restarted(seed, density),
        "continuous ticket, 4 runs": lambda seed: learnt_ticket(seed, density),
        "magnitude ticket, 4 runs": lambda seed: magnitude_ticket(seed, density),
    }
    if density == COMPARED[-1]:
        groups |= {name: [way(seed) for seed in TICKET_SEEDS] for name, way in longer.items()}
    return groups


def figures(runs: list[Run]) -> dict[str, Any]:
    """Return accuracies on both kinds of rows, and the mask's figures."""
    reports = [run.technique.report() for run in runs if run.technique is not None]
    keys = reports[0] if reports else ()
    means = {key: round(mean(report[key] for report in reports), 5) for key in keys}
    return {rows: spread([run.accuracy(rows) for run in runs]) for rows in ("validation", "test")} | means


def differences(rows: dict[str, Any]) -> dict[str, Any]:
    """Return test accuracy of Continuous Sparsification less that of the others, in points, paired by seed."""
    table = {}
    for density in COMPARED:
        ours = rows[f"continuous {density:.0%}"]["test"]["runs"]
        for name, row in rows.items():
            if name == "dense" or (name.endswith(f" {density:.0%}") and name != f"continuous {density:.0%}"):
                pairs = [score - other for score, other in zip(ours, row["test"]["runs"], strict=False)]
                error = stdev(pairs) / len(pairs) ** 0.5
                table[f"{density:.0%} less {name}"] = {"mean": round(mean(pairs), 3), "standard_error": round(error, 3)}
    return table


def density_error(density: float, runs: list[Run]) -> dict[str, float]:
    """Return the largest error of the final density, and of that which the signs of s had given, in points."""
    reports = [run.technique.report() for run in runs if run.technique is not None]
    return {
        "error": round(100 * max(abs(report["density"] - density) for report in reports), 4),
        "moved": round(100 * max(report["moved"] for report in reports), 4),
        "undecided": round(100 * max(report["undecided"] for report in reports), 4),
    }


def show(rows: dict[str, Any], pairs: dict[str, Any], errors: dict[str, Any]) -> None:
    """Print the table."""
    for name, row in rows.items():
        test, validation = row["test"], row["validation"]
        density = f"{100 * row.get('density', 1):6.2f} %"
        print(f"{name:<42} {density} test {test['mean']:.2f} ± {test['sd']:.2f}  validation {validation['mean']:.2f}")
    for name, pair in pairs.items():
        print(f"continuous at {name:<50} {pair['mean']:+.2f} ± {pair['standard_error']:.2f} points")
    for name, error in errors.items():
        print(f"asked for {name:>4}: off by {error['error']:.3f} points, {error['moved']:.2f} % moved when fixed")


def prose(rows: dict[str, Any], pairs: dict[str, Any], errors: dict[str, Any]) -> str:
    """Say what was reached and what was not."""

    def less(density: float, other: str, aim: float | None = None) -> str:
        pair = pairs[f"{density:.0%} less {other}"]
        reached = "NOT reached" if aim is None or pair["mean"] < aim else "reached"
        if aim is not None and abs(pair["mean"] - aim) < 2 * pair["standard_error"]:
            reached += ", within noise"
        verdict = "" if aim is None else f" (aim {aim:+.1f}: {reached})"
        return f"{pair['mean']:+.2f} ± {pair['standard_error']:.2f}{verdict}"

    sentences = []
    for density in COMPARED:
        name = f"{density:.0%}"
        others = [("one-shot", 2.0), ("gradual", 0.0), ("iterative", 0.0)]
        others += [("random", None), ("random, learnt layer densities", None)]
        against = [f"{less(density, f'{other} {name}', aim)} against {other}" for other, aim in others]
        dense = less(density, "dense", -0.5 if density == max(COMPARED) else None)
        test = rows[f"continuous {name}"]["test"]["mean"]
        sentences.append(f"at {name} of the convolutions' weights {test:.2f} %, {dense} points against dense, ")
        sentences[-1] += ", ".join(against)
    density = f"{COMPARED[-1]:.0%}"
    longer = ("continuous mask, random restart", "continuous ticket, 4 runs", "magnitude ticket, 4 runs")
    sentences.append(
        f"at {density} on the first {len(TICKET_SEEDS)} seeds "
        + ", ".join(f"{name} {rows[f'{name} {density}']['test']['mean']:.2f} %" for name in longer)
    )
    worst = max(error["error"] for error in errors.values())
    moved = ", ".join(f"{name} {error['moved']:.2f}" for name, error in errors.items())
    undecided = ", ".join(f"{name} {error['undecided']:.0f}" for name, error in errors.items())
    soft = "reached" if max(error["moved"] for error in errors.values()) < 1 else "NOT reached"
    sentences.append(
        f"the density asked for is met within {worst:.3f} points (aim 1: reached, by the last choice by rank), while "
        f"the signs of s alone would have been off by at most, in points: {moved} (aim 1: {soft}); share of the gates "
        f"still undecided when they were fixed, in per cent: {undecided}"
    )
    dense = rows["dense"]["test"]["mean"]
    return f"Digits test rows, {len(SEEDS)} seeds (dense {dense:.2f} %): " + "; ".join(sentences) + "."
