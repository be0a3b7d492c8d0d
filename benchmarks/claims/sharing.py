"""Networks that share templates, against the unshared deep twin and unshared networks of equal size.

A pre-activation ResNet of one stage, its layers but those of the first block mixing 4 templates (`shared`); the same
network without sharing (`deep`); and two without it that have as many parameters as the shared one: fewer blocks
(`shallow`), and as many blocks with fewer channels (`thin`). Digits, only against the deep twin; shortest paths on 8x8
grids; and with KIRIGAMI_DATA 10,000 rows of Fashion-MNIST at 14x14 pixels, few epochs. Paired by seed; equal epochs.
The similarity of layers is printed beside that of random coefficients. Nothing is selected, so the figures are those
of the test rows, opened once all networks are trained.
"""

import os
import time
from statistics import mean
from typing import Any

from benchmarks.rig.record import spread
from benchmarks.rig.training import build, fit, open_task, parameters, score

SHARED = ["stages.0.[!0].conv*"]  # as in the paper, the first block keeps its own weights
TEMPLATES = 4
NETWORK = {"name": "resnet", "stages": 1, "preactivation": True}
SHAPES = {
    "deep": {"blocks": 8, "width": 16},
    "shared": {"blocks": 8, "width": 16},
    "shallow": {"blocks": 3, "width": 16},
    "thin": {"blocks": 8, "width": 10},
}
PARTS: dict[str, dict[str, Any]] = {
    "digits": {
        "task": {"name": "digits"},
        "metric": "accuracy",
        "epochs": 20,
        "seeds": range(3),
        "shapes": {name: {"blocks": 7, "width": 16} for name in ("deep", "shared")},
    },
    "paths": {
        "task": {"name": "paths", "size": 8, "rows": 2000, "validation": 500, "test": 2000},
        "metric": "f1",
        "epochs": 16,
        "seeds": range(5),
        "shapes": SHAPES,
    },
    "fashion": {
        "task": {"name": "images", "rows": 10000, "validation": 0.2, "size": 14},
        "metric": "accuracy",
        "epochs": 5,
        "seeds": range(3),
        "shapes": SHAPES,
    },
}


def measure() -> dict[str, Any]:
    """Run all parts and return their figures."""
    results = {name: compare(setting) for name, setting in parts().items()}
    return {**results, "prose": " ".join(prose(name, row) for name, row in results.items())}


def parts() -> dict[str, dict[str, Any]]:
    """Return the settings of what can be run here; Fashion-MNIST needs its files."""
    folder = os.environ.get("KIRIGAMI_DATA")
    if not folder:
        print("fashion is skipped: KIRIGAMI_DATA is not set")
        return {name: setting for name, setting in PARTS.items() if name != "fashion"}
    fashion = PARTS["fashion"]
    return {**PARTS, "fashion": {**fashion, "task": {**fashion["task"], "path": f"{folder}/fashion_mnist"}}}


def compare(setting: dict[str, Any], rows: str = "test") -> dict[str, Any]:
    """Train every network of a part under every seed, then score them all."""
    began = time.perf_counter()
    runs: dict[str, list[float]] = {name: [] for name in setting["shapes"]}
    results: dict[str, Any] = {"epochs": setting["epochs"], "metric": setting["metric"], "params": {}, "reports": []}
    trained = []
    for seed in setting["seeds"]:
        task = open_task(setting["task"], seed)
        for name, shape in setting["shapes"].items():
            module, technique = train(name, shape, task, seed, setting["epochs"])
            trained.append((name, task, module))
            results["params"][name] = parameters(module)
            if technique is not None:
                results["reports"].append(technique.report())
    for name, task, module in trained:
        runs[name].append(score(module, task, rows, setting["metric"]))
    results["scores"] = {name: spread(values) for name, values in runs.items()}
    results["shared_less_this"] = {
        name: spread([a - b for a, b in zip(runs["shared"], values, strict=True)])
        for name, values in runs.items()
        if name != "shared"
    }
    for name, row in results["scores"].items():
        print(f"{name:<8} {results['params'][name]:>7,} parameters  {rows} {row['mean']:.4f} {row['runs']}")
    print(f"shared layers: {similarity(results['reports'])}; {time.perf_counter() - began:.0f} s", flush=True)
    return results


def train(name: str, shape: dict[str, int], task: Any, seed: int, epochs: int) -> tuple[Any, Any]:
    """Train one network; return it with its technique, None where it shares nothing."""
    from kirigami.models.sharing import SoftSharing

    module = build({**NETWORK, **shape}, task, seed)
    technique = SoftSharing(TEMPLATES, groups=SHARED, seed=seed) if name == "shared" else None
    fit(module, task, [] if technique is None else [technique], epochs=epochs)
    return module, technique


def similarity(reports: list[dict[str, float]]) -> str:
    """Say how alike layers are, on average over the seeds, beside random ones."""
    similar, chance = (mean(report[key] for report in reports) for key in ("similar", "similar_null"))
    lsm, band = (mean(report[key] for report in reports) for key in ("lsm", "lsm_null"))
    return (
        f"{100 * similar:.1f} % of pairs >= .95 (random {100 * chance:.1f} %), mean S {lsm:.2f} (random p95 {band:.2f})"
    )


def points(row: dict[str, Any]) -> str:
    """Say a mean of paired differences in points, and whether its 95 % interval (Student's t) holds zero."""
    from scipy.stats import t

    runs = len(row["runs"])
    undecided = abs(row["mean"]) <= t.ppf(0.975, runs - 1) * row["sd"] / runs**0.5
    return f"{100 * row['mean']:+.2f} ± {100 * row['sd']:.2f} points{' (undecided)' if undecided else ''}"


def prose(name: str, results: dict[str, Any]) -> str:
    """Say what came out of a part, aims missed included."""
    scores, params, less = results["scores"], results["params"], results["shared_less_this"]
    share = params["shared"] / params["deep"]
    met = "met" if less["deep"]["mean"] >= -0.005 and share <= 0.5 else "missed"
    more = mean(report["similar"] - report["similar_null"] for report in results["reports"])
    alike = "layers are no more alike than random ones" if more <= 0.01 else "layers are more alike than random ones"
    equal = "".join(
        f"; from the unshared {other} net of {params[other]:,} ({scores[other]['mean']:.4f}) {points(less[other])}"
        for other in less
        if other != "deep"
    )
    return (
        f"{name.capitalize()} (test {results['metric']}, {len(results['reports'])} seeds, {results['epochs']} epochs): "
        f"shared {scores['shared']['mean']:.4f} with {params['shared']:,} parameters, {share:.0%} of the deep twin's, "
        f"differs from it ({scores['deep']['mean']:.4f}) by {points(less['deep'])}, so the aim of -.5 at 50 % is "
        f"{met}{equal}; {alike}: {similarity(results['reports'])}."
    )
