"""The race of stores: trials a second, and what one more trial costs in a study of 100, 1,000 and 10,000.

1, 4 and 16 processes on one SQLite file or one Postgres run our loop and, beside it, plain Optuna's `study.optimize`,
over the same eight dimensions, sampler (random, TPE) and objective, which does no work: all seconds are the loop's and
the store's. Then a real study with four workers on Postgres: the share of their seconds outside `Trainer.fit`.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import product
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import numpy as np
import optuna
import sqlalchemy
from sqlalchemy.orm import Session

from benchmarks.rig import command, light
from benchmarks.rig.database import Database
from kirigami.search.storage import Settings, open_storage
from kirigami.search.study.record import Origin, Result, Worker, result_of

SIZES, WORKERS = (100, 1_000, 10_000), (1, 4, 16)
MODES, SAMPLERS = ("ours", "optuna"), ("random", "tpe")
SECONDS = 3.0
REAL = ["study=breast_cancer", "workers=4", "budget.trials=60", "trainer.epochs=40", "sampler=random", "pruner=none"]
CHILDREN = ("trial_params", "trial_values", "trial_user_attributes", "trial_system_attributes")
CHILDREN += ("trial_intermediate_values", "trial_heartbeats")


def measure() -> dict[str, Any]:
    """Run all cells, then the real study."""
    folder = Path(tempfile.mkdtemp(prefix="kirigami-"))
    database = Database(folder)
    team = [_racer() for _ in range(max(WORKERS))]
    try:
        rows = []
        for store, url in (("sqlite", f"sqlite:///{folder}/race.db"), ("postgres", database.url)):
            rows += race(store, url, team)
        real = real_study(database, folder)
    finally:
        for racer in team:
            racer.kill()
            racer.wait()
        database.stop(signal.SIGQUIT)
        shutil.rmtree(folder, ignore_errors=True)
    growth = grown(rows)
    for key, value in growth.items():
        print(f"{key:<36} {value['p50']:.2f}x (p95 {value['p95']:.2f}x)")
    return {
        "cells": rows,
        "growth": growth,
        "real": real,
        "seconds_a_cell": SECONDS,
        "prose": prose(rows, growth, real),
    }


def prose(rows: list[dict[str, Any]], growth: dict[str, Any], real: dict[str, Any]) -> str:
    """Say in a few sentences what came out."""

    def worst(mode: str) -> str:
        slowdowns = {key: value["p50"] for key, value in growth.items() if key.startswith(f"{mode} ")}
        where = max(slowdowns, key=lambda key: slowdowns[key])
        return f"{slowdowns[where]:.2f}x at most ({where.removeprefix(mode).strip()})"

    def at(**wanted: Any) -> str:
        (row,) = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
        return f"{1000 * row['p50']:.0f} ms"

    parts = []
    for store, sampler in product(("sqlite", "postgres"), SAMPLERS):
        cell = {"store": store, "sampler": sampler, "workers": 1}
        costs = [" to ".join(at(mode=mode, size=size, **cell) for size in (SIZES[0], SIZES[-1])) for mode in MODES]
        parts.append(f"{sampler} on {store} {costs[0]} (plain Optuna {costs[1]})")
    return (
        f"The cost of one more trial grows from {SIZES[0]:,} to {SIZES[-1]:,} trials in the study by {worst('ours')}; "
        f"plain Optuna's by {worst('optuna')}. Median with one worker: " + ", ".join(parts) + ". "
        f"Processes share {os.cpu_count()} cores, so 16 of them wait for the processor before they wait for the store. "
        f"Four workers of a real study on Postgres, trials of {real['fit_median_s']:.1f} s: "
        f"{100 * real['outside']:.1f} % of their seconds lie outside Trainer.fit, {100 * real['between']:.1f} % "
        "between trials (the store and the loop)."
    )


def race(store: str, url: str, team: list[Any]) -> Iterator[dict[str, Any]]:
    """Run all cells of one store; print a row each."""
    storage = open_storage(Settings.read({"url": url, "heartbeat_s": 10, "grace_s": 60}))
    engine = storage.engine
    for size in SIZES:
        name = f"race-{size}"
        light.loop_of(
            {"url": url, "name": name, "trials": 0, "heartbeat_s": 10, "grace_s": 60}
        ).storage.engine.dispose()
        last = fill(engine, name, size)
        for workers, sampler, mode in product(WORKERS, SAMPLERS, MODES):
            cell = {"mode": mode, "url": url, "name": name, "sampler": sampler, "seconds": SECONDS}
            row = {"store": store, "size": size, "workers": workers, "sampler": sampler, "mode": mode}
            row |= run_cell(cell, team[:workers])
            empty(engine, last)
            took = "   ".join(f"{name} {1000 * row[name]:>7.1f} ms" for name in ("p50", "p95"))
            print(
                f"{store:<9} {size:>6} trials  {workers:>2} workers  {sampler:<7} {mode:<7} "
                f"{row['trials_s']:>7.1f} trials/s   {took}   {row['errors']} errors",
                flush=True,
            )
            yield row
        empty(engine, 0)
    engine.dispose()


def run_cell(cell: dict[str, Any], team: list[Any]) -> dict[str, Any]:
    """Let the processes race for some seconds, all at once, after a first trial each."""
    for seed, racer in enumerate(team):
        _write(racer, json.dumps({**cell, "seed": seed}))
    for racer in team:
        first_line = racer.stdout.readline()
        assert first_line == "ready\n", first_line
    for racer in team:
        _write(racer, "go")
    answers = [json.loads(racer.stdout.readline()) for racer in team]
    gaps = [gap for answer in answers for gap in answer["gaps"]]
    return {
        "trials": len(gaps),
        "trials_s": round(sum(len(answer["gaps"]) / sum(answer["gaps"]) for answer in answers if answer["gaps"]), 2),
        "p50": round(median(gaps), 5),
        "p95": round(quantiles(gaps, n=20)[-1], 5) if len(gaps) > 1 else gaps[0],
        "errors": sum(answer["errors"] for answer in answers),
    }


def fill(engine: sqlalchemy.Engine, name: str, size: int) -> int:
    """Write finished trials as our loop leaves them, in bulk; return the last one's id."""
    tables = sqlalchemy.MetaData()
    tables.reflect(engine)
    table = tables.tables
    with Session(engine) as session:
        study = session.execute(
            sqlalchemy.select(table["studies"].c.study_id).where(table["studies"].c.study_name == name)
        ).scalar_one()
        for child, rows in _finished_trials(study, size).items():
            session.execute(table[child].insert(), rows)
        if engine.dialect.name == "postgresql":
            session.execute(sqlalchemy.text("SELECT setval('trials_trial_id_seq', :last)"), {"last": size})
        session.commit()
        if engine.dialect.name == "postgresql":
            session.execute(sqlalchemy.text("ANALYZE"))
            session.commit()
    return size


