"""How much can be pruned by what removal does to the loss: units and weights, by every criterion, beside brute force.

Units: digits, one hidden layer of 100 ReLU units, 100 epochs, 5 seeds. One unit after another goes, the rest is scored
anew on the training rows, and removal stops before the accuracy on validation rows, or on training rows, has fallen by
more than a point; nothing is trained again. Weights: digits, convolutional network of width 16 and depth 3, all
convolutions, one shot, 3 seeds: pruned after 30 epochs without and with 20 epochs of fine-tuning, and at
initialisation with the same 50 epochs. Test rows are opened when everything is trained and removed.
"""

import copy
from collections.abc import Callable
from statistics import mean, stdev
from time import perf_counter
from typing import Any

import torch

from benchmarks.rig.record import spread
from benchmarks.rig.training import build, fit, open_task, score
from kirigami.models.saliency import UNIT_CRITERIA, WEIGHT_CRITERIA, Gates, removable, weight_scores
from kirigami.models.sparsity import SaliencyPruning
from kirigami.models.sparsity.saliency import EARLY
from kirigami.models.structure import units
from kirigami.models.technique import loss_of

UNIT_SEEDS = range(5)
UNIT_EPOCHS = 100
TOLERANCE = 0.01
BLENDS = (("norm", "oracle"), ("taylor2", "oracle"))
WEIGHT_SEEDS = range(3)
EPOCHS, MORE = 30, 20
LR, MORE_LR = 0.1, 0.05
DENSITIES = (0.2, 0.1, 0.05)
ROWS = 512
NO_UPDATE = "obs without its update"


def measure() -> dict[str, Any]:
    """Train and prune all, then open the test rows; return counts, accuracies and seconds."""
    torch.set_num_threads(1)
    tested: list[Callable[[], None]] = []
    removed = [by_units(seed, tested) for seed in UNIT_SEEDS]
    pruned = [by_weights(seed, tested) for seed in WEIGHT_SEEDS]
    for test in tested:
        test()
    unit_rows = gathered(removed)
    weight_rows = gathered(pruned)
    pairs = against(weight_rows, "magnitude")
    show(unit_rows, weight_rows, pairs)
    results = {"units": unit_rows, "weights": weight_rows, "weights_less_magnitude": pairs}
    return {**results, "prose": prose(unit_rows, weight_rows, pairs)}


def by_units(seed: int, tested: list[Callable[[], None]]) -> dict[str, dict[str, float]]:
    """Train one network and remove its units by every criterion; add to `tested` what to do with the test rows."""
    task = open_task({"name": "digits"}, seed)
    module = build({"name": "mlp", "width": 100, "depth": 1}, task, seed)
    fit(module, task, epochs=UNIT_EPOCHS)
    sets = units(module.network, task.train.inputs[:2])
    table: dict[str, dict[str, float]] = {}
    ways = [(criterion, None) for criterion in UNIT_CRITERIA] + list(BLENDS)
    for criterion, finish in ways:
        name = criterion if finish is None else f"{criterion}, then {finish}"
        row = table[name] = {}
        for rows in ("validation", "train"):
            split = getattr(task, rows)
            began = perf_counter()
            gone = removable(
                module.network,
                sets,
                [tuple(task.train)],
                loss_of(module),
                lambda split=split: right(module, split),
                criterion,
                tolerance=TOLERANCE,
                finish=finish,
                seed=seed,
            )
            row[f"units, {rows}"] = gone.count
            row[f"seconds, {rows}"] = perf_counter() - began
            closed = torch.zeros(100, dtype=torch.bool)
            closed[gone.indices(sets[0].name)] = True
            gates = Gates(module.network, sets, {sets[0].name: closed})
            tested.append(lambda row=row, rows=rows, gates=gates: row.update(test_drop(module, task, gates, rows)))
    return table


def right(module: Any, split: Any) -> float:
    """Return the share of rows that are right."""
    return float((module(split.inputs).argmax(1) == split.targets).float().mean())


def test_drop(module: Any, task: Any, gates: Gates, rows: str) -> dict[str, float]:
    """Return by how many points the accuracy on test rows falls."""
    before = score(module, task, "test", "accuracy")
    with gates.placed():
        after = score(module, task, "test", "accuracy")
    return {f"test points lost, {rows}": 100 * (before - after)}


def by_weights(seed: int, tested: list[Callable[[], None]]) -> dict[str, dict[str, float]]:
    """Train one network, prune copies of it by every criterion and density, and fine-tune them."""
    task = open_task({"name": "digits"}, seed)
    batches = list(task.train_dataloader())
    fresh = build({"name": "convnet", "width": 16, "depth": 3}, task, seed)
    dense = copy.deepcopy(fresh)
    fit(dense, task, epochs=EPOCHS, lr=LR)
    longer = copy.deepcopy(dense)
    fit(longer, task, epochs=MORE, lr=MORE_LR)
    table: dict[str, dict[str, float]] = {}
    settle(table, "dense", tested, task, at_once=dense, tuned=longer)
    for density in DENSITIES:
        for criterion in (*WEIGHT_CRITERIA, NO_UPDATE):
            at_once = copy.deepcopy(dense)
            technique, seconds = prune(at_once, batches, criterion, density, seed, at=1.0)
            tuned = copy.deepcopy(at_once)
            fit(tuned, task, epochs=MORE, lr=MORE_LR)
            name = f"{criterion} {density:.0%}"
            settle(table, name, tested, task, at_once=at_once, tuned=tuned)
            table[name] |= {"seconds": seconds, "density": technique.report()["density"]}
        for criterion in (*EARLY, "random"):
            tuned = copy.deepcopy(fresh)
            prune(tuned, batches, criterion, density, seed, at=0.0)
            fit(tuned, task, epochs=EPOCHS, lr=LR)
            fit(tuned, task, epochs=MORE, lr=MORE_LR)
            settle(table, f"{criterion} at initialisation {density:.0%}", tested, task, tuned=tuned)
    return table


