"""Growth: is the function kept by Net2Wider and Net2Deeper, and is a budget in milliseconds met on this machine.

Function: the largest change of the outputs over networks of each kind, with biases, scales and statistics away from
where they begin. Latency: convolutional networks for digits, of width 16, get budgets between the latencies of a
small and a large network of their kind, and are grown and shrunk to them while they train. When all are trained, each
is built anew from its recipe and weights, and timed on validation rows in rounds, in turns with all others, the small
and the large one among them, which show by how much the machine itself has changed. Then the test rows are opened.
"""

import copy
from collections.abc import Callable
from statistics import mean, median
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.rig import training
from benchmarks.rig.record import spread
from kirigami import models
from kirigami.models import cost
from kirigami.models.growth import GrowAndShrink, activations, deepen, net2wider
from kirigami.models.structure import units

IMAGES: tuple[dict[str, Any], ...] = (
    {"name": "mlp", "depth": 3, "width": 32},
    {"name": "mlp", "depth": 2, "width": 32, "norm": "batch"},
    {"name": "convnet", "width": 16},
    {"name": "convnet", "width": 16, "norm": "none"},
    {"name": "convnet", "width": 16, "norm": "group"},
    {"name": "resnet", "width": 8, "depth": 14},
    {"name": "resnet", "width": 8, "depth": 8, "preactivation": True},
    {"name": "wrn", "widen": 1, "depth": 10},
    {"name": "vgg", "width": 8, "depth": 16},
)
ALIKE = 1e-5

ALIKE = 1e-5

SEEDS = range(3)
EPOCHS = 20
ROWS = 64  # of the batch that is timed: a pass is shorter than what the system gives a process at a time
SMALL, START, LARGE = 8, 16, 40
SHARES = (0.25, 0.5, 0.75)  # of the way from the small network's latency to the large one's
INITS = ("split", "gradmax")
ROUNDS, REPEATS = 15, 100
EXACT = 0.05


def preserved() -> dict[str, Any]:
    """Return the largest change of any output, in units of the largest output, by network and method."""
    changes: dict[str, Any] = {}
    for config in IMAGES:
        torch.manual_seed(0)
        inputs = torch.randn(32, 1, 8, 8)
        network = models.build_network(config, in_shape=(1, 8, 8), out_features=10)
        moved(network)
        changes[title(config)] = {
            "wider": changed(network, inputs, wider),
            "deeper": changed(network, inputs, deeper),
        }
    text = torch.randint(0, 11, (8, 12))
    network = models.build_network({"name": "transformer", "width": 32}, in_shape=(12,), out_features=11, vocabulary=11)
    moved(network)
    changes["transformer"] = {"wider": changed(network, text, wider)}  # its activation is no ReLU
    return changes


def title(config: dict[str, Any]) -> str:
    """Name a network by what is special in it."""
    marks = [str(config["norm"])] if "norm" in config else []
    return " ".join([config["name"], *marks, *(["preactivation"] if config.get("preactivation") else [])])


def moved(network: nn.Module) -> None:
    """Move biases, scales and statistics from where they begin, as training does."""
    with torch.no_grad():
        for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2)
            elif tensor.dim() == 1:
                tensor.add_(0.3 * torch.randn_like(tensor))


def changed(network: nn.Module, inputs: Tensor, change: Callable[[nn.Module, Tensor], None]) -> float:
    """Return by how much a change to a copy of the network moves its outputs."""
    other = copy.deepcopy(network).eval()
    with torch.no_grad():
        before = other(inputs)
        change(other, inputs)
        return float((other.eval()(inputs) - before).abs().max() / before.abs().max())


