"""What a small study costs beside its training: the start, a row predicted, trials of .4 s; in the CPU's seconds too.

(a) Seconds from the command to the begin of the first trial, and of the whole search of that one trial of one epoch.
(b) Seconds of the prediction of one row by both files of an export.
(c) A study on a small table whose trials fit for .4 s each: the share of the trials' seconds, and of the process', that
    lie outside `Trainer.fit`.
Wall seconds depend on who else is at work, and the load stands beside them; those of the CPU depend little on it.
"""

import json
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.rig import command
from benchmarks.rig.record import spread
from kirigami.search.study.record import result_of

REPEATS = 3
TRIALS = 20
TABLE = ("study=breast_cancer", "rivals=false")
ONE_TRIAL = ("search", *TABLE, "trainer.epochs=1", "budget.trials=1")
SMALL = ("search", *TABLE, "trainer.epochs=45", "pruner=none", f"budget.trials={TRIALS}")
EXPORT = Path("studies/breast_cancer/export")
Seconds = tuple[float, float]


def measure() -> dict[str, Any]:
    """Run the three parts and return their figures."""
    load = os.getloadavg()[0]
    begins, searches = zip(*(one_trial() for _ in range(REPEATS)), strict=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        study = outside_fit(folder)
        command.run(folder, "export", "study=breast_cancer", "twin=false")
        write_row(folder / "row.csv")
        predictions = {
            file: spreads([seconds_of(folder, "predict", str(EXPORT / file), "row.csv") for _ in range(REPEATS)])
            for file in ("model.onnx", "model.kgm")
        }
    figures = {
        "load": [round(load, 1), round(os.getloadavg()[0], 1)],
        "first_trial_s": spread(list(begins)),
        "search_of_one_trial": spreads(list(searches)),
        "predict": predictions,
        "study": study,
    }
    return {**figures, "prose": prose(figures)}


def prose(figures: dict[str, Any]) -> str:
    """Return the figures as a line."""
    whole, study, (before, after) = figures["search_of_one_trial"], figures["study"], figures["load"]
    rows = ", ".join(
        f"{row['cpu_s']['median']:.2f} s of CPU by {name} ({row['wall_s']['median']:.2f} s)"
        for name, row in figures["predict"].items()
    )
    return (
        f"A search of one trial of one epoch takes {whole['cpu_s']['median']:.1f} s of CPU, at a load of {before:.0f} "
        f"to {after:.0f} on {os.cpu_count()} cores {whole['wall_s']['median']:.1f} s, of them "
        f"{figures['first_trial_s']['median']:.1f} s before the trial begins. A row is predicted in {rows}. Of "
        f"{study['trials']} trials that fit for {study['fit_s'] / study['trials']:.2f} s, "
        f"{100 * study['outside_of_trials']:.1f} % of their seconds and {100 * study['outside_of_process']:.1f} % "
        "of the process' lie outside Trainer.fit."
    )


def one_trial() -> tuple[float, Seconds]:
    """Search for one trial in a folder of its own; return the seconds until it begins, and those of the search."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.time()
        seconds = seconds_of(Path(folder), *ONE_TRIAL)
        begins = command.trials(folder, "breast_cancer")[0].datetime_start.timestamp() - began
    print(f"first trial after {begins:.2f} s; {seconds[0]:.2f} s and {seconds[1]:.2f} s of CPU in all")
    return begins, seconds


def outside_fit(folder: Path) -> dict[str, Any]:
    """Run the study of short trials and compare the seconds in `fit` with all the others."""
    wall, cpu = seconds_of(folder, *SMALL)
    results = command.as_json(folder, "results", "study=breast_cancer")
    fit = sum(result_of(trial).fit_s or 0.0 for trial in command.trials(folder, "breast_cancer"))
    trials = results["cost"]["wall_s"]
    print(f"{TRIALS} trials: fit {fit:.1f} s of {trials:.1f} s in trials, {wall:.1f} s in all")
    return {
        "trials": TRIALS,
        "fit_s": round(fit, 2),
        "trials_s": round(trials, 2),
        "process_s": round(wall, 2),
        "process_cpu_s": round(cpu, 2),
        "outside_of_trials": round(1 - fit / trials, 4),
        "outside_of_process": round(1 - fit / wall, 4),
    }


def write_row(file: Path) -> None:
    """Write a row of the table as an exported network takes it."""
    from kirigami import tasks

    task = tasks.build({"name": "breast_cancer"}, seed=0)
    task.setup("test")
    numbers = task.raw_test()[0].tolist()
    columns = ",".join(f"measure {place}" for place in range(len(numbers)))
    file.write_text(f"{columns}\n{json.dumps(numbers)[1:-1]}\n")


def spreads(rows: list[Seconds]) -> dict[str, Any]:
    """Return the spreads of wall seconds and of CPU seconds."""
    wall, cpu = zip(*rows, strict=True)
    return {"wall_s": spread(list(wall)), "cpu_s": spread(list(cpu))}


def seconds_of(folder: Path, *arguments: str) -> Seconds:
    """Return the wall seconds of a verb as a process, and the CPU seconds of it and of those that it starts."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command.run(folder, *arguments)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
