"""Closed form: networks fitted to digits without a step, their gap to unseen rows, and what it saves as a beginning.

Zero epochs: each network over five seeds (split and weights) is fitted in closed form and scored on training,
validation and test rows; nothing is chosen by any of them. `cascade` fits half of the units
of each hidden layer too.

Warm start: epochs until 95 and 98 % of the validation rows are right, over ten seeds that all arms share, with SGD,
momentum .9 and constant rates, since what a beginning is worth depends on the rate. A fit that is there before the
first epoch counts 0 epochs; its seconds count.
"""

import time
from statistics import mean, median, stdev
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from benchmarks.rig import training
from benchmarks.rig.record import spread
from kirigami.models.initial import ClosedForm

AIM, SECONDS = 0.97, 1.0
AIMED = ("mlp 1x500", "mlp 2x2000")
NETWORKS: dict[str, tuple[dict[str, Any], tuple[float, ...]]] = {
    "mlp 1x500": ({"name": "mlp", "width": 500, "depth": 1}, (0.0,)),
    "mlp 2x2000": ({"name": "mlp", "width": 2000, "depth": 2}, (0.0, 0.5)),
    "convnet": ({"name": "convnet"}, (0.0, 0.5)),
    "vgg": ({"name": "vgg", "width": 16}, (0.0, 0.5)),
    "resnet": ({"name": "resnet", "width": 8, "depth": 8}, (0.0, 0.5)),
}
SEEDS, PAIRS = range(5), range(10)
EPOCHS, TARGETS, RATES = 25, (0.95, 0.98), (0.01, 0.05, 0.2)
WARM = {"mlp": {"name": "mlp"}, "convnet": {"name": "convnet"}}
ARMS: dict[str, float | None] = {"default": None, "closed form": 0.0, "cascade": 0.5}


