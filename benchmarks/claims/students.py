"""Growing students: does GradMax begin faster than chance, and end better, where a wider teacher has to be learnt.

A network of one hidden layer, or two, learns what a wider one computes. Its first hidden layer grows in steps by each
method, at equal norm of the new weights and equal training; paired by seed (teacher, rows, weights, batches). GradMax's
gradient is compared with the mean of several random draws at the same weights, on the rows it was chosen by and on
others. Losses are on test rows, in per cent of the outputs' variance. The learning rate was chosen on other seeds.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import mean, stdev
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.rig.record import spread
from kirigami.models.growth import INITS, Ground, gradmax, random
from kirigami.models.growth.view import gradient, trial
from kirigami.models.structure import Units, units

SEEDS = range(10)
INPUTS, TEACHER, OUTPUTS = 20, 50, 10
ROWS, BATCH, LR = 4096, 128, 2e-3
SECOND, DRAWS = 30, 8  # units of the students' second hidden layer
START, MORE, GROWTHS, EPOCHS = 10, 5, 4, 10  # students of 10 to 30 units, grown every 10 epochs, 60 epochs in all
FASTER = 1.5
KINDS = {"one hidden layer": False, "two hidden layers": True}


class Student:
    """A network that learns a wider one's outputs; its first hidden layer is what grows.

    Args:
        seed: of the teacher, the rows, the weights and the batches.
        width: units of the first hidden layer.
        deep: with a second hidden layer, in the teacher too, which does not grow.
    """

    def __init__(self, seed: int, width: int, deep: bool) -> None:
        generator = torch.Generator().manual_seed(seed)
        sizes = [INPUTS, TEACHER, *([TEACHER] if deep else []), OUTPUTS]
        maps = [torch.randn(b, a, generator=generator) * (2 / a) ** 0.5 for a, b in pairwise(sizes)]
        self.rows = {kind: rows(maps, generator) for kind in ("train", "test")}
        torch.manual_seed(seed)
        layers: list[nn.Module] = [nn.Linear(INPUTS, width), nn.ReLU()]
        layers += [nn.Linear(width, SECOND), nn.ReLU()] if deep else []
        self.network = nn.Sequential(*layers, nn.Linear(SECOND if deep else width, OUTPUTS))
        self.optimizer = torch.optim.Adam(self.network.parameters(), LR)
        self.generator = torch.Generator().manual_seed(seed)

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the mean squared error."""
        return F.mse_loss(self.network(batch[0]), batch[1])

    def tested(self) -> float:
        """Return the mean squared error on test rows, in units of the outputs' variance."""
        with torch.no_grad():
            return float(self.loss(self.rows["test"]) / self.rows["test"][1].var())

    def epoch(self) -> None:
        """Train for a pass over the rows."""
        inputs, targets = self.rows["train"]
        for rows in torch.randperm(ROWS, generator=self.generator).split(BATCH):
            self.optimizer.zero_grad()
            self.loss((inputs[rows], targets[rows])).backward()
            self.optimizer.step()

    def first(self) -> Units:
        """Return the units of the first hidden layer."""
        return units(self.network, self.rows["train"][0], ["0"])[0]

    def ground(self, *optimizers: torch.optim.Optimizer) -> Ground:
        """Return what growth goes by: a quarter of the training rows; and the optimisers that are to follow."""
        batch = tuple(part[: ROWS // 4] for part in self.rows["train"])
        return Ground(self.network, [batch], self.loss, self.generator, optimizers)

    def steepness(self, method: Callable[..., None], count: int, kind: str) -> float:
        """Return the norm of the gradient by all weights of units that a method would add, on rows of a kind."""
        ground, added = self.ground(), self.first()
        with trial(self.network, added):
            before = added.count
            method(ground, added, count)
            fresh = range(before, added.count)
            sides = [gradient(self.network, added, role, fresh, self.loss, [self.rows[kind]]) for role in ("out", "in")]
        return float(torch.cat([side.flatten() for side in sides]).norm())

    def ratio(self, count: int, kind: str) -> float:
        """Return GradMax's gradient over random's, the mean of some draws, at equal norm of the new weights."""
        chance = mean(self.steepness(random, count, kind) for _ in range(DRAWS))
        return self.steepness(gradmax, count, kind) / chance


def rows(maps: Sequence[Tensor], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return normal inputs and the teacher's outputs, with ReLU between its maps."""
    inputs = hidden = torch.randn(ROWS, INPUTS, generator=generator)
    for place, weight in enumerate(maps):
        hidden = (torch.relu(hidden) if place else hidden) @ weight.T
    return inputs, hidden


def taught(seed: int, method: str | None, deep: bool, width: int = START) -> dict[str, Any]:
    """Train a student, grown by a method or not; return its test losses, and GradMax's gradient over random's."""
    student = Student(seed, width, deep)
    losses: dict[str, Any] = {"ratio": {f"{count} {kind}": [] for count in (1, MORE) for kind in ("train", "test")}}
    for turn in range(GROWTHS + 2):
        if method is not None and 1 <= turn <= GROWTHS:
            for count in (1, MORE) if method == "gradmax" else ():
                for kind in ("train", "test"):
                    losses["ratio"][f"{count} {kind}"].append(student.ratio(count, kind))
            INITS[method](student.ground(student.optimizer), student.first(), MORE)
        for step in range(EPOCHS):
            student.epoch()
            if (turn, step) == (1, 0):
                losses["early"] = student.tested()
    return losses | {"final": student.tested()}


def teaching(deep: bool) -> dict[str, Any]:
    """Return test losses by method in per cent of the outputs' variance, differences, and ratios of gradients."""
    runs = {name: [taught(seed, name, deep) for seed in SEEDS] for name in ("gradmax", "random", "firefly", "split")}
    runs["not grown"] = [taught(seed, None, deep) for seed in SEEDS]
    runs["full width from the start"] = [taught(seed, None, deep, START + GROWTHS * MORE) for seed in SEEDS]
    losses = {
        kind: {name: [100 * run[kind] for run in group] for name, group in runs.items()} for kind in ("early", "final")
    }
    final = losses["final"]
    return {
        "early": {name: spread(values) for name, values in losses["early"].items()},
        "final": {name: spread(values) for name, values in final.items()},
        "differences": {
            f"{init} less {other}": paired(final[init], final[other])
            for init in runs
            for other in runs
            if init in ("gradmax", "random") and init != other
        },
        "ratio": {
            key: spread([ratio for run in runs["gradmax"] for ratio in run["ratio"][key]])
            for key in runs["gradmax"][0]["ratio"]
        },
    }


def paired(scores: Sequence[float], others: Sequence[float]) -> dict[str, float]:
    """Return the mean difference and its standard error."""
    pairs = [a - b for a, b in zip(scores, others, strict=True)]
    return {"mean": round(mean(pairs), 3), "standard_error": round(stdev(pairs) / len(pairs) ** 0.5, 3)}


def measure() -> dict[str, Any]:
    """Train all students; return losses, paired differences and ratios."""
    torch.set_num_threads(1)
    results = {kind: teaching(deep) for kind, deep in KINDS.items()}
    for kind, row in results.items():
        for name, final in row["final"].items():
            early = row["early"][name]["mean"]
            print(f"{kind:<18} {name:<26} {final['mean']:6.2f} ± {final['sd']:.2f} %, early {early:.2f}")
        for name, ratio in row["ratio"].items():
            print(f"{kind:<18} gradient over random's, {name:<8} {ratio['median']:.2f} from {ratio['min']:.2f}")
    return {"students": results, "prose": prose(results)}


def prose(results: dict[str, Any]) -> str:
    """Say what was reached and what was not."""
    sentences = []
    for kind, row in results.items():
        ratios = {count: row["ratio"][f"{count} test"]["median"] for count in (1, MORE)}
        steeper = ", ".join(
            f"{ratio:.2f} where {count} is added ({'reached' if ratio >= FASTER else 'NOT reached'})"
            for count, ratio in ratios.items()
        )
        losses = ", ".join(f"{name} {loss['mean']:.2f}" for name, loss in row["final"].items())
        sentences.append(
            f"{kind}: the new units' gradient under GradMax, on other rows, is by the median over random's {steeper}; "
            f"final loss in per cent of the variance {losses}; {less(row, 'gradmax', 'random')}, "
            f"{less(row, 'random', 'not grown')}"
        )
    return (
        f"Teacher and student, {len(SEEDS)} seeds, aim {FASTER} times random's gradient: " + "; ".join(sentences) + "."
    )


def less(row: dict[str, Any], arm: str, other: str) -> str:
    """Give a paired difference, with its standard error, and say where it is within noise."""
    pair = row["differences"][f"{arm} less {other}"]
    noise = " (within noise)" if abs(pair["mean"]) < 2 * pair["standard_error"] else ""
    return f"{arm} less {other} {pair['mean']:+.2f} ± {pair['standard_error']:.2f}{noise}"
