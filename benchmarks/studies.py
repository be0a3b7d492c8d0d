"""The studies that come with the project, as a newcomer runs them: three seeds each, best validation score and cost.

`digits` and `breast_cancer` are bundled; `fashion` and `defects` need KIRIGAMI_DATA.
"""

import json
import os
import subprocess
import tempfile
import time
from typing import Any

from benchmarks.overhead import COMMAND
from benchmarks.record import spread

SEEDS = (0, 1, 2)
BUNDLED = ("digits", "breast_cancer")
FROM_FILES = ("fashion", "defects")


def measure() -> dict[str, Any]:
    """Run each study under each seed and return scores, pruned share, parameters and seconds."""
    names = (*BUNDLED, *FROM_FILES) if os.environ.get("KIRIGAMI_DATA") else BUNDLED
    table = {name: summarise([run(name, seed) for seed in SEEDS]) for name in names}
    prose = "; ".join(
        f"{name}: best validation {row['objective']} {row['best']['mean']:.4f} ± {row['best']['sd']:.4f} in "
        f"{row['trials']} trials ({100 * row['pruned_share']['mean']:.0f} % pruned), {row['seconds']['median']:.0f} s"
        for name, row in table.items()
    )
    return {"studies": table, "seeds": list(SEEDS), "prose": prose + "."}


def run(name: str, seed: int) -> dict[str, Any]:
    """Run a study in an empty folder and return its results with the seconds of the whole process."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        command = [*COMMAND, "search", f"study={name}", f"seed={seed}"]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
        found = json.loads(subprocess.check_output([*COMMAND, "results", f"study={name}", "format=json"], cwd=folder))
    print(f"{name} seed {seed}: {found['objective'][0]} {found['best']['value']:.4f}, {seconds:.0f} s")
    return {**found, "seconds": seconds}


def summarise(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Bring the seeds of one study together."""
    ended = [sum(run["trials"][state] for state in ("complete", "pruned", "failed")) for run in runs]
    return {
        "objective": runs[0]["objective"][0],
        "trials": ended[0],
        "best": spread([run["best"]["value"] for run in runs]),
        "pruned_share": spread([run["trials"]["pruned"] / count for run, count in zip(runs, ended, strict=True)]),
        "parameters": [run["best"]["parameters"] for run in runs],
        "seconds": spread([run["seconds"] for run in runs]),
        "device_s": spread([run["cost"]["device_s"] for run in runs]),
    }