def prune(
    module: Any, batches: list[Any], criterion: str, density: float, seed: int, at: float
) -> tuple[SaliencyPruning, float]:
    """Mask a module's network for good; return the technique and the seconds it took."""
    technique = SaliencyPruning(criterion.partition(" ")[0], density, at=at, rows=ROWS, seed=seed)
    technique.attach(module.network)
    began = perf_counter()
    if criterion == NO_UPDATE:
        technique.keep_largest(
            weight_scores(module.network, "obs", batches, loss_of(module), rows=ROWS).values(), density
        )
    else:
        technique.prune(density, batches, loss_of(module))
    seconds = perf_counter() - began
    technique.harden()
    return technique, seconds


def settle(
    table: dict[str, dict[str, float]], name: str, tested: list[Callable[[], None]], task: Any, **modules: Any
) -> None:
    """Put down the validation accuracy of modules, and the test accuracy for later."""
    row = table[name] = {}
    for when, module in modules.items():
        row[f"{when}, validation"] = 100 * score(module, task, "validation", "accuracy")

        def test(when: str = when, module: Any = module) -> None:
            row[f"{when}, test"] = 100 * score(module, task, "test", "accuracy")

        tested.append(test)


def gathered(runs: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, Any]]:
    """Return the spread over seeds of every figure."""
    return {
        name: {key: spread([run[name][key] for run in runs]) for key in row if key != "density"}
        | ({"density": row["density"]} if "density" in row else {})
        for name, row in runs[0].items()
    }


def against(rows: dict[str, dict[str, Any]], reference: str) -> dict[str, Any]:
    """Return test accuracy less that of the reference at the same density, in points, paired by seed."""
    table: dict[str, Any] = {}
    for name, row in rows.items():
        base = rows.get(f"{reference} {name.rpartition(' ')[2]}")
        if base is None or base is row:
            continue
        table[name] = {}
        for when in ("at_once", "tuned"):
            if f"{when}, test" in row:
                runs = zip(row[f"{when}, test"]["runs"], base[f"{when}, test"]["runs"], strict=True)
                pairs = [score - other for score, other in runs]
                error = stdev(pairs) / len(pairs) ** 0.5
                table[name][when] = {"mean": round(mean(pairs), 3), "standard_error": round(error, 3)}
    return table


def cell(row: dict[str, Any], key: str) -> str:
    """Return mean and deviation of a figure, or a dash."""
    return f"{row[key]['mean']:.2f} ± {row[key]['sd']:.2f}" if key in row else "-"


def show(unit_rows: dict[str, Any], weight_rows: dict[str, Any], pairs: dict[str, Any]) -> None:
    """Print both tables."""
    for rows in ("validation", "train"):
        print(f"units of 100 removable within a point of {rows} accuracy")
        for name, row in unit_rows.items():
            lost, seconds = cell(row, f"test points lost, {rows}"), cell(row, f"seconds, {rows}")
            print(f"  {name:<22} {cell(row, f'units, {rows}'):>14}  test points lost {lost:>13}  seconds {seconds}")
    print("weights, per cent right of the test rows, and points against magnitude ± standard error")
    for name, row in weight_rows.items():
        pair = pairs.get(name, {}).get("tuned")
        less = f"{pair['mean']:+.2f} ± {pair['standard_error']:.2f}" if pair else ""
        without, tuned = cell(row, "at_once, test"), cell(row, "tuned, test")
        print(f"  {name:<30} at once {without:>15}  tuned {tuned:>14} {less:>15}  seconds {cell(row, 'seconds')}")


def prose(unit_rows: dict[str, Any], weight_rows: dict[str, Any], pairs: dict[str, Any]) -> str:
    """Say what was reached and what was not."""
    counts = ", ".join(
        f"{name} {cell(row, 'units, validation')} ({row['seconds, validation']['mean']:.2f} s, test "
        f"{-row['test points lost, validation']['mean']:+.2f} points)"
        for name, row in unit_rows.items()
    )
    sentences = [
        f"units of 100 removable within a point of validation accuracy without retraining, {len(UNIT_SEEDS)} seeds: "
        f"{counts}"
    ]
    for density in DENSITIES:
        name = f"{density:.0%}"
        base = weight_rows[f"magnitude {name}"]
        parts = []
        for when in ("at_once", "tuned"):
            others = {other: pair[when] for other, pair in pairs.items() if other.endswith(f" {name}") and when in pair}
            listed = ", ".join(
                f"{other.removesuffix(f' {name}')} {pair['mean']:+.2f} ± {pair['standard_error']:.2f}"
                for other, pair in others.items()
            )
            title = "without fine-tuning" if when == "at_once" else "with it"
            parts.append(f"{title} magnitude {cell(base, f'{when}, test')} % and against it {listed}")
        sentences.append(f"weights at {name}: " + "; ".join(parts))
    return ". ".join(sentences) + f". {len(WEIGHT_SEEDS)} seeds for weights, ± standard error of paired differences."
