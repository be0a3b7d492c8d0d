"""Whole files of exported networks beside dense ones as float ONNX, int8 ONNX, and int8 ONNX under zstd.

Digits, and with KIRIGAMI_DATA 10,000 rows of Fashion-MNIST. Under each seed the study with masks, bits and a budget in
bytes, and its dense control, are searched as they are bundled; the best trial of each by validation rows is exported.
The dense network is also quantised by ONNX Runtime: static, int8 weights by channel and activations, calibrated on
training rows. Test rows are opened by the exports alone.
"""

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.overhead import COMMAND
from benchmarks.record import spread

SEEDS = (0, 1, 2)
STUDIES = {"digits": ("digits", "digits_dense"), "fashion": ("fashion_small", "fashion")}
QUIET: dict[str, Any] = {"stdout": subprocess.DEVNULL}
CALIBRATION = 256  # training rows
AIMS = {"float32 ONNX": 50.0, "int8 ONNX, zstd": 5.0}


def measure() -> dict[str, Any]:
    """Search, export, quantise and compare."""
    names = list(STUDIES) if os.environ.get("KIRIGAMI_DATA") else ["digits"]
    found = {name: summarise(name, [compare(name, seed) for seed in SEEDS]) for name in names}
    return {"data": found, "seeds": list(SEEDS), "prose": " ".join(row["prose"] for row in found.values())}


def compare(name: str, seed: int) -> dict[str, Any]:
    """Export the winner of a study, write that of its dense control; return bytes and test accuracies by file."""
    small, dense = STUDIES[name]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for study in (small, dense):
            subprocess.run([*COMMAND, "search", f"study={study}", f"seed={seed}"], cwd=folder, check=True, **QUIET)
        subprocess.run([*COMMAND, "export", f"study={small}", "twin=false"], cwd=folder, check=True, **QUIET)
        card = json.loads((folder / "studies" / small / "export" / "card.json").read_text())
        onnx, task, accuracy = written(folder, dense)
        int8, after = quantised(folder, onnx, task)
        found = {
            "model.kgm": [card["bytes"]["model.kgm"], card["test"]["value"]],
            "model.onnx": [card["bytes"]["model.onnx"], card["test"]["value"]],
            "float32 ONNX": [len(onnx), accuracy],
            "int8 ONNX": [len(int8), after],
            "int8 ONNX, zstd": [packed(int8), after],
        }
    print(f"{name} seed {seed}: " + "  ".join(f"{key} {size:,} B {score:.4f}" for key, (size, score) in found.items()))
    return found


def written(folder: Path, name: str) -> tuple[bytes, Any, float]:
    """Return the best network of a study as a float32 ONNX, its task, and its accuracy on the test rows."""
    import optuna
    from rich.console import Console

    from benchmarks.training import score
    from search import trial
    from search.export.run import obtain, to_onnx
    from search.study import best_trial

    study = optuna.load_study(study_name=name, storage=f"sqlite:///{folder}/studies.db")
    best = best_trial(study)
    assert best is not None
    network, config, _ = obtain(study, best, folder / "studies" / name, Console(quiet=True))
    task = trial.open_task({**config, "trainer": {**config["trainer"], "device": "cpu"}})
    return to_onnx(network, task), task, score(network, task, "test", "accuracy")


def quantised(folder: Path, onnx: bytes, task: Any) -> tuple[bytes, float]:
    """Return the int8 file that ONNX Runtime makes of a float one, and its accuracy on test rows, which are open."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    from search.export.parity import onnx_outputs

    raw = task.load().train.inputs[:CALIBRATION].numpy()

    class Rows(CalibrationDataReader):
        def __init__(self) -> None:
            self.rows = iter([{"input": raw[i : i + 64]} for i in range(0, len(raw), 64)])

        def get_next(self) -> Any:
            return next(self.rows, None)

    whole, prepared, made = (str(folder / f"{name}.onnx") for name in ("float", "prepared", "int8"))
    Path(whole).write_bytes(onnx)
    quant_pre_process(whole, prepared, skip_symbolic_shape=True)
    quantize_static(
        prepared,
        made,
        Rows(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        weight_type=QuantType.QInt8,
        activation_type=QuantType.QInt8,
    )
    data = Path(made).read_bytes()
    assert task.test is not None
    outputs = onnx_outputs(data, task.raw_test(), optimised=True)
    return data, float((outputs.argmax(1) == task.test.targets.numpy()).mean())


def packed(data: bytes) -> int:
    """Return the bytes under zstd at level 19."""
    import zstandard

    return len(zstandard.ZstdCompressor(level=19).compress(data))


def summarise(name: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Bring the seeds together."""
    ratios = {key: spread([run[key][0] / run["model.kgm"][0] for run in runs]) for key in (*AIMS, "int8 ONNX")}
    points = spread([100 * (run["model.kgm"][1] - run["float32 ONNX"][1]) for run in runs])
    said = []
    for key, aim in AIMS.items():
        median = ratios[key]["median"]
        met = "reached" if ratios[key]["min"] >= aim else "missed" if ratios[key]["max"] < aim else "reached by some"
        said.append(
            f"{median:.0f}x below {key} ({ratios[key]['min']:.0f} to {ratios[key]['max']:.0f}; aim {aim:.0f}: {met})"
        )
    sizes = spread([run["model.kgm"][0] for run in runs])
    prose = (
        f"{name}, {len(runs)} seeds: model.kgm of {sizes['min']:,.0f} to {sizes['max']:,.0f} bytes, {', '.join(said)}, "
        f"at {points['mean']:+.2f} ± {points['sd']:.2f} points of test accuracy against the dense network "
        f"(equal within a point: {'yes' if points['min'] >= -1 else 'not under every seed'})."
    )
    return {"runs": runs, "ratios": ratios, "points": points, "prose": prose}
