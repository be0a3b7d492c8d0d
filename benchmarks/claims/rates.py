"""Large rates: iterations of a linear model on breast cancer, and epochs of an MLP on Camel's defects to a target.

Linear: logistic regression from weights of 0 over all rows at once, the rate 1 / K of the published rule against .1,
until the loss is at most .69 (it begins at .6931). The rule's lead depends on the scale of the table: it is large where
the whole table is divided by its norm, and there is none where columns are standardised. Both are measured.

MLP: batches of 64, plain SGD but where momentum is named. An arm reaches the target at the first epoch after which the
loss of all training rows is at most .45. It diverges where that loss ends above ln 2, a guess, or as no number; it
jumps where it comes back there after any epoch. Camel needs KIRIGAMI_DATA, the folder that holds `promise`; without
it only the linear model is measured.
"""

import math
import os
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from benchmarks.rig import training
from kirigami.models.optimizers import build_optimizer
from kirigami.models.schedules import RULES, LipschitzLR, range_test

LOSS, ITERATIONS, TIMES = 0.69, 100_000, 1_000
SEEDS = range(5)
EPOCHS, TARGET = 50, 0.45
SHALLOW, DEEP = {"name": "mlp", "depth": 2, "width": 32}, {"name": "mlp", "depth": 6, "width": 32}
PLAIN = {"name": "sgd", "momentum": 0.0, "weight_decay": 0.0}
CONSTANT = {"name": "constant"}
Arm = tuple[dict[str, Any], float | None, dict[str, Any], dict[str, Any] | None]
# optimiser, rate (None: from a range test), schedule, LipschitzLR
ARMS: dict[str, Arm] = {
    **{f"sgd {lr:g}": (PLAIN, lr, CONSTANT, None) for lr in (0.01, 0.1, 1.0, 3.0)},
    "sgd 1 cosine": (PLAIN, 1.0, {"name": "cosine"}, None),
    "sgd 1 step": (PLAIN, 1.0, {"name": "step"}, None),
    "sgd range test": (PLAIN, None, CONSTANT, None),
    "sgd momentum .9 0.1": ({**PLAIN, "momentum": 0.9}, 0.1, CONSTANT, None),
    "1cycle range test": ({**PLAIN, "momentum": 0.9}, None, {"name": "onecycle"}, None),
    "adam 0.001": ({"name": "adam"}, 0.001, CONSTANT, None),
    "adam 0.01": ({"name": "adam"}, 0.01, CONSTANT, None),
    "avagrad 1": ({"name": "avagrad"}, 1.0, CONSTANT, None),
    **{
        f"lipschitz {rule}{capped}": (PLAIN, 0.1, CONSTANT, {"rule": rule, "cap": cap})
        for rule in RULES
        for capped, cap in (("", None), (" cap 0.3", 0.3))
    },
}
ON_DEEP = ("sgd 0.01", "sgd 1", "adam 0.01", *(name for name in ARMS if name.startswith("lipschitz")))


def linear() -> dict[str, Any]:
    """Return iterations to the loss by how the table is scaled and by rate; None where it is not reached."""
    from sklearn.datasets import load_breast_cancer

    raw, classes = load_breast_cancer(return_X_y=True)
    tables = {"norm 1": raw / np.linalg.norm(raw), "standardised": (raw - raw.mean(0)) / raw.std(0)}
    rows = {}
    for name, table in tables.items():
        published = 2 * len(table) / float(np.linalg.norm(table))  # 1 / K of two classes: (k - 1) / (k m) ||X||
        rows[name] = {
            "published_rate": published,
            "published": iterations(table, classes, published),
            "0.1": iterations(table, classes, 0.1),
        }
    return rows


def iterations(table: Any, classes: Any, lr: float) -> int | None:
    """Return the steps of gradient descent over all rows until the loss is low enough."""
    inputs, targets = torch.as_tensor(table).double(), torch.as_tensor(classes).double()
    weights = torch.zeros(inputs.shape[1], dtype=torch.float64)
    for step in range(ITERATIONS):
        outputs = inputs @ weights
        if nn.functional.binary_cross_entropy_with_logits(outputs, targets) <= LOSS:
            return step
        weights -= lr / len(inputs) * inputs.T @ (torch.sigmoid(outputs) - targets)
    return None


