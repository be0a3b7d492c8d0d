"""All together: the smallest file within a point of the best dense network, both found by searches of equal cost.

Digits, and with KIRIGAMI_DATA 10,000 rows of Fashion-MNIST. Under each seed two searches spend the same wall seconds in
trials on the same machine, both by accuracy and with pruning: one of dense networks, then one of density, bits,
templates (digits) and what the dense one has. Its budget in bytes is a 20th of the dense winner's float32 weights: the
aim is a 40th, and the last cuts of an export about halve a file.
Validation rows choose: of the dense networks the most accurate; of the others the smallest file at most a point below
it. Both are exported, which opens the test rows, once. The whole compact file, graph and all, stands beside the dense
network's float32 weights, its float32 ONNX, and what ONNX Runtime's static quantisation makes of that (int8 weights by
channel, int8 activations, calibrated on training rows), bare and under zstd.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.rig import command
from benchmarks.rig.record import spread

SEEDS = (0, 1, 2)
POINT = 0.01
BUDGET = 20
CALIBRATION = 256  # training rows
AIMS = {"float32 weights": 40.0, "float32 ONNX": 50.0, "int8 ONNX, zstd": 5.0}
SEARCHES = {
    "digits": {"wall_s": 110, "dense": ["study=digits_dense"], "small": ["study=digits"]},
    "fashion": {"wall_s": 170, "dense": ["study=fashion"], "small": ["study=fashion_small"]},
}


def measure() -> dict[str, Any]:
    """Run both searches on each data set and return what they found."""
    names = list(SEARCHES) if os.environ.get("KIRIGAMI_DATA") else ["digits"]
    results = {name: summary(name, [compare(name, seed) for seed in SEEDS]) for name in names}
    return {"data": results, "seeds": list(SEEDS), "prose": " ".join(row["prose"] for row in results.values())}


def compare(name: str, seed: int) -> dict[str, Any]:
    """Search both ways under a seed, choose on validation rows, and open the test rows for the two chosen."""
    searches = SEARCHES[name]
    with tempfile.TemporaryDirectory() as folder:
        dense = search(Path(folder), "dense", searches, seed)
        best = max(dense["rows"], key=lambda row: (row["value"], -row["bytes"]))
        limit = int(4 * best["parameters"] / BUDGET)
        small = search(Path(folder), "small", searches, seed, f"budget.bytes={limit}")
        near = [row for row in small["rows"] if row["value"] >= best["value"] - POINT]
        chosen = min(near, key=lambda row: (row["bytes"], -row["value"])) if near else None
        results = {
            "dense": best | dense_files(Path(folder), best),
            "small": None if chosen is None else chosen | small_file(Path(folder), chosen, best["value"]),
            "front": front(small["rows"]),
            "device_s": {arm: result["cost"]["device_s"] for arm, result in (("dense", dense), ("small", small))},
            "trials": {arm: result["trials"] for arm, result in (("dense", dense), ("small", small))},
        }
    _print(name, seed, results)
    return results


def search(folder: Path, arm: str, searches: dict[str, Any], seed: int, *more: str) -> dict[str, Any]:
    """Run one search in a folder for its wall seconds and return its results, and all trials within its budget."""
    budget = ["budget.trials=null", f"budget.wall_s={searches['wall_s']}"]
    command.run(folder, "search", *searches[arm], *budget, f"seed={seed}", f"name={arm}", *more)
    results = command.as_json(folder, "results", f"name={arm}", "top=1000")
    return {**results, "rows": results["top"]}


def front(rows: list[dict[str, Any]]) -> list[tuple[float, float]]:
    """Return (bytes, accuracy) of the trials that no other one dominates, smallest first."""
    points: list[tuple[float, float]] = []
    for row in sorted(rows, key=lambda row: (row["bytes"], -row["value"])):
        if not points or row["value"] > points[-1][1]:
            points.append((row["bytes"], round(row["value"], 4)))
    return points


def obtained(folder: Path, arm: str, number: int) -> tuple[Any, Any, Any]:
    """Return a trial's network, its config and its task; a network that was not kept is trained again."""
    import optuna
    from rich.console import Console

    from kirigami.search.export.run import obtain
    from kirigami.search.training import building

    study = optuna.load_study(study_name=arm, storage=f"sqlite:///{folder}/studies.db")
    network, config, _ = obtain(study, study.get_trials()[number], folder / "studies" / arm, Console(quiet=True))
    return network, config, building.open_task(config)


def small_file(folder: Path, chosen: dict[str, Any], best: float) -> dict[str, Any]:
    """Export a trial of the small search; return the bytes of its files and its test accuracy.

    Its last cuts may cost what is usual, but never bring it more than a point below the dense one on validation rows.
    """
    tolerance = min(0.005, max(0.0, (chosen["value"] - best + POINT) / chosen["value"]))
    options = [f"trial={chosen['number']}", "twin=false", f"tolerance={tolerance:.6f}"]
    command.run(folder, "export", "name=small", *options)
    card = json.loads((folder / "studies" / "small" / "export" / "card.json").read_text())
    return {"files": card["bytes"], "test": card["test"]["value"], "notes": card["notes"]}


