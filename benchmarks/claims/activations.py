"""Activations: XOR and a circle with three hidden units, digits, and software defects, by each activation.

Perceptrons of one hidden layer of 3 units on two toy problems, of two layers of 64 on digits, of two layers of 32 on
Apache Camel, trained by Adam. Each activation has the rate, of four, that is best on validation rows of other seeds.
Paired by seed, which draws rows or split, weights and batches; scored once, on test rows, after the last epoch. All
seeds of an activation train at the same time, each with parameters of its own. Verdicts against ReLU: Wilcoxon with
Holm's correction over the activations, at a margin of .02 (see `docs/compare.md`); Cliff's delta.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from benchmarks.rig.record import spread
from benchmarks.rig.training import open_task
from kirigami.models.activations import ACTIVATIONS
from kirigami.models.networks import MLP
from kirigami.search.comparing.statistics import MARGIN, Comparison, compare
from kirigami.tasks.metrics import METRICS

NAMES = tuple(name for name in ACTIVATIONS if name != "swish")  # which is SiLU
MIXED = {"relu, sin": ["relu", "sin"]}  # one activation a layer, where there are two layers
REFERENCE = "relu"
RATES = (0.001, 0.003, 0.01, 0.03)
TOY_RATES = (0.01, 0.03, 0.1, 0.3)
CHOOSING = range(1000, 1005)  # seeds that choose rates
TOYS = range(40)  # seeds of repeats
TOY = 400  # rows to train on, to choose by and, five times as many, to test on
Rows = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Problem:
    """What is trained on.

    Attributes:
        rows: from a seed to rows to train on, to choose by and to test on.
        network: width and depth of the perceptron.
        metric: key of `tasks.METRICS`.
        epochs: passes over the rows.
        batch: rows of a step.
        rates: to choose from.
        seeds: of the repeats.
    """

    rows: Callable[[int], list[Rows]]
    network: dict[str, int]
    metric: str
    epochs: int
    batch: int
    rates: Sequence[float]
    seeds: Sequence[int]


def plane(label: Callable[[Tensor], Tensor]) -> Callable[[int], list[Rows]]:
    """Return what draws points of the square [-1, 1]² and labels them."""

    def draw(seed: int) -> list[Rows]:
        generator = torch.Generator().manual_seed(seed)
        points = [torch.rand(count, 2, generator=generator) * 2 - 1 for count in (TOY, TOY, 5 * TOY)]
        return [(rows, label(rows).long()) for rows in points]

    return draw


def opened(config: dict[str, Any]) -> Callable[[int], list[Rows]]:
    """Return what splits a task's rows by a seed."""

    def split(seed: int) -> list[Rows]:
        task = open_task(config, seed)
        task.setup("test")
        return [(rows.inputs, rows.targets) for rows in (task.train, task.validation, task.test)]

    return split


def problems() -> dict[str, Problem]:
    """Return the problems at hand; camel needs KIRIGAMI_DATA."""
    xor, circle = (
        plane(lambda points: points[:, 0] * points[:, 1] > 0),
        plane(lambda points: points.square().sum(1) < 2 / torch.pi),
    )
    three, seeds = {"width": 3, "depth": 1}, range(20)
    problems_at_hand = {
        "xor": Problem(xor, three, "accuracy", 500, TOY, TOY_RATES, TOYS),
        "circle": Problem(circle, three, "accuracy", 500, TOY, TOY_RATES, TOYS),
        "digits": Problem(opened({"name": "digits"}), {"width": 64, "depth": 2}, "accuracy", 20, 64, RATES, seeds),
    }
    if os.environ.get("KIRIGAMI_DATA"):
        from kirigami.search.config.compose import compose
        from kirigami.search.config.resolve import resolve

        camel = resolve(compose(["task=camel", "space=[]"]))["task"]
        problems_at_hand["camel"] = Problem(opened(camel), {"width": 32, "depth": 2}, "auc", 20, 64, RATES, seeds)
    return problems_at_hand


def trained(
    problem: Problem, activation: str | list[str], lr: float, data: list[list[Rows]], seeds: Sequence[int], judge: int
) -> list[float]:
    """Train one network a seed, all at once, and return the metric of each on its rows: 1 to choose by, 2 to test."""
    networks = []
    features, classes = data[0][0][0].flatten(1).shape[1], int(max(rows[0][1].max() for rows in data)) + 1
    for seed in seeds:
        torch.manual_seed(seed)
        networks.append(MLP((features,), classes, activation=activation, **problem.network))
    parameters, _ = stack_module_state(networks)  # type: ignore[arg-type]
    inputs, targets = (torch.stack([rows[0][part] for rows in data]) for part in (0, 1))
    inputs = inputs.flatten(2)
    optimizer = torch.optim.Adam(parameters.values(), lr)  # entry by entry, so that no seed sees another
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    count = inputs.shape[1]

    def outputs(weights: dict[str, Tensor], batch: Tensor) -> Tensor:
        return functional_call(networks[0], weights, (batch,))

    def loss(weights: dict[str, Tensor], batch: Tensor, wanted: Tensor) -> Tensor:
        return F.cross_entropy(outputs(weights, batch), wanted)

    for _ in range(problem.epochs):
        order = torch.stack([torch.randperm(count, generator=generator) for generator in generators])
        for chosen in order.split(problem.batch, 1):
            batch = inputs.gather(1, chosen[..., None].expand(-1, -1, inputs.shape[2]))
            optimizer.zero_grad()
            vmap(loss)(parameters, batch, targets.gather(1, chosen)).sum().backward()
            optimizer.step()
    with torch.no_grad():
        answers = vmap(outputs)(parameters, torch.stack([rows[judge][0] for rows in data]).flatten(2))
    function = METRICS[problem.metric].function
    return [function(weights, rows[judge][1]) for weights, rows in zip(answers, data, strict=True)]


