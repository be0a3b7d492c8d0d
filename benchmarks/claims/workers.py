"""Two local workers against one: trials per second of the digits study, runs in turn.

Every trial is trained in full and at random (`pruner=none sampler=random`), so that both do the same work.
"""

import tempfile
from typing import Any

from benchmarks.rig import command
from benchmarks.rig.record import spread

PAIRS = 3
OVERRIDES = [
    "study=digits",
    "budget.trials=24",
    "trainer.epochs=27",
    "pruner=none",
    "sampler=random",
    "~space.network.width",
]


def measure() -> dict[str, Any]:
    """Run pairs of studies and return trials per second and the ratio."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(PAIRS):
        for workers, measured in rates.items():
            measured.append(trials_per_second(workers))
            print(f"workers={workers}: {measured[-1]:.3f} trials/s")
    ratio = spread([double / single for single, double in zip(rates[1], rates[2], strict=True)])
    prose = (
        f"workers=2 runs {ratio['median']:.2f}x the trials per second of workers=1 on digits "
        f"(from {ratio['min']:.2f} to {ratio['max']:.2f} in {PAIRS} pairs)."
    )
    return {"one": spread(rates[1]), "two": spread(rates[2]), "ratio": ratio, "prose": prose}


def trials_per_second(workers: int) -> float:
    """Run one study in an empty folder; return its trials per second of work, start-up left out."""
    with tempfile.TemporaryDirectory() as folder:
        command.run(folder, "search", *OVERRIDES, f"workers={workers}")
        return float(command.as_json(folder, "results", "study=digits")["cost"]["trials_s"])
