"""A benchmark's record: what was measured, where, when and with what, and a line of prose."""

import json
import os
import platform
from datetime import date
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from kirigami.search.files import write_text
from kirigami.search.study.provenance import revision, versions

RECORDS = Path(__file__).parents[1] / "records"


def write(name: str, results: dict[str, Any]) -> Path:
    """Write `records/NAME-DATE.json` from a result that has a `prose` key; print where."""
    RECORDS.mkdir(exist_ok=True)
    machine = machine_name()
    path = RECORDS / f"{name}-{machine['device'].lower().replace(' ', '-')}-{date.today().isoformat()}.json"
    record = {
        "benchmark": name,
        "date": date.today().isoformat(),
        "prose": results.pop("prose"),
        "machine": machine,
        "versions": versions(),
        "revision": revision(RECORDS),
        "results": results,
    }
    write_text(path, json.dumps(record, indent=1) + "\n")
    print(record["prose"])
    print(f"record: {path.relative_to(RECORDS.parent.parent)}")
    return path


def machine_name() -> dict[str, Any]:
    """Return the device that decides the timings: the GPU's name, or `cpu` with its model and cores."""
    import torch

    if torch.cuda.is_available():
        return {"device": torch.cuda.get_device_name(0), "cores": os.cpu_count()}
    return {"device": "cpu", "model": _cpu_model(), "cores": os.cpu_count()}


def spread(values: list[float]) -> dict[str, Any]:
    """Return median, mean, deviation, smallest and largest of several runs, and the runs."""
    return {
        "median": round(median(values), 4),
        "mean": round(mean(values), 4),
        "sd": round(stdev(values), 4) if len(values) > 1 else 0.0,
        "min": round(min(values), 4),
        "max": round(max(values), 4),
        "runs": [round(value, 4) for value in values],
    }


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
