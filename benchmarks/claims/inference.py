"""Milliseconds of exported networks in ONNX Runtime: dense, with channels removed, masked, and at few bits.

Digits, convolutional networks of width 40 and depth 3, 20 epochs, 3 seeds. Each file is timed on one thread in turns
with the dense one, for one row and for 64, so that the machine's drift hits both. Beside them a folded network: its
file holds each weight once, and its outputs in ONNX Runtime are those of torch.
"""

from statistics import median
from time import perf_counter
from typing import Any

from benchmarks.rig.record import spread
from benchmarks.rig.training import build, fit, open_task, score

SEEDS = (0, 1, 2)
EPOCHS = 20
ROUNDS, CALLS = 60, 20
ROWS = (1, 64)
NETWORK = {"name": "convnet", "width": 40, "depth": 3, "multiplier": 1}
RESNET = {"name": "resnet", "stages": 1, "preactivation": True, "blocks": 6, "width": 16}


def measure() -> dict[str, Any]:
    """Train, export, and time in turns."""
    runs = [_run(seed) for seed in SEEDS]
    table: dict[str, Any] = {}
    for name in runs[0]["files"]:
        rows = [run["files"][name] for run in runs]
        table[name] = {key: spread([row[key] for row in rows]) for key in rows[0]}
        print(f"{name:<12}" + "  ".join(f"{key} {one['median']:.4g}" for key, one in table[name].items()))
    fold = [run["fold"] for run in runs]
    return {"files": table, "fold": fold, "seeds": list(SEEDS), "prose": _prose(table, fold)}


def _techniques(seed: int) -> dict[str, list[Any]]:
    from kirigami.models.bits import Uniform
    from kirigami.models.sparsity import MagnitudePruning, StructuredPruning

    return {
        "dense": [],
        "structured": [StructuredPruning(keep=0.25, of="macs", seed=seed)],
        "masked": [MagnitudePruning(density=0.25)],
        "4 bits": [Uniform(4)],
    }


def _run(seed: int) -> dict[str, Any]:
    import torch

    from kirigami.models import compact, graph
    from kirigami.search.export.session import open_session
    from kirigami.tasks.serving import Preparation

    task = open_task({"name": "digits"}, seed)
    preparation, sample = Preparation(task.preparation()), torch.zeros(2, *task.in_shape)
    sessions, files = {}, {}
    for name, techniques in _techniques(seed).items():
        module = build(NETWORK, task, seed)
        fit(module, task, techniques, epochs=EPOCHS)
        module.eval()
        accuracy, kgm = 100 * score(module, task, "validation", "accuracy"), compact.encoded_bytes(module.network)
        ways = {name: False} | ({f"{name}, DequantizeLinear": True} if name == "4 bits" else {})
        for way, dequantise in ways.items():  # exports cast once, when the file is loaded
            data = graph.to_onnx(module.network, sample, preprocessing=preparation, dequantise=dequantise)
            sessions[way] = open_session(data)
            files[way] = {"accuracy": accuracy, "onnx": len(data), "kgm": kgm}
    for rows in ROWS:
        taken = _in_turns(sessions, rows, task.in_shape)
        for name, times in taken.items():
            files[name][f"ms, {rows}"] = median(times)
            files[name][f"dense over this, {rows}"] = median(
                dense / milliseconds for dense, milliseconds in zip(taken["dense"], times, strict=True)
            )
    return {"files": files, "fold": _fold(task, preparation, sample, seed)}


def _in_turns(sessions: dict[str, Any], rows: int, shape: Any) -> dict[str, list[float]]:
    import numpy as np

    feed = {"input": np.random.default_rng(0).integers(0, 17, (rows, *shape)).astype(np.float32)}
    taken: dict[str, list[float]] = {name: [] for name in sessions}
    for turn in range(ROUNDS + 3):
        for name, session in sessions.items():
            began = perf_counter()
            for _ in range(CALLS):
                session.run(None, feed)
            if turn >= 3:
                taken[name].append((perf_counter() - began) / CALLS * 1000)
    return taken


def _fold(task: Any, preparation: Any, sample: Any, seed: int) -> dict[str, Any]:
    """Return bytes of a folded network and of the unshared one of the same form, and how far ONNX Runtime is off."""
    from kirigami.models import compact, graph
    from kirigami.models.sharing import SoftSharing, normalise
    from kirigami.search.export.parity import onnx_outputs, torch_outputs

    table: dict[str, Any] = {}
    for name, techniques in {
        "folded": [SoftSharing(4, groups=["stages.0.[!0].conv*"], pressure=3.0, distinct=2, fold=True, seed=seed)],
        "unshared": [],
    }.items():
        module = build(RESNET, task, seed)
        fit(module, task, techniques, epochs=EPOCHS)
        network = module.network.eval()
        normalise(network)  # as an export does
        data = graph.to_onnx(network, sample, preprocessing=preparation)
        raw = (task.validation.inputs * 16).round()
        differences = [
            abs(onnx_outputs(data, raw, optimised=optimised) - torch_outputs(network, raw / 16)).max()
            for optimised in (True, False)
        ]
        table[name] = {
            "onnx": len(data),
            "kgm": len(compact.encode(network, extra={"graph": graph.cut(data, network)})),
            "difference": float(max(differences)),
        }
    return table


def _prose(table: dict[str, Any], fold: list[dict[str, Any]]) -> str:
    faster = "; ".join(
        f"{name}: the dense network takes {row['dense over this, 1']['median']:.2f}x its time for one row and "
        f"{row['dense over this, 64']['median']:.2f}x for 64, validation accuracy {row['accuracy']['mean']:.2f} %, "
        f"ONNX {row['onnx']['median']:,.0f} bytes, compact {row['kgm']['median']:,.0f}"
        for name, row in table.items()
    )
    folded, plain = fold[0]["folded"], fold[0]["unshared"]
    off = max(run["folded"]["difference"] for run in fold)
    return (
        f"ONNX Runtime, one thread, medians of {ROUNDS} turns and {len(SEEDS)} seeds: {faster}. Folded: ONNX "
        f"{folded['onnx']:,} bytes against {plain['onnx']:,} unshared, compact {folded['kgm']:,} against "
        f"{plain['kgm']:,}; outputs differ from torch's by at most {off:.2g}."
    )