class Watch(Callback):
    """Keep the validation accuracy after each epoch, and the seconds of training so far.

    Args:
        task: whose rows they are.
    """

    def __init__(self, task: Any) -> None:
        self.task, self.scores, self.seconds = task, list[float](), list[float]()
        self._began = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._began = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock and score."""
        before = self.seconds[-1] if self.seconds else 0.0
        self.seconds.append(before + time.perf_counter() - self._began)
        self.scores.append(training.score(pl_module, self.task, "validation", "accuracy"))
        pl_module.train()


def zero_epochs(name: str, cascade: float) -> dict[str, Any]:
    """Fit one network under every seed, and score it on all rows."""
    runs: dict[str, list[float]] = {key: [] for key in ("seconds", "train", "left_out", "validation", "test", "ridge")}
    for seed in SEEDS:
        task = training.open_task({"name": "digits"}, seed)
        module = training.build(NETWORKS[name][0], task, seed)
        fitted = ClosedForm(cascade=cascade, seed=seed).fit(module.network, task.train_dataloader(), "classes")
        runs["seconds"].append(fitted["init_s"])
        runs["train"].append(fitted["init_train"])
        runs["left_out"].append(fitted["init_left_out"])
        runs["ridge"].append(fitted["init_ridge"])
        for rows in ("validation", "test"):
            runs[rows].append(training.score(module, task, rows, "accuracy"))
    gap = mean(runs["train"]) - mean(runs["test"])
    return {"gap": round(gap, 4), **{key: spread(values) for key, values in runs.items()}}


def warm(network: dict[str, Any], cascade: float | None, seed: int, rate: float) -> dict[str, Any]:
    """Train one arm under one seed; return epochs and seconds to each target, and the last score."""
    task = training.open_task({"name": "digits"}, seed)
    module = training.build(network, task, seed)
    seconds, scores = [0.0], [0.0]
    if cascade is not None:
        fit = ClosedForm(cascade=cascade, seed=seed).fit(module.network, task.train_dataloader(), "classes")
        seconds, scores = [fit["init_s"]], [training.score(module, task, "validation", "accuracy")]
    watch = Watch(task)
    training.fit(module, task, [watch], epochs=EPOCHS, lr=rate, schedule={"name": "constant"})
    seconds += [seconds[0] + value for value in watch.seconds]
    scores += watch.scores
    reached = {target: next((at for at, value in enumerate(scores) if value >= target), None) for target in TARGETS}
    return {
        "epochs": {str(target): at for target, at in reached.items()},
        "seconds": {str(target): None if at is None else round(seconds[at], 4) for target, at in reached.items()},
        "first": scores[0],
        "last": scores[-1],
    }


def measure() -> dict[str, Any]:
    """Return the scores of networks that took no step, and epochs and seconds to the targets of those that did."""
    torch.set_num_threads(1)
    zero_epochs("mlp 1x500", 0.0)  # the first call of a linear algebra library is slow
    zero: dict[str, Any] = {}
    for name, (_, cascades) in NETWORKS.items():
        for cascade in cascades:
            label = f"{name}, cascade {cascade:g}" if cascade else name
            zero[label] = zero_epochs(name, cascade)
            print(zero_line(label, zero[label]))
    begun: dict[str, Any] = {}
    for name, network in WARM.items():
        for rate in RATES:
            arms = {arm: [warm(network, cascade, seed, rate) for seed in PAIRS] for arm, cascade in ARMS.items()}
            begun[f"{name}, rate {rate:g}"] = arms
            print(warm_line(f"{name}, rate {rate:g}", arms))
    return {"zero_epochs": zero, "warm_start": begun, "prose": prose(zero, begun)}


def zero_line(label: str, row: dict[str, Any]) -> str:
    """Say what a fit without a step came to."""
    test, seconds = row["test"], row["seconds"]
    return (
        f"{label} {test['mean']:.3f} ± {test['sd']:.3f} in {seconds['median']:.2f} s, at most {seconds['max']:.2f} "
        f"(train {row['train']['mean']:.3f}, left out {row['left_out']['mean']:.3f}, gap {row['gap']:.3f})"
    )


def warm_line(name: str, arms: dict[str, Any]) -> str:
    """Say when each arm was there."""
    parts = []
    for arm, rows in arms.items():
        when = ", ".join(f"{100 * target:.0f} %: {shown(rows, str(target))}" for target in TARGETS)
        last = [row["last"] for row in rows]
        parts.append(f"{arm} {when}, last {mean(last):.3f} ± {stdev(last):.3f}")
    return f"{name}: " + "; ".join(parts)


def shown(rows: list[dict[str, Any]], target: str) -> str:
    """Return median epochs and seconds to a target, and how many missed it."""
    reaching = [row for row in rows if row["epochs"][target] is not None]
    if len(reaching) <= len(rows) // 2:
        return f"{len(rows) - len(reaching)} of {len(rows)} never"
    epochs = median(EPOCHS + 1 if row["epochs"][target] is None else row["epochs"][target] for row in rows)
    seconds = median(row["seconds"][target] for row in reaching)
    missed = f", {len(rows) - len(reaching)} never" if len(reaching) < len(rows) else ""
    return f"{epochs:g} epochs ({seconds:.2f} s{missed})"


def is_met(row: dict[str, Any]) -> bool:
    """Return whether a network is accurate enough, and its slowest fit fast enough."""
    return bool(row["test"]["mean"] >= AIM and row["seconds"]["max"] < SECONDS)


def prose(zero: dict[str, Any], begun: dict[str, Any]) -> str:
    """Say whether the aim is reached, and what a warm start saves."""
    verdicts = ", ".join(f"{label} {'reached' if is_met(zero[label]) else 'NOT reached'}" for label in AIMED)
    fits = "; ".join(zero_line(label, one) for label, one in zero.items())
    starts = ". ".join(warm_line(name, arms) for name, arms in begun.items())
    return (
        f"Digits without a step, test accuracy of {len(SEEDS)} seeds, aim {AIM} with the slowest in less than "
        f"{SECONDS:g} s ({verdicts}): {fits}. Warm start, median epochs to validation "
        f"accuracy of {len(PAIRS)} paired seeds: {starts}."
    )
