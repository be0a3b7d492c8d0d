"""A search that chooses which layers fold, on shortest paths: its winner against a net tied from the start.

`kirigami search study=paths sharing=soft sharing.fold=true space=[fold]`, on 8x8 grids, a pre-activation ResNet of 8
blocks: a few trials with pruning choose templates, pattern, distinct weights and pressure by validation F1. Of the
trials that did fold, the best is trained again as it was, and beside it a net tied from the start in the very clusters
it folded to, so of equal size, for as many epochs. One search, one pair a seed; test rows are opened at the end. What
the search costs beyond one training is printed with it.
"""

import json
import tempfile
import time
from typing import Any

from benchmarks.claims.sharing import points
from benchmarks.rig import command
from benchmarks.rig.record import spread
from benchmarks.rig.training import build, fit, open_task, parameters, score

SEEDS = range(4)
TRIALS, EPOCHS, LR = 12, 16, 0.1
TASK = {"name": "paths", "size": 8, "rows": 2000, "validation": 500, "test": 2000}
NETWORK = {"name": "resnet", "stages": 1, "blocks": 8, "width": 16, "preactivation": True}
FIXED = [
    *(f"task.{key}={TASK[key]}" for key in ("size", "test")),
    *(f"network.{key}={NETWORK[key]}" for key in ("blocks", "width")),
    f"optimizer.lr={LR}",
    f"trainer.epochs={EPOCHS}",
    "trainer.device=cpu",
    "pruner.min_resource=4",  # before that nothing is known of a fold
    f"budget.trials={TRIALS}",
]


def measure() -> dict[str, Any]:
    """Search under every seed, train each winner and its control, then score all."""
    trained, results = [], {"searches": [], "trials": TRIALS, "epochs": EPOCHS}
    for seed in SEEDS:
        result = search(seed)
        task = open_task(TASK, seed)
        winner, tied = pair(result["winner"], task, seed)
        result |= {"params": parameters(winner), "tied_params": parameters(tied)}
        results["searches"].append(result)
        trained.append((task, winner, tied))
        print(f"seed {seed}: {json.dumps(result)}", flush=True)
    scores = [[score(module, task, "test", "f1") for module in pair] for task, *pair in trained]
    results["winner"], results["tied"] = (spread(list(values)) for values in zip(*scores, strict=True))
    results["winner_less_tied"] = spread([winner - tied for winner, tied in scores])
    return {**results, "prose": prose(results)}


def search(seed: int) -> dict[str, Any]:
    """Run the study in an empty folder; return the best trial that folded, and what the search cost."""
    from kirigami.search.study.record import figure_of

    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        knobs = ["search", "study=paths", "sharing=soft", "sharing.fold=true", "space=[fold]", f"seed={seed}", *FIXED]
        command.run(folder, *knobs)
        seconds = time.perf_counter() - began
        trials = command.trials(folder, "paths")
    complete = [trial for trial in trials if trial.state.name == "COMPLETE"]
    folded = [trial for trial in complete if figure_of(trial, "weights") < trial.params["sharing.templates"]]
    best = max(folded, key=lambda trial: trial.values[0])
    return {
        "winner": {key.removeprefix("sharing."): value for key, value in best.params.items()},
        "validation": best.values[0],
        "complete": len(complete),
        "folded": len(folded),
        "search_s": round(seconds, 1),
        "trial_s": round(figure_of(best, "wall_s"), 1),
    }


def pair(knobs: dict[str, Any], task: Any, seed: int) -> tuple[Any, Any]:
    """Train the winner again, and a net tied from the start in the winner's clusters."""
    from kirigami.models.sharing import SoftSharing, TiedLayers

    technique = SoftSharing(**knobs, fold=True, seed=seed)
    winner, tied = build(NETWORK, task, seed), build(NETWORK, task, seed)
    fit(winner, task, [technique], epochs=EPOCHS, lr=LR)
    clusters = technique.recipe().get("folded", technique.clusters)
    fit(tied, task, [TiedLayers(pattern=clusters, seed=seed)], epochs=EPOCHS, lr=LR)
    return winner, tied


def prose(results: dict[str, Any]) -> str:
    """Say yes or no."""
    less, searches = results["winner_less_tied"], results["searches"]
    difference = points(less)
    beats = "undecided" if "undecided" in difference else "yes" if less["mean"] > 0 else "no, it is worse"
    chosen = "; ".join(
        f"{result['winner']['pattern']}, {result['winner']['distinct']} weights ({result['params']:,} parameters)"
        for result in searches
    )
    times = sum(result["search_s"] for result in searches) / sum(result["trial_s"] for result in searches)
    winner, tied = results["winner"]["mean"], results["tied"]["mean"]
    return (
        f"Paths 8x8, {results['trials']} trials of at most {results['epochs']} epochs, {len(searches)} seeds: the fold "
        f"that the search chose ({chosen}) scores test F1 {winner:.3f}, the net tied from the start in the same "
        f"clusters {tied:.3f}, a difference of {difference}. Does the search's fold beat the tied net of its size: "
        f"{beats}. The search took {times:.1f} times as long as its winning trial alone."
    )
