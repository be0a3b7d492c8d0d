"""The studies on bundled data, as a newcomer runs them: three seeds each, best validation score, size and cost."""

import tempfile
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.rig import command
from benchmarks.rig.record import spread
from kirigami.search.study.ledger import Ledger

SEEDS = (0, 1, 2)
BUNDLED = ("digits", "digits_dense", "breast_cancer")


def measure() -> dict[str, Any]:
    """Run the bundled studies."""
    return measure_all(BUNDLED)


def measure_all(names: Sequence[str]) -> dict[str, Any]:
    """Run each study under each seed and return scores, pruned share, parameters, bytes and seconds."""
    table = {name: summary([run(name, seed) for seed in SEEDS]) for name in names}
    prose = "; ".join(
        f"{name}: best validation {row['objective']} {row['best']['mean']:.4f} ± {row['best']['sd']:.4f} in "
        f"{row['trials']} trials ({100 * row['pruned_share']['mean']:.0f} % pruned), "
        f"{row['bytes']['median']:,.0f} bytes, {row['seconds']['median']:.0f} s"
        for name, row in table.items()
    )
    return {"studies": table, "seeds": list(SEEDS), "prose": prose + "."}


def run(name: str, seed: int) -> dict[str, Any]:
    """Run a study in an empty folder and return its results with the seconds of the whole process."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        command.run(folder, "search", f"study={name}", f"seed={seed}")
        seconds = time.perf_counter() - began
        results = command.as_json(folder, "results", f"study={name}")
        ended = Ledger(command.trials(folder, name)).finished
    print(f"{name} seed {seed}: {results['objective'][0]} {results['best']['value']:.4f}, {seconds:.0f} s", flush=True)
    return {**results, "ended": ended, "seconds": seconds}


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Bring the seeds of one study together."""
    ended = [run["ended"] for run in runs]
    return {
        "objective": runs[0]["objective"][0],
        "trials": ended[0],
        "best": spread([run["best"]["value"] for run in runs]),
        "pruned_share": spread([run["trials"]["pruned"] / count for run, count in zip(runs, ended, strict=True)]),
        "parameters": [run["best"]["parameters"] for run in runs],
        "bytes": spread([run["best"]["bytes"] for run in runs]),
        "infeasible": [run["trials"]["over"] + run["trials"]["infeasible"] for run in runs],
        "seconds": spread([run["seconds"] for run in runs]),
        "device_s": spread([run["cost"]["device_s"] for run in runs]),
    }
