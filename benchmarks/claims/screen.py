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
from statistics import mean, median
from typing import Any

import numpy as np

from kirigami.search.comparing.screening.ranks import spearman

DRAWS, TOP, POOLS, RESAMPLES = 30, 10, (0, 1), 10_000
TASKS: dict[str, tuple[str, ...]] = {
    "digits convnet": ("study=digits_dense", "space=[optimizer,activation,convnet]", "trainer.epochs=12"),
    "digits mlp": ("study=breast_cancer", "task=digits", "objective=accuracy", "trainer.epochs=20"),
    "breast_cancer mlp": ("study=breast_cancer", "trainer.epochs=20"),
    "camel mlp": ("study=defects", "trainer.epochs=20"),
}
SCREENS = {"score": 1, "smoothness": 1, "flatness": -1}


def pool(overrides: tuple[str, ...], seed: int) -> dict[str, Any]:
    """Draw 30 configurations, train each for an epoch and in full, and return their scores, in order."""
    from kirigami.search.comparing.screening.draws import draw
    from kirigami.search.comparing.screening.smoothness import train
    from kirigami.search.config.compose import compose
    from kirigami.search.config.resolve import resolve, unlimited
    from kirigami.search.training import alone as trial
    from kirigami.search.training.job import Job, Outcome
    from kirigami.spaces import Space

    raw = compose([*overrides, "trainer.device=cpu", f"seed={seed}"])
    config = resolve(raw)
    space = Space.from_config(raw["space"], {key: part for key, part in config.items() if key != "space"})
    found: dict[str, Any] = {"epochs": config["trainer"]["epochs"], "score": [], "smoothness": [], "final": []}
    metric = config["objective"]

    def run(function: Any, given: dict[str, Any]) -> Outcome:
        outcome: Outcome = function(Job(0, unlimited(given), lambda fidelity, metrics: None))
        return outcome

    for one in draw(raw, space, DRAWS, 1, seed=seed, data=""):
        short = run(train, dict(one.arm.config)).metrics
        full = run(trial.train, {**one.arm.config, "trainer": config["trainer"]}).metrics
        found["score"].append(finite(short[metric]))
        found["smoothness"].append(float(short["smoothness"]))
        found["final"].append(finite(full[metric]) if math.isfinite(full["loss"]) else 0.0)
    return found


def finite(value: float) -> float:
    """Return a score, 0 where it is no number."""
    return float(value) if math.isfinite(value) else 0.0


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
    import torch

    from kirigami.search.training.trainer import quiet

    quiet()
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    for name, overrides in TASKS.items():
        if name.startswith("camel") and not os.environ.get("KIRIGAMI_DATA"):
            continue
        pools = [pool(overrides, seed) for seed in POOLS]
        found[name] = [{**rows, "judged": judge(rows, seed)} for rows, seed in zip(pools, POOLS, strict=True)]
        print(line(name, found[name]), flush=True)
    return {"tasks": found, "prose": prose(found)}


def line(name: str, pools: list[dict[str, Any]]) -> str:
    """Say how each screen did on one task."""
    parts = []
    for screen in ("score", "smoothness"):
        rows = [one["judged"][screen] for one in pools]
        shown = ", ".join(f"{row['rho']:+.2f} [{row['interval'][0]:+.2f}, {row['interval'][1]:+.2f}]" for row in rows)
        parts.append(f"{screen} {shown}")
    bests = ", ".join(f"{screen} {_best(pools, screen):.3f}" for screen in SCREENS)
    lot = mean(one["judged"]["by_lot"]["best"] for one in pools)
    return f"{name}: rank correlation {'; '.join(parts)}; best of ten: {bests}, by lot {lot:.3f}"


def _best(pools: list[dict[str, Any]], screen: str) -> float:
    return mean(one["judged"][screen]["best"] for one in pools)


def prose(found: dict[str, Any]) -> str:
    """Say which screen foretells anything, and which beats as much training by lot."""
    pools = [one for rows in found.values() for one in rows]
    verdicts = []
    for screen in SCREENS:
        rows = [one["judged"][screen] for one in pools]
        above = sum(row["interval"][0] > 0 for row in rows)
        below = sum(row["interval"][1] < 0 for row in rows)
        verdicts.append(
            f"{screen}: median correlation {median(row['rho'] for row in rows):+.2f}, interval above 0 in {above} and "
            f"below 0 in {below} of {len(rows)} pools, its best of ten ahead of the same training by lot with "
            f"probability {mean(row['beats_lot'] for row in rows):.2f}"
        )
    tasks = ". ".join(line(name, rows) for name, rows in found.items())
    return f"Screens after one epoch, {DRAWS} draws a pool, {len(POOLS)} pools a task. {'; '.join(verdicts)}. {tasks}."