class Losses(Callback):
    """Keep the loss of all training and validation rows after each epoch.

    Args:
        task: whose rows they are.
    """

    def __init__(self, task: Any) -> None:
        loaders = {"train": task.train_dataloader(), "validation": task.val_dataloader()}
        self.rows = {name: [torch.cat(part) for part in zip(*loader, strict=True)] for name, loader in loaders.items()}
        self.losses: dict[str, list[float]] = {name: [] for name in loaders}

    @torch.no_grad()
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure both."""
        pl_module.eval()
        for name, (inputs, targets) in self.rows.items():
            self.losses[name].append(float(pl_module.loss(pl_module(inputs), targets)))
        pl_module.train()


def run(name: str, network: dict[str, Any], seed: int, task: Any) -> dict[str, Any]:
    """Train one arm and return when it was there, whether it diverged, and its rates."""
    optimizer, lr, schedule, rule = ARMS[name]
    module = training.build(network, task, seed)
    if lr is None:
        stepper = build_optimizer(module.network, {**optimizer, "lr": 1.0})
        tested = range_test(module, task.train_dataloader(), 1e-4, 100.0, 120, optimizer=stepper)
        onecycle = schedule["name"] == "onecycle"
        lr = (tested.highest if onecycle else tested.suggestion) or 0.01
    losses, lipschitz = Losses(task), LipschitzLR(**rule) if rule else None
    callbacks = [losses, lipschitz] if lipschitz else [losses]
    training.fit(module, task, callbacks, epochs=EPOCHS, lr=lr, optimizer=optimizer, schedule=schedule)
    train, validation = losses.losses["train"], losses.losses["validation"]
    reached = [epoch + 1 for epoch, loss in enumerate(train) if loss <= TARGET]
    return {
        "epochs": reached[0] if reached else None,
        "diverged": not train[-1] <= math.log(2),  # no number is not below it either
        "jumped": any(before <= math.log(2) and not after <= math.log(2) for before, after in pairwise(train)),
        "best_validation_loss": min((loss for loss in validation if math.isfinite(loss)), default=None),
        "rates": [round(rate, 4) for rate in (lipschitz.rates[:: EPOCHS // 5] if lipschitz else [lr])],
    }


def camel() -> dict[str, Any]:
    """Return all arms on the shallow network and some on the deep one, seed by seed."""
    from kirigami.search.config.compose import compose
    from kirigami.search.config.resolve import resolve

    config = resolve(compose(["task=camel", "space=[]"]))["task"]
    table: dict[str, Any] = {"shallow": {}, "deep": {}}
    opened = {seed: training.open_task(config, seed) for seed in SEEDS}
    for depth, network, names in (("shallow", SHALLOW, tuple(ARMS)), ("deep", DEEP, ON_DEEP)):
        for name in names:
            rows = [run(name, network, seed, opened[seed]) for seed in SEEDS]
            table[depth][name] = rows
            print(
                f"{depth:<8} {name:<24} {epochs(rows):>4} epochs, {sum(row['epochs'] is not None for row in rows)} of "
                f"{len(rows)} there, {sum(row['diverged'] for row in rows)} diverged, "
                f"{sum(row['jumped'] for row in rows)} jumped, rates of one {rows[0]['rates']}"
            )
    return table


def epochs(rows: list[dict[str, Any]]) -> str:
    """Return the median epochs to the target."""
    middle = median(row["epochs"] or math.inf for row in rows)
    return f"> {EPOCHS}" if math.isinf(middle) else f"{middle:g}"


def trouble(rows: list[dict[str, Any]]) -> str:
    """Return how many diverged and how many jumped, where any did."""
    counts = {word: sum(row[word] for row in rows) for word in ("diverged", "jumped")}
    lines = [f"{count} {word}" for word, count in counts.items() if count]
    return f" ({', '.join(lines)})" if lines else ""


def measure() -> dict[str, Any]:
    """Return iterations of the linear model and, where the data are at hand, epochs of the MLP."""
    from kirigami.search.training.trainer import quiet

    quiet()
    torch.set_num_threads(1)
    lines = linear()
    for name, row in lines.items():
        print(f"linear, {name}: {row}")
    table = camel() if os.environ.get("KIRIGAMI_DATA") else None
    return {"linear": lines, "camel": table, "prose": f"{linear_prose(lines)} {camel_prose(table)}"}


def linear_prose(lines: dict[str, Any]) -> str:
    """Say how much faster the published rate is."""
    row, other = lines["norm 1"], lines["standardised"]
    times = (row["0.1"] or ITERATIONS) / max(1, row["published"] or ITERATIONS)
    verdict = "reached" if times >= TIMES else "NOT reached"
    return (
        f"Breast cancer, linear, loss {LOSS}: the table divided by its norm takes {row['0.1'] or f'> {ITERATIONS}'} "
        f"iterations at rate .1 and {row['published']} at the published {row['published_rate']:.0f} (aim {TIMES:,} "
        f"times fewer: {verdict}); with standardised columns {other['0.1']} against {other['published']}."
    )


def camel_prose(table: dict[str, Any] | None) -> str:
    """Say which arms were there when, and count divergences."""
    if table is None:
        return "Camel was not measured: KIRIGAMI_DATA is not set."
    parts = []
    for depth, arms in table.items():
        shown = ", ".join(f"{name} {epochs(rows)}{trouble(rows)}" for name, rows in arms.items())
        parts.append(f"{depth} ({(SHALLOW if depth == 'shallow' else DEEP)['depth']} layers): {shown}")
    return f"Camel, median epochs to a training loss of {TARGET}, of {len(SEEDS)} seeds; {'; '.join(parts)}."