def dense_files(folder: Path, best: dict[str, Any]) -> dict[str, Any]:
    """Return the bytes of the dense network by file, and its test accuracy before and after quantisation."""
    from benchmarks.rig.training import score
    from kirigami.search.export.files import to_onnx

    network, _, task = obtained(folder, "dense", best["number"])
    accuracy = score(network, task, "test", "accuracy")
    onnx = to_onnx(network, task)
    int8, after = quantised(folder, onnx, task)
    files = {
        "float32 weights": 4 * int(best["parameters"]),
        "float32 ONNX": len(onnx),
        "int8 ONNX": len(int8),
        "int8 ONNX, zstd": packed(int8),
    }
    return {"files": files, "test": accuracy, "int8": after}


def quantised(folder: Path, onnx: bytes, task: Any) -> tuple[bytes, float]:
    """Return the int8 file that ONNX Runtime makes of a float one, and its accuracy on test rows, which are open."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    from kirigami.search.export.parity import onnx_outputs

    raw = task.load().train.inputs[:CALIBRATION].numpy()

    class Rows(CalibrationDataReader):
        def __init__(self) -> None:
            self.rows = iter([{"input": raw[i : i + 64]} for i in range(0, len(raw), 64)])

        def get_next(self) -> Any:
            return next(self.rows, None)

    whole, prepared, small = (str(folder / f"{name}.onnx") for name in ("float", "prepared", "int8"))
    Path(whole).write_bytes(onnx)
    quant_pre_process(whole, prepared, skip_symbolic_shape=True)
    quantize_static(
        prepared,
        small,
        Rows(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        weight_type=QuantType.QInt8,
        activation_type=QuantType.QInt8,
    )
    data = Path(small).read_bytes()
    assert task.test is not None
    outputs = onnx_outputs(data, task.raw_test(), optimised=True)
    return data, float((outputs.argmax(1) == task.test.targets.numpy()).mean())


def packed(data: bytes) -> int:
    """Return the bytes under zstd at level 19."""
    import zstandard

    return len(zstandard.ZstdCompressor(level=19).compress(data))


def summary(name: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Bring the seeds together."""
    hit = [run for run in runs if run["small"] is not None]
    table: dict[str, Any] = {"runs": runs, "wall_s": SEARCHES[name]["wall_s"], "within_a_point": len(hit)}
    if not hit:
        return table | {"prose": f"{name}: no network within a point of the best dense one on the validation rows."}
    sizes = [run["small"]["files"]["model.kgm"] for run in hit]
    ratios = {
        key: spread([run["dense"]["files"][key] / size for run, size in zip(hit, sizes, strict=True)]) for key in AIMS
    }
    points = spread([100 * (run["small"]["test"] - run["dense"]["test"]) for run in hit])
    table |= {"ratios": ratios, "points": points}
    parts = []
    for key, aim in AIMS.items():
        row = ratios[key]
        met = "reached" if row["min"] >= aim else "missed" if row["max"] < aim else "reached by some"
        parts.append(
            f"{row['median']:.0f}x below its {key} ({row['min']:.0f} to {row['max']:.0f}; aim {aim:.0f}: {met})"
        )
    dense, small, int8 = (
        spread([run[arm][key] for run in hit])["mean"]
        for arm, key in (("dense", "test"), ("small", "test"), ("dense", "int8"))
    )
    prose = (
        f"{name} ({len(hit)} of {len(runs)} seeds within a point on validation rows, {table['wall_s']} s a search): "
        f"whole files of {min(sizes):,} to {max(sizes):,} bytes against the best dense network, {'; '.join(parts)}; "
        f"test accuracy {small:.4f} against {dense:.4f} (int8 {int8:.4f}), "
        f"{points['mean']:+.2f} ± {points['sd']:.2f} points."
    )
    return table | {"prose": prose}


def _print(name: str, seed: int, results: dict[str, Any]) -> None:
    print(f"{name} seed {seed}: training seconds {results['device_s']}")
    for arm in ("dense", "small"):
        row = results[arm]
        if row is None:
            print(f"  {arm:<6} none within a point")
            continue
        files = "  ".join(f"{key} {size:,}" for key, size in row["files"].items())
        scores = f"validation {row['value']:.4f}  test {row['test']:.4f}"
        print(f"  {arm:<6} {scores}  {row['parameters']:,.0f} parameters  {files}")
    print("  front  " + "  ".join(f"{size:,}: {value:.4f}" for size, value in results["front"]), flush=True)
