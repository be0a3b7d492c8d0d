"""Bytes of a digits network on disk: dense, masked to 10 %, at 2 bits, and both, against safetensors and zstd of it.

The network is the ConvNet of width 16 and depth 3, trained for 20 epochs from each of three seeds with the technique
attached: magnitude pruning, uniform bits, or both. All but the last layer are compressed. The two baselines hold the
same effective weights, zeros and all, without counters of batches. Accuracies are on validation rows; no test row is
read. The bound is what was known before training, from the shapes and the plan.
"""

import time
from collections.abc import Callable
from typing import Any

from benchmarks.record import spread

SEEDS = (0, 1, 2)
EPOCHS = 20
DENSITY = 0.1
BITS = 2
PLANS: dict[str, dict[str, Any]] = {
    "dense": {},
    "masked": {"density": DENSITY},
    "bits": {"bits": BITS},
    "both": {"density": DENSITY, "bits": BITS},
}
SIZES = ("safetensors", "zstd", "encoded", "half", "bound")


def measure() -> dict[str, Any]:
    """Train, encode and decode every network, and print the mean sizes."""
    import torch

    torch.set_num_threads(1)
    rows = {name: [one(plan, seed) for seed in SEEDS] for name, plan in PLANS.items()}
    found = {name: _summary(row) for name, row in rows.items()}
    print(f"{'':<8}{'accuracy':>9}{''.join(f'{size:>13}' for size in SIZES)}  exact")
    for name, row in found.items():
        sizes = "".join(f"{row[size]['mean']:>13,.0f}" for size in SIZES)
        print(f"{name:<8}{row['accuracy']['mean']:>9.4f}{sizes}  {row['exact']}")
    return {"seeds": SEEDS, "epochs": EPOCHS, "sizes": found, "prose": _prose(found)}


def _summary(row: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the spread of every figure over the seeds; the worst of `exact`."""
    figures = {key: spread([one[key] for one in row]) for key in row[0] if key != "exact"}
    return {**figures, "exact": all(one["exact"] for one in row)}


def _prose(found: dict[str, Any]) -> str:
    mean = {name: {key: row[key]["mean"] for key in (*SIZES, "accuracy")} for name, row in found.items()}
    plain, both = mean["dense"]["safetensors"], mean["both"]
    changed = max(row["half_change"]["max"] for row in found.values())
    flipped = max(row["half_flipped"]["max"] for row in found.values())
    return (
        f"Digits ConvNet, {len(SEEDS)} seeds, validation rows: plain safetensors {plain:,.0f} bytes, encoded dense "
        f"{mean['dense']['encoded']:,.0f}, masked to {DENSITY:.0%} {mean['masked']['encoded']:,.0f} (zstd-19 of the "
        f"plain file {mean['masked']['zstd']:,.0f}), {BITS}-bit {mean['bits']['encoded']:,.0f} "
        f"({mean['bits']['zstd']:,.0f}), both {both['encoded']:,.0f} ({both['zstd']:,.0f}), "
        f"{plain / both['encoded']:.1f} times below plain, at accuracies {mean['dense']['accuracy']:.3f}, "
        f"{mean['masked']['accuracy']:.3f}, {mean['bits']['accuracy']:.3f} and {both['accuracy']:.3f}; decoded outputs "
        f"are {'equal to the bit' if all(row['exact'] for row in found.values()) else 'NOT equal'}. float16 for "
        f"norms and the last layer makes the smallest {both['half']:,.0f} and moves an output by at most "
        f"{changed:.1g}, {flipped:.0f} predictions at most."
    )


def one(plan: dict[str, Any], seed: int) -> dict[str, Any]:
    """Train one network with its techniques and measure its files."""
    import torch
    import zstandard
    from safetensors.torch import save

    from models import compact

    network, fresh, inputs, accuracy = fit(plan, seed)
    state = {k: v for k, v in compact.plain(network).state_dict().items() if not k.endswith("num_batches_tracked")}
    flat = save(state)
    encode_s, data = timed(lambda: compact.encode(network))
    decode_s, restored = timed(lambda: compact.decode(data, fresh).eval())
    half = compact.encode(network, rest="float16")
    with torch.no_grad():
        outputs = network(inputs)
        exact = torch.equal(restored(inputs), outputs)
        halved = compact.decode(half, fresh).eval()(inputs)
    return {
        "accuracy": accuracy,
        "safetensors": len(flat),
        "zstd": len(zstandard.ZstdCompressor(level=19).compress(flat)),
        "encoded": len(data),
        "half": len(half),
        "bound": compact.lower_bound(fresh, **plan),
        "encode_s": encode_s,
        "decode_s": decode_s,
        "half_change": float((halved - outputs).abs().max()),
        "half_flipped": int((halved.argmax(1) != outputs.argmax(1)).sum()),
        "exact": exact,
    }


def fit(plan: dict[str, Any], seed: int) -> tuple[Any, Any, Any, float]:
    """Return (trained network in evaluation mode, a fresh plain one, validation inputs, validation accuracy)."""
    import torch
    from lightning.pytorch import Trainer

    from models.bits import Uniform
    from models.sparsity import MagnitudePruning
    from search.compose import compose
    from search.resolve import resolve
    from search.trial import build_module, build_network, open_task, quiet

    quiet()
    config = resolve(compose(["study=digits", f"trainer.epochs={EPOCHS}", "trainer.device=cpu", f"seed={seed}"]))
    config["network"] = {"name": "convnet", "width": 16, "depth": 3}
    torch.manual_seed(seed)
    task = open_task(config)
    module, fresh = build_module(config, task), build_network(config, task)
    callbacks: list[Any] = []
    if "density" in plan:
        callbacks.append(MagnitudePruning(plan["density"]))
    if "bits" in plan:
        callbacks.append(Uniform(plan["bits"]))
    trainer = Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, task.train_dataloader(), task.val_dataloader())
    inputs = torch.cat([batch for batch, _ in task.val_dataloader()])
    return module.network.eval(), fresh, inputs, float(trainer.callback_metrics["accuracy"])


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Return (seconds, result)."""
    began = time.perf_counter()
    result = function()
    return time.perf_counter() - began, result
