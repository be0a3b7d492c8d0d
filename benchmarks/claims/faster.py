"""All ways to learn faster in one space, against the same search without them, at equal training seconds.

Digits, and with KIRIGAMI_DATA Camel's defects. Under each seed both searches run at the same time, each on a core of
its own (they swap cores from seed to seed), for the same wall seconds in trials, with the same sampler, pruner and
ranges of what both have: rates of SGD and the network's size. The full space adds optimisers, schedules, share of the
data, activations, losses, regimes, closed-form starts and, for the defects, ways to treat the rare class.

Validation rows choose each search's winner; its kept network is then judged once on the test rows. A search that
trained no trial in full scores what the best constant answer scores. Verdicts are those of `kirigami compare`: the
margin is .02 in the metric's unit.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.rig import command
from benchmarks.rig.record import spread

SEEDS = range(10)
STUDIES = {
    "digits": {"study": "digits_fast", "metric": "accuracy", "plain": "[optimizer,convnet]", "wall_s": 90},
    "defects": {"study": "defects_fast", "metric": "balanced_accuracy", "plain": "[optimizer,mlp]", "wall_s": 60},
}
PLAIN = ("~space.init", "~space.regime", "~space.schedule", "~space.optimizer.name", "space.optimizer.lr.high=1.0")
SHARES = (0.25, 0.5, 1.0)  # of the seconds, at which the best so far is read


def measure() -> dict[str, Any]:
    """Run both searches of each study under all seeds."""
    names = list(STUDIES) if os.environ.get("KIRIGAMI_DATA") else ["digits"]
    results = {name: summary(name, [pair(name, seed) for seed in SEEDS]) for name in names}
    return {"studies": results, "seeds": list(SEEDS), "prose": " ".join(row["prose"] for row in results.values())}


def pair(name: str, seed: int) -> dict[str, Any]:
    """Run the search of the full space and that of the plain one side by side; return what each came to."""
    study = STUDIES[name]
    with tempfile.TemporaryDirectory() as folder:
        cores = sorted(os.sched_getaffinity(0))[:2]
        arms: dict[str, list[str]] = {"full": [], "plain": [f"space={study['plain']}", *PLAIN]}
        processes = {}
        for place, (arm, more) in enumerate(arms.items()):
            core = cores[(place + seed) % len(cores)]
            processes[arm] = start(Path(folder) / arm, core, study, seed, more)
        for arm, process in processes.items():
            if process.wait() not in (0, 1):
                raise RuntimeError(f"{name}, {arm}: the search ended with {process.returncode}")
        outcomes = {arm: outcome(Path(folder) / arm, study["metric"], study["wall_s"]) for arm in arms}
    line = "  ".join(
        f"{arm} validation {row['validation']:.4f} test {row['test']:.4f} ({row['trials']} trials)"
        for arm, row in outcomes.items()
    )
    print(f"{name} seed {seed}: {line}", flush=True)
    return outcomes


def start(folder: Path, core: int, study: dict[str, Any], seed: int, more: list[str]) -> subprocess.Popen[bytes]:
    """Begin a search in a folder of its own, on one core."""
    folder.mkdir()
    pin = ["taskset", "-c", str(core)] if shutil.which("taskset") else []
    budget = ["budget.trials=null", f"budget.wall_s={study['wall_s']}"]
    knobs = [f"study={study['study']}", "name=one", *budget, f"seed={seed}", *more]
    arguments = [*pin, *command.COMMAND, "search", *knobs]
    return subprocess.Popen(arguments, cwd=folder, env=command.ENV, stdout=subprocess.DEVNULL)


def outcome(folder: Path, metric: str, wall_s: float) -> dict[str, Any]:
    """Return the winner's scores, how the best so far rose with the seconds, and what was tried."""
    import optuna

    from benchmarks.rig.training import score
    from kirigami.search.study.facts import facts_of
    from kirigami.search.study.ledger import Ledger
    from kirigami.search.study.ranking import best_trial
    from kirigami.search.training import building

    results = command.as_json(folder, "results", "name=one")
    study = optuna.load_study(study_name="one", storage=f"sqlite:///{folder}/studies.db")
    trials = study.get_trials(deepcopy=False)
    best = best_trial(study)
    if best is None:  # no trial was trained in full within the seconds: what is left is to guess
        chance = max(baseline[metric] for baseline in (facts_of(study).baselines or {}).values())
        scores = {"validation": chance, "test": chance}
    else:
        network, config = building.load(
            folder / "studies" / "one" / "networks" / f"trial-{best.number:05d}.safetensors"
        )
        scores = {"validation": best.values[0], "test": score(network, building.open_task(config), "test", metric)}
    ledger = Ledger(trials)
    return {
        **scores,
        "so_far": [best_until(trials, share * wall_s) for share in SHARES],
        "trials": ledger.finished,
        "complete": ledger.count("complete", "over"),
        "train_s": round(ledger.device_seconds(), 2),
        "winner": None if best is None else best.params,
        "cost": results["cost"],
    }


def best_until(trials: list[Any], seconds: float) -> float | None:
    """Return the best validation score of trials complete within so many seconds of the search's first one."""
    began = min(trial.datetime_start for trial in trials if trial.datetime_start is not None)
    scores = [
        trial.values[0]
        for trial in trials
        if trial.values
        and trial.state.name == "COMPLETE"
        and (trial.datetime_complete - began).total_seconds() <= seconds
    ]
    return max(scores, default=None)


def summary(name: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Bring the seeds together: verdicts on test and validation rows, and how often each value won."""
    from kirigami.search.comparing.statistics import compare

    verdicts = {}
    for rows in ("test", "validation"):
        scores = {arm: [run[arm][rows] for run in runs] for arm in ("full", "plain")}
        verdict = compare(scores["plain"], {"full": scores["full"]}, direction="maximize")["full"]
        verdicts[rows] = {
            "full": spread(scores["full"]),
            "plain": spread(scores["plain"]),
            "difference": round(verdict.difference, 4),
            "interval": [round(verdict.low, 4), round(verdict.high, 4)],
            "p": verdict.p,
            "delta": verdict.delta,
            "verdict": verdict.verdict,
        }
    trials = {arm: spread([float(run[arm]["trials"]) for run in runs]) for arm in ("full", "plain")}
    seconds = {arm: spread([run[arm]["train_s"] for run in runs]) for arm in ("full", "plain")}
    lines = "; ".join(
        f"{rows} rows {row['full']['mean']:.4f} ± {row['full']['sd']:.4f} against {row['plain']['mean']:.4f} ± "
        f"{row['plain']['sd']:.4f}, median difference {row['difference']:+.4f} [{row['interval'][0]:+.4f}, "
        f"{row['interval'][1]:+.4f}], p {row['p']:.3f}: {row['verdict']}"
        for rows, row in verdicts.items()
    )
    prose = (
        f"{name} ({STUDIES[name]['metric']}, {len(runs)} paired seeds, {STUDIES[name]['wall_s']} s each): the full "
        f"space against the plain one on {lines}; median trials {trials['full']['median']:.0f} against "
        f"{trials['plain']['median']:.0f}, seconds in fit {seconds['full']['median']:.0f} against "
        f"{seconds['plain']['median']:.0f}."
    )
    return {"runs": runs, "verdicts": verdicts, "trials": trials, "train_s": seconds, "prose": prose}