def _finished_trials(study: int, size: int) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of finished trials by the table they belong to, the trials themselves first."""
    dice = np.random.default_rng(0)
    kind = optuna.distributions.distribution_to_json(optuna.distributions.FloatDistribution(0.0, 1.0))
    noon = datetime.now() - timedelta(days=1)
    draws, ids = dice.random((size, 8)), range(1, size + 1)
    heights = [float(height) for height in ((draws - 0.3) ** 2).sum(axis=1)]
    return {
        "trials": [
            {
                "trial_id": trial_id,
                "number": trial_id - 1,
                "study_id": study,
                "state": "COMPLETE",
                "datetime_start": noon + timedelta(seconds=trial_id),
                "datetime_complete": noon + timedelta(seconds=trial_id + 0.9),
            }
            for trial_id in ids
        ],
        "trial_params": [
            {
                "trial_id": trial_id,
                "param_name": f"x{place}",
                "param_value": float(value),
                "distribution_json": kind,
            }
            for trial_id, row in zip(ids, draws, strict=True)
            for place, value in enumerate(row)
        ],
        "trial_values": [
            {"trial_id": trial_id, "objective": 0, "value": height, "value_type": "FINITE"}
            for trial_id, height in zip(ids, heights, strict=True)
        ],
        "trial_user_attributes": [
            {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
            for trial_id, height in zip(ids, heights, strict=True)
            for key, value in _notes(height).items()
        ],
    }


def _notes(height: float) -> dict[str, Any]:
    """Return the attributes that our loop writes with a trial."""
    metrics = {"height": height}
    facts = (
        Worker("m" * 60, 12345, "123456"),
        Origin({f"x{place}": 0.5 for place in range(8)}, 0, {}, "0" * 40),
        Result("complete", None, metrics, ((1, metrics),), wall_s=0.9, device_s=0.9),
    )
    return {name: value for fact in facts for name, value in fact.to_attrs().items()}


def empty(engine: sqlalchemy.Engine, last: int) -> None:
    """Remove the trials that came after the filled ones."""
    with engine.begin() as connection:
        for child in CHILDREN:
            connection.execute(sqlalchemy.text(f"DELETE FROM {child} WHERE trial_id > :last"), {"last": last})
        connection.execute(sqlalchemy.text("DELETE FROM trials WHERE trial_id > :last"), {"last": last})


def grown(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return by how much a trial costs more in the longest study than in the shortest."""
    by_cell = {tuple(row[key] for key in ("mode", "store", "sampler", "workers", "size")): row for row in rows}
    growth = {}
    for mode, store, sampler, workers in sorted({key[:-1] for key in by_cell}):
        short, long = (by_cell[mode, store, sampler, workers, size] for size in (SIZES[0], SIZES[-1]))
        ratios = {name: round(long[name] / short[name], 3) for name in ("p50", "p95")}
        growth[f"{mode} {store} {sampler} workers={workers}"] = ratios
    return growth


