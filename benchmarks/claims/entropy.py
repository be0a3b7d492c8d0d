"""The entropy of weights over training: of 8-bit codes relative to each tensor's range, on a fixed grid, and as bytes.

The claim is that it falls in training (A. Øland, CMU-CS-24-147). It is measured before the first epoch and after some
of the others, on digits, for an MLP and a convolutional network, with and without weight decay, by one-cycle SGD. The
MLP begins with uniform weights and the other with normal ones; each is also begun the other way, with the same
deviation in every tensor, to tell what training does from what it begins with. The fixed grid has steps of 2^-7. Bytes
are those of the relative codes under our range coder, with each tensor's least and step, and decode. `range` is that
of a tensor in its standard deviations, which is what the relative codes feel.
"""

import time
from statistics import mean
from typing import Any

from benchmarks.rig.record import spread
from benchmarks.rig.training import SGD, build, fit, open_task, score

SEEDS = range(5)
EPOCHS = 40
MEASURED = (0, 1, 2, 5, 10, 20, 30, 40)
PACKED = (0, 10, 40)  # epochs after which bytes are counted too
NETWORKS = {
    "mlp": {"name": "mlp", "width": 128, "depth": 2},
    "convnet": {"name": "convnet", "width": 16, "depth": 3},
}
DECAYS = (0.0, 5e-4)
OTHER = {"mlp": "normal", "convnet": "uniform"}  # than they begin with by themselves
EARLIER = (6.4, 6.8)  # bits that short runs of ours came down to before


def measure() -> dict[str, Any]:
    """Train each network under each decay and seed, and print its curves."""
    began = time.perf_counter()
    results: dict[str, Any] = {}
    for name, network in NETWORKS.items():
        for decay, start in ((DECAYS[0], None), (DECAYS[1], None), (DECAYS[1], OTHER[name])):
            title = f"{name}, decay {decay:g}" + (f", {start} start" if start else "")
            results[title] = row = summary([run(network, decay, start, seed) for seed in SEEDS])
            for key in ("relative", "fixed", "range"):
                curve = "  ".join(f"{epoch}: {row[key][epoch]['mean']:.2f}" for epoch in MEASURED)
                print(f"{title:<38}{key:<9} {curve}")
            sizes = "  ".join(f"{epoch}: {row['bytes'][epoch]['mean']:,.0f}" for epoch in PACKED)
            print(f"{title:<38}bytes     {sizes}   of {row['weights']:,} weights")
    print(f"{time.perf_counter() - began:.0f} s")
    return {**results, "prose": prose(results)}


def run(network: dict[str, Any], decay: float, start: str | None, seed: int) -> dict[str, Any]:
    """Train once and return the figures by epoch."""
    from lightning.pytorch import Callback, LightningModule, Trainer

    rows: dict[int, dict[str, float]] = {}

    class Watch(Callback):
        def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            if trainer.current_epoch + 1 in MEASURED:
                rows[trainer.current_epoch + 1] = figures(pl_module.network, trainer.current_epoch + 1)

    task = open_task({"name": "digits"}, seed)
    module = build(network, task, seed)
    if start is not None:
        restart(module.network, start, seed)
    rows[0] = figures(module.network, 0)
    fit(module, task, [Watch()], epochs=EPOCHS, optimizer={**SGD, "weight_decay": decay})
    return {"rows": rows, "accuracy": score(module, task, "test", "accuracy")}