def wider(network: nn.Module, inputs: Tensor) -> None:
    """Give every layer whose units can change half as many again."""
    for group in units(network, inputs):
        net2wider(network, group, max(1, group.count // 2), generator=torch.Generator().manual_seed(1))


def deeper(network: nn.Module, inputs: Tensor) -> None:
    """Insert a layer behind every activation."""
    for name in activations(network):
        deepen(network, name, inputs)


class Trained:
    """A network for digits, trained as it is or to a budget, and then built anew.

    Args:
        seed: of the split, the weights and the batches.
        width: channels of the first convolution.
        technique: that brings it to a budget.
    """

    def __init__(self, seed: int, width: int, technique: GrowAndShrink | None = None) -> None:
        config = {"name": "convnet", "width": width, "depth": 3}
        self.task = training.open_task({"name": "digits"}, seed)
        self.module = training.build(config, self.task, seed)
        training.fit(self.module, self.task, [technique] if technique else [], epochs=EPOCHS)
        self.network = models.build_network(config, in_shape=self.task.in_shape, out_features=self.task.out_features)
        self.report: dict[str, float] = {}
        if technique is not None:
            self.report = technique.report()
            GrowAndShrink(latency_ms=technique.budget.amount).restore(self.network, technique.recipe())
        self.network.load_state_dict(self.module.network.state_dict())
        self.module.network = self.network
        self.times: list[float] = []

    def figures(self) -> dict[str, Any]:
        """Return what was measured, and per cent right on both kinds of rows."""
        right = {
            rows: 100 * training.score(self.module, self.task, rows, "accuracy") for rows in ("validation", "test")
        }
        return {"latency_ms": spread(self.times), "params": cost.parameters(self.network), **right}


def timed(networks: list[Trained], inputs: Tensor) -> None:
    """Time all networks in turns, round by round."""
    for _ in range(ROUNDS):
        for trained in networks:
            trained.times.append(cost.latency_ms(trained.network, inputs, REPEATS))


def latencies() -> dict[str, Any]:
    """Bring networks to budgets, then measure all of them."""
    inputs, _ = next(iter(training.open_task({"name": "digits"}, 0, batch_size=ROWS).val_dataloader()))
    inputs = inputs[:ROWS]
    plain = {width: [Trained(seed, width) for seed in SEEDS] for width in (SMALL, START, LARGE)}
    ends = [plain[SMALL][0], plain[LARGE][0]]
    timed(ends, inputs)
    low, high = (median(network.times) for network in ends)
    before = [median(network.times) for network in ends]
    for network in ends:
        network.times.clear()
    aimed = {
        (share, init, seed): Trained(
            seed, START, GrowAndShrink(latency_ms=low + share * (high - low), init=init, rows=ROWS, seed=seed)
        )
        for share in SHARES
        for init in INITS
        for seed in SEEDS
    }
    timed([*(network for networks in plain.values() for network in networks), *aimed.values()], inputs)
    rows = [
        {"share": share, "init": init, "seed": seed, **network.report, **network.figures()}
        for (share, init, seed), network in aimed.items()
    ]
    for row in rows:
        row["off_then"] = row["off"]
        row["off"] = row["latency_ms"]["median"] / row["budget"] - 1
    return {
        "budgets": rows,
        "plain": {f"width {width}": [network.figures() for network in networks] for width, networks in plain.items()},
        "drift": [median(network.times) / then - 1 for network, then in zip(ends, before, strict=True)],
    }


def measure() -> dict[str, Any]:
    """Return changes of the function, and latencies against their budgets."""
    from kirigami.search.training.trainer import quiet

    quiet()
    torch.set_num_threads(1)
    changes, results = preserved(), latencies()
    for name, row in changes.items():
        print(f"{name:<22} " + ", ".join(f"{way} {change:.1e}" for way, change in row.items()))
    for name, row in results["plain"].items():
        for network in row:
            time = network["latency_ms"]
            print(f"{name:<10} {time['median']:.3f} ± {time['sd']:.3f} ms, test {network['test']:.2f} %")
    for row in results["budgets"]:
        time = row["latency_ms"]
        print(
            f"{row['budget']:.3f} ms by {row['init']:<8} seed {row['seed']}: {time['median']:.3f} ± {time['sd']:.3f} "
            f"ms, {row['off']:+.1%}, when the shapes were fixed {row['off_then']:+.1%}, {row['params']:.0f} "
            f"parameters, test {row['test']:.2f} %"
        )
    print(f"drift of the small and the large network since the budgets were set: {results['drift']}")
    return {"preserved": changes, **results, "prose": prose(changes, results)}


def prose(changes: dict[str, Any], results: dict[str, Any]) -> str:
    """Say what was reached and what was not."""
    worst = max(change for row in changes.values() for change in row.values())
    rows = results["budgets"]
    off = [abs(row["off"]) for row in rows]
    met = sum(deviation <= EXACT for deviation in off)
    noise = median(row["latency_ms"]["sd"] / row["latency_ms"]["mean"] for row in rows)
    accuracy = "; ".join(
        f"{row_budget:.2f} ms {mean(hit):.2f} %"
        for row_budget in sorted({row["budget"] for row in rows})
        for hit in [[row["test"] for row in rows if row["budget"] == row_budget]]
    )
    plain = ", ".join(
        f"{name} {median(net['latency_ms']['median'] for net in row):.2f} ms {mean(net['test'] for net in row):.2f} %"
        for name, row in results["plain"].items()
    )
    verdict = "reached" if met == len(rows) else "NOT reached by all"
    preserved_all = "reached" if worst <= ALIKE else "NOT reached"
    return (
        f"Function: outputs move by at most {worst:.1e} of the largest one (aim {ALIKE:.0e}: {preserved_all}) over "
        f"{len(changes)} kinds of networks. Latency, digits, one thread, {ROWS} rows: {met} of {len(rows)} networks "
        f"are within {EXACT:.0%} of their budget when timed again after all training ({verdict}), "
        f"median {median(off):.1%}, worst {max(off):.1%}; a measurement varies by {noise:.1%} between rounds, "
        f"and the machine's speed on the unchanged small and large network by {results['drift'][0]:+.1%} and "
        f"{results['drift'][1]:+.1%} since the budgets were set. "
        f"Test accuracy by budget: {accuracy}; plain networks: {plain}."
    )