def real_study(database: Database, folder: Path) -> dict[str, Any]:
    """Run a study with four workers; return the share of their seconds outside `fit`."""
    url = database.url
    began = time.perf_counter()
    command.run(folder, "search", *REAL, f"storage.url={url}")
    process = time.perf_counter() - began
    store = optuna.storages.RDBStorage(url.replace("postgresql://", "postgresql+psycopg://", 1))
    trials = optuna.load_study(study_name="breast_cancer", storage=store).get_trials(deepcopy=False)
    store.engine.dispose()
    by_worker: dict[int, list[Any]] = {}
    for trial in trials:
        worker = Worker.from_attrs(trial.user_attrs)
        if worker is not None and worker.pid is not None and result_of(trial).fit_s is not None:
            by_worker.setdefault(worker.pid, []).append(trial)
    seconds = fit = runner = 0.0
    fits = []
    for mine in by_worker.values():
        # The first trial of a process warms up libraries: it is left out, and the clock starts where it ended.
        mine.sort(key=lambda trial: trial.datetime_start)
        seconds += (mine[-1].datetime_complete - mine[0].datetime_complete).total_seconds()
        fits += [result_of(trial).fit_s or 0.0 for trial in mine[1:]]
        runner += sum(result_of(trial).wall_s or 0.0 for trial in mine[1:])
    fit = sum(fits)
    row = {
        "trials": len(trials),
        "workers": len(by_worker),
        "workers_s": round(seconds, 2),
        "fit_s": round(fit, 2),
        "fit_median_s": round(median(fits), 3),
        "outside": round(1 - fit / seconds, 4),
        "between": round(1 - runner / seconds, 4),
        "process_s": round(process, 1),
    }
    print(row)
    return row


def _racer() -> Any:
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.rig.racer"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def _write(racer: Any, line: str) -> None:
    racer.stdin.write(line + "\n")
    racer.stdin.flush()
