"""One trial on two devices against one: seconds of fit on the CPU, and how far metrics and weights come apart.

Two gloo processes of one thread each share every batch, as `trainer.devices=2` does, of a convolutional network on
digits with group norm, whose result must be that of one device. Runs in turn, after one that starts the process; the
seconds leave out what starts and builds. With batch norm each device sees the statistics of its own rows: its
accuracy stands beside, over the same seeds.
"""

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.rig.record import spread

REPEATS = 3
EPOCHS = 5
COMPARED = ("loss", "accuracy", "balanced_accuracy", "f1")
OVERRIDES = [
    *("study=digits_dense", "space=[]", "~space.network", "trainer.device=cpu", f"trainer.epochs={EPOCHS}"),
    *("trainer.batch_size=256", "network.width=32", "network.norm=group"),
]


def measure() -> dict[str, Any]:
    """Train on one device and on two in turn; return seconds, their ratio and the largest differences."""
    from kirigami.search.training.ranks.pool import POOL

    train(2, 0)
    seconds: dict[int, list[float]] = {1: [], 2: []}
    metrics, weights = 0.0, 0.0
    normed: dict[int, list[float]] = {1: [], 2: []}
    for seed in range(REPEATS):
        trained = {devices: train(devices, seed) for devices in seconds}
        for devices, (figures, _) in trained.items():
            seconds[devices].append(figures["seconds"])
            normed[devices].append(train(devices, seed, "network.norm=batch")[0]["accuracy"])
        (single, ours), (double, theirs) = trained[1], trained[2]
        metrics = max(metrics, *(abs(single[name] - double[name]) for name in COMPARED))
        weights = max(weights, *(float((ours[name] - theirs[name]).abs().max()) for name in ours))
        print(f"seed {seed}: 1 device {single['seconds']:.2f} s, 2 devices {double['seconds']:.2f} s")
    POOL.dismiss()
    ratio = spread([single / double for single, double in zip(seconds[1], seconds[2], strict=True)])
    prose = (
        f"trainer.devices=2 on the CPU fits {ratio['median']:.2f}x as fast as one device of one thread (from "
        f"{ratio['min']:.2f} to {ratio['max']:.2f} in {REPEATS} pairs); metrics differ by at most {metrics:.1g}, "
        f"weights by {weights:.1g} after {EPOCHS} epochs."
    )
    return {
        "one_s": spread(seconds[1]),
        "two_s": spread(seconds[2]),
        "ratio": ratio,
        "metrics_apart": metrics,
        "weights_apart": weights,
        "batch_norm_accuracy": {str(devices): spread(values) for devices, values in normed.items()},
        "prose": prose,
    }


def train(devices: int, seed: int, *overrides: str) -> tuple[dict[str, float], dict[str, Any]]:
    """Train once; return the metrics and the weights."""
    from safetensors.torch import load_file

    from kirigami.search.config.compose import compose
    from kirigami.search.config.resolve import resolve
    from kirigami.search.training import alone as trial
    from kirigami.search.training.job import Job

    config = resolve(compose([*OVERRIDES, *overrides, f"trainer.devices={devices}", f"seed={seed}"]))
    outcome = trial.train(Job(0, config, lambda fidelity, metrics: None), threads=devices)
    with tempfile.TemporaryDirectory() as folder:
        assert outcome.trained is not None
        outcome.trained.save(Path(folder) / "network.safetensors")
        return dict(outcome.metrics), load_file(Path(folder) / "network.safetensors")
