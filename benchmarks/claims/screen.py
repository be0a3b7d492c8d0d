"""The one-epoch screen: does smoothness, or the score itself, after one epoch foretell the score after a whole run?

For each task and two pools of 30 draws of its space, every draw is trained for one epoch and, apart from that, in full,
on validation rows alone. Measured are Spearman's rank correlation of each screen with the final score (90 % interval
over resampled draws) and what a screen is worth: the best final score among the ten that it would train, against ten
drawn by lot and as many more as the epochs of the screen would have paid for. A run that diverges has score 0.

Screens: the score after one epoch; Kz/|W| (largest first, as the published scripts rank networks); the same, smallest
first, as the formula reads. Camel needs KIRIGAMI_DATA, the folder that holds `promise`; without it it is left out.
"""

import math
import os
import tempfile
from collections.abc import Sequence
from statistics import mean, median
from typing import Any

import numpy as np

from benchmarks.rig import command
from kirigami.search.comparing.screening.ranks import spearman

DRAWS, TOP, POOLS, RESAMPLES = 30, 10, (0, 1), 10_000
TASKS: dict[str, tuple[tuple[str, ...], int]] = {
    "digits convnet": (("study=digits_dense", "space=[optimizer,activation,convnet]"), 12),
    "digits mlp": (("study=breast_cancer", "task=digits", "objective=accuracy"), 20),
    "breast_cancer mlp": (("study=breast_cancer",), 20),
    "camel mlp": (("study=defects",), 20),
}
SCREENS = {"score": 1, "smoothness": 1, "flatness": -1}


def pool(overrides: Sequence[str], epochs: int, seed: int) -> dict[str, Any]:
    """Draw 30 configurations, train each for an epoch and, as a search does, in full; return their scores, in order."""
    study = (*overrides, f"trainer.epochs={epochs}", f"budget.trials={DRAWS}", "pruner=none", "trainer.device=cpu")
    knobs = (*study, "name=pool", f"seed={seed}")
    screen = ("screen", *knobs, f"draws={DRAWS}", f"top={DRAWS}")
    with tempfile.TemporaryDirectory() as folder:
        command.run(folder, *screen)
        command.run(folder, "search", *knobs)
        draws = sorted(command.as_json(folder, *screen)["draws"], key=lambda row: row["draw"])
    return {
        "epochs": epochs,
        "score": [row["score"] or 0.0 for row in draws],
        "smoothness": [math.nan if row["smoothness"] is None else row["smoothness"] for row in draws],
        "final": [row["final"] or 0.0 for row in draws],
    }


def judge(rows: dict[str, Any], seed: int) -> dict[str, Any]:
    """Return each screen's correlation with the final score, and what it trains against as much training by lot."""
    finals = np.array(rows["final"])
    bought = TOP + round(DRAWS / rows["epochs"])
    generator = np.random.default_rng(seed)
    by_lot = np.array([generator.permutation(len(finals))[:bought] for _ in range(RESAMPLES)])
    best_by_lot = finals[by_lot].max(1)
    judged: dict[str, Any] = {"by_lot": {"trained": bought, "best": float(best_by_lot.mean())}, "of_all": finals.max()}
    for name, sign in SCREENS.items():
        values = sign * np.array(rows["score" if name == "score" else "smoothness"])
        order = np.argsort(-np.where(np.isfinite(values), values, -np.inf), kind="stable")[:TOP]
        best = finals[order].max()
        correlation = spearman(values.tolist(), finals.tolist())
        judged[name] = {
            "rho": round(correlation.rho, 3),
            "interval": [round(correlation.low, 3), round(correlation.high, 3)],
            "n": correlation.n,
            "best": float(best),
            "mean": float(finals[order].mean()),
            "beats_lot": float(((best_by_lot < best) + 0.5 * (best_by_lot == best)).mean()),
        }
    judged["mean_of_all"] = float(finals.mean())
    return judged


def measure() -> dict[str, Any]:
    """Return correlations and the worth of each screen, task by task and pool by pool."""
    results: dict[str, Any] = {}
    for name, (overrides, epochs) in TASKS.items():
        if name.startswith("camel") and not os.environ.get("KIRIGAMI_DATA"):
            continue
        pools = [pool(overrides, epochs, seed) for seed in POOLS]
        results[name] = [{**rows, "judged": judge(rows, seed)} for rows, seed in zip(pools, POOLS, strict=True)]
        print(line(name, results[name]), flush=True)
    return {"tasks": results, "prose": prose(results)}


def line(name: str, pools: list[dict[str, Any]]) -> str:
    """Say how each screen did on one task."""
    parts = []
    for screen in ("score", "smoothness"):
        rows = [pool["judged"][screen] for pool in pools]
        shown = ", ".join(f"{row['rho']:+.2f} [{row['interval'][0]:+.2f}, {row['interval'][1]:+.2f}]" for row in rows)
        parts.append(f"{screen} {shown}")
    bests = ", ".join(f"{screen} {_best(pools, screen):.3f}" for screen in SCREENS)
    lot = mean(pool["judged"]["by_lot"]["best"] for pool in pools)
    return f"{name}: rank correlation {'; '.join(parts)}; best of ten: {bests}, by lot {lot:.3f}"


def _best(pools: list[dict[str, Any]], screen: str) -> float:
    return mean(pool["judged"][screen]["best"] for pool in pools)


def prose(results: dict[str, Any]) -> str:
    """Say which screen foretells anything, and which beats as much training by lot."""
    pools = [pool for rows in results.values() for pool in rows]
    verdicts = []
    for screen in SCREENS:
        rows = [pool["judged"][screen] for pool in pools]
        above = sum(row["interval"][0] > 0 for row in rows)
        below = sum(row["interval"][1] < 0 for row in rows)
        verdicts.append(
            f"{screen}: median correlation {median(row['rho'] for row in rows):+.2f}, interval above 0 in {above} and "
            f"below 0 in {below} of {len(rows)} pools, its best of ten ahead of the same training by lot with "
            f"probability {mean(row['beats_lot'] for row in rows):.2f}"
        )
    tasks = ". ".join(line(name, rows) for name, rows in results.items())
    return f"Screens after one epoch, {DRAWS} draws a pool, {len(POOLS)} pools a task. {'; '.join(verdicts)}. {tasks}."