def restart(network: Any, start: str, seed: int) -> None:
    """Draw the weights anew, "uniform" or "normal", with the deviation they have."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                deviation = float(parameter.std())
                if start == "normal":
                    parameter.normal_(0, deviation, generator=generator)
                else:
                    parameter.uniform_(-(3**0.5) * deviation, 3**0.5 * deviation, generator=generator)


def figures(network: Any, epoch: int) -> dict[str, float]:
    """Return what is known of the weights after an epoch."""
    from kirigami.models.entropy import compress_weights, weight_entropy, weights

    began = time.perf_counter()
    entropy = weight_entropy(network)
    row = {"relative": entropy.relative, "fixed": entropy.fixed, "weights": entropy.weights}
    row["ms"] = 1e3 * (time.perf_counter() - began)
    tensors = [weight for _, weight in weights(network)]
    row["range"] = (
        sum(float((tensor.max() - tensor.min()) / tensor.std()) * tensor.numel() for tensor in tensors)
        / entropy.weights
    )
    if epoch in PACKED:
        began = time.perf_counter()
        row["bytes"] = len(compress_weights(network))
        row["compress_ms"] = 1e3 * (time.perf_counter() - began)
    return row


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the spread of each figure by epoch, and of its change over training."""
    table: dict[str, Any] = {"weights": runs[0]["rows"][0]["weights"]}
    for key, epochs in (("relative", MEASURED), ("fixed", MEASURED), ("range", MEASURED), ("bytes", PACKED)):
        table[key] = {epoch: spread([run["rows"][epoch][key] for run in runs]) for epoch in epochs}
        table[f"{key}_change"] = spread([run["rows"][EPOCHS][key] - run["rows"][0][key] for run in runs])
    for key, epochs in (("ms", MEASURED), ("compress_ms", PACKED)):
        table[key] = spread([run["rows"][epoch][key] for run in runs for epoch in epochs])
    table["accuracy"] = spread([run["accuracy"] for run in runs])
    return table


def prose(results: dict[str, Any]) -> str:
    """Say which way each entropy went, and what the bytes are beside it."""
    parts = []
    for name, row in results.items():
        first, last, count = row["relative"][0], row["relative"][EPOCHS], row["weights"]
        size = row["bytes"][EPOCHS]["mean"]
        parts.append(
            f"{name} ({count:,} weights, test accuracy {row['accuracy']['mean']:.3f}): relative {first['mean']:.2f} -> "
            f"{last['mean']:.2f} bits (sd {last['sd']:.2f}), range {row['range'][0]['mean']:.1f} -> "
            f"{row['range'][EPOCHS]['mean']:.1f} deviations, fixed {row['fixed'][0]['mean']:.2f} -> "
            f"{row['fixed'][EPOCHS]['mean']:.2f} (sd {row['fixed'][EPOCHS]['sd']:.2f}), bytes "
            f"{row['bytes'][0]['mean']:,.0f} -> {size:,.0f}, which is {8 * size / count:.2f} bits a weight and "
            f"{4 * count / size:.1f}x less than float32"
        )
    falls = [name for name, row in results.items() if row["relative_change"]["max"] < 0]
    rises = [name for name, row in results.items() if row["fixed_change"]["min"] > 0]
    within = [name for name, row in results.items() if EARLIER[0] <= row["relative"][EPOCHS]["mean"] <= EARLIER[1]]
    starts = ", ".join(
        f"{name} {row['relative'][0]['mean'] - row['relative'][EPOCHS]['mean']:.2f}" for name, row in results.items()
    )
    ms, packing = (mean(row[key]["median"] for row in results.values()) for key in ("ms", "compress_ms"))
    return (
        f"Digits, {EPOCHS} epochs, {len(SEEDS)} seeds. {'; '.join(parts)}. Relative to the range, entropy falls in "
        f"every run of {_listed(falls, results)} ({_verdict(falls, results)}), and ends between {EARLIER[0]} and "
        f"{EARLIER[1]} bits in {_listed(within, results)} ({_verdict(within, results)}); on the fixed grid it rises in "
        f"every run of {_listed(rises, results)} ({_verdict(rises, results)}). How far it falls depends on what it "
        f"begins with: {starts}. Measuring takes {ms:.1f} ms, compressing {packing:.0f} ms."
    )


def _listed(names: list[str], settings: dict[str, Any]) -> str:
    count = f"all {len(settings)}" if len(names) == len(settings) else f"{len(names)} of {len(settings)}"
    return f"{count} settings"


def _verdict(names: list[str], settings: dict[str, Any]) -> str:
    return "reproduced" if len(names) == len(settings) else "NOT reproduced" if not names else "reproduced in part"