def solved(problem: Problem) -> dict[str, Any]:
    """Return scores of all seeds, the rate chosen and the verdict, by activation."""
    choosing, repeats = ([problem.rows(seed) for seed in seeds] for seeds in (CHOOSING, problem.seeds))
    arms: dict[str, str | list[str]] = {name: name for name in NAMES}
    arms |= MIXED if problem.network["depth"] > 1 else {}
    rows, scores = {}, {}
    for name, activation in arms.items():
        tried = {lr: median(trained(problem, activation, lr, choosing, CHOOSING, 1)) for lr in problem.rates}
        lr = max(problem.rates, key=lambda rate: tried[rate])
        scores[name] = trained(problem, activation, lr, repeats, problem.seeds, 2)
        rows[name] = {"lr": lr, "score": spread(scores[name])}
    others = {name: values for name, values in scores.items() if name != REFERENCE}
    verdicts = compare(scores[REFERENCE], others, direction=METRICS[problem.metric].direction, margin=MARGIN)
    for name, verdict in verdicts.items():
        rows[name]["against"] = asdict(verdict)
        rows[name]["verdict"] = verdict_prose(verdict)
    return rows


def verdict_prose(verdict: Comparison) -> str:
    """Return a verdict with its figures."""
    interval = f"{verdict.difference:+.3f} [{verdict.low:+.3f}, {verdict.high:+.3f}]"
    return f"{verdict.verdict}, {interval}, p {verdict.p_holm:.2g}, delta {verdict.delta:+.2f}"


def measure() -> dict[str, Any]:
    """Return scores and verdicts by problem and activation."""
    torch.set_num_threads(1)
    results: dict[str, Any] = {}
    for problem, what in problems().items():
        began = time.perf_counter()
        results[problem] = solved(what)
        for name, row in results[problem].items():
            score = row["score"]
            print(
                f"{problem:<8} {name:<14} rate {row['lr']:<6g} median {score['median']:.4f}  mean {score['mean']:.4f} "
                f"sd {score['sd']:.4f}  {row.get('verdict', 'reference')}"
            )
        print(f"{problem}: {time.perf_counter() - began:.0f} s")
    return {**results, "prose": prose(results)}


def prose(results: dict[str, Any]) -> str:
    """Say what came out."""
    toys = []
    for name in ("xor", "circle"):
        rows = results[name]
        shown = ", ".join(f"{activation} {rows[activation]['score']['mean']:.2f}" for activation in rows)
        toys.append(f"{name}: {shown}")
    verdicts = {
        activation: {toy: results[toy][activation]["against"]["verdict"] for toy in ("xor", "circle")}
        for activation in ("square", "sin")
    }
    against = [f"{activation} {rows['xor']} and {rows['circle']}" for activation, rows in verdicts.items()]
    reached = all(verdict == "better" for rows in verdicts.values() for verdict in rows.values())
    parts = [
        f"Three hidden units, mean test accuracy of {len(TOYS)} seeds; {'; '.join(toys)} (measured before: relu .80 "
        f"and .82, square .97, sin .98). Against relu on XOR and circle: {', '.join(against)} (aim better on both: "
        f"{'reached' if reached else 'NOT reached'})."
    ]
    for name, metric in (("digits", "accuracy"), ("camel", "AUC")):
        if name in results:
            parts.append(f"{name.capitalize()}, {metric} of 20 paired repeats: {against_relu(results[name])}.")
    if "camel" in results:
        on_camel = [row["against"]["verdict"] for row in results["camel"].values() if "against" in row]
        differ = sum(verdict in ("better", "worse") for verdict in on_camel)
        parts.append(
            f"On defects no difference was expected: {differ} of {len(on_camel)} are better or worse. The "
            "repeats share one test file: they tell splits and weights apart, not projects."
        )
    else:
        parts.append("Camel was not measured: KIRIGAMI_DATA is not set.")
    return " ".join(parts)


def against_relu(rows: dict[str, Any]) -> str:
    """Say ReLU's score, and which activations are better, worse, equivalent or undecided."""
    by_verdict: dict[str, list[str]] = {}
    for name, row in rows.items():
        if "against" in row:
            by_verdict.setdefault(row["against"]["verdict"], []).append(f"{name} {row['score']['mean']:.3f}")
    score = rows[REFERENCE]["score"]
    shown = "; ".join(f"{verdict}: {', '.join(names)}" for verdict, names in by_verdict.items())
    return f"ReLU {score['mean']:.3f} (sd {score['sd']:.3f}), against it {shown}"
