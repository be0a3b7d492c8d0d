"""The card of an exported network: its scores, its size, its origin, how to load it."""

import hashlib
import json
import math
import platform
from collections.abc import Mapping
from typing import Any

import torch
from optuna.study import Study
from optuna.trial import FrozenTrial
from torch import Tensor

from kirigami import tasks
from kirigami.models import compact
from kirigami.models.technique import stored_parameters
from kirigami.search.config.identity import leaves
from kirigami.search.config.settings import TrialConfig
from kirigami.search.export import beside, contents, parity, serving
from kirigami.search.export.files import timed
from kirigami.search.export.finish import Finished
from kirigami.search.export.judge import Judge, outputs_of
from kirigami.search.export.optimism import sentence
from kirigami.search.export.session import open_session
from kirigami.search.study import provenance
from kirigami.search.study.ledger import Ledger
from kirigami.search.study.record import result_of
from kirigami.several import listed

REACHED = ("density", "bits", "shared", "stored_bits")  # what techniques report that a card tells
RESAMPLES = 500
Z = 1.959964  # 95 %


def card_of(
    study: Study,
    trial: FrozenTrial,
    done: Finished,
    files: Mapping[str, bytes],
    task: tasks.Task,
    judge: Judge,
    agreed: parity.Parity,
    twin: dict[str, Any] | None,
    config: TrialConfig,
) -> dict[str, Any]:
    """Return everything that is known of an export."""
    result, ledger = result_of(trial), Ledger().read(study)
    outputs, targets = outputs_of(done.network, task, "test")
    scores = judge.scores(done.network, "test", task)
    small = compact.read(files["model.kgm"])
    figures = {name: value for name, value in result.figures.items() if name in REACHED}
    return {
        "study": study.study_name,
        "trial": trial.number,
        "test": {
            "metric": judge.metric,
            "value": scores[judge.metric],
            "interval": interval(judge, task, outputs, targets, scores[judge.metric]),
            "rows": agreed.rows,
            "all": scores,
            "baselines": task.baselines(targets),
            "rivals": beside.rivals_of(study, config, judge, task, outputs, targets),
        },
        "validation": {"value": done.score, "before_last_cuts": done.before, "tolerance": judge.tolerance},
        "dense_twin": twin,
        "bytes": {name: len(data) for name, data in files.items()},
        "tensors": contents.table(small, compact.costs(done.network)),
        "parameters": stored_parameters(done.network),
        "float32_bytes": 4 * stored_parameters(done.network),
        "macs": result.figures.get("macs"),
        "latency_ms": timed(files["model.onnx"], task),
        "techniques": figures,
        "notes": done.notes,
        "parity": agreed.differences,
        **interface(files["model.onnx"], task),
        "search": {
            "trials": ledger.finished,
            "wall_s": round(ledger.wall_seconds(), 1),
            "device_s": round(ledger.device_seconds(), 1),
            "fit_s": result.fit_s or 0.0,
        },
        "config": dict(leaves(config.plain)),
        "data": {"task": config.task.get("name") or config.task["_target_"], "fingerprint": judge.task.fingerprint()},
        "revision": provenance.revision(),
        "versions": provenance.versions(),
        "machine": f"{platform.machine()}, {platform.system()}",
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        "sha256_of_tensors": dict(small.digests),
    }


def interface(onnx: bytes, task: tasks.Task) -> dict[str, Any]:
    """Return the inputs and outputs of a network."""
    session, rows = open_session(onnx), task.raw_sample()
    arguments = session.get_inputs()
    rules = json.loads(session.get_modelmeta().custom_metadata_map.get("preparation", "{}"))
    inputs = [
        {
            "name": argument.name,
            "shape": [size if isinstance(size, int) else None for size in argument.shape],
            "type": str(part.numpy().dtype),
            "what": serving.what(rules, tuple(part.shape[1:]), str(part.numpy().dtype)),
        }
        for argument, part in zip(arguments, listed(rows), strict=True)
    ]
    return {
        "inputs": inputs,
        "columns": [dict(zip(("places", "column", "coding"), row, strict=True)) for row in serving.columns(rules)],
        "preparation": rules,
        "output": {
            "kind": task.kind,
            "classes": list(task.classes or ()),
            "what": f"{task.kind}" + (f" in the order ({', '.join(task.classes)})" if task.classes else ""),
        },
    }


def summary(card: Mapping[str, Any]) -> str:
    """Return the card in a line or two, and each simple model that is ahead in one of its own."""
    test, twin, size = card["test"], card["dense_twin"], card["bytes"]
    smaller = f"; {_float32(card)}"
    if twin:
        smaller = (
            f"; its dense twin {twin['test']:.4f} in {twin['float32_bytes']:,} bytes of float32 "
            f"({twin['float32_bytes'] / size['model.kgm']:.0f}x)"
        )
    first = (
        f"trial {card['trial']}: test {test['metric']} {test['value']:.4f} ({_within(test)}{test['rows']} rows), "
        f"model.kgm {size['model.kgm']:,} bytes, model.onnx {size['model.onnx']:,}{smaller}"
    )
    return "\n".join([first, *beside.leads(card)])


def interval(
    judge: Judge, task: tasks.Task, outputs: Tensor, targets: Tensor, value: float
) -> tuple[float, float] | None:
    """Return a 95 % interval of a metric of test rows: Wilson's for accuracy, else a percentile bootstrap over rows.

    None for what a user's own LightningModule logs, which is known of all rows together.
    """
    if judge.logging is not None:
        return None
    rows = len(outputs)
    if judge.metric == "accuracy" and task.kind == "classes":
        centre = (value + Z**2 / (2 * rows)) / (1 + Z**2 / rows)
        half = Z / (1 + Z**2 / rows) * math.sqrt(value * (1 - value) / rows + Z**2 / (4 * rows**2))
        return max(0.0, centre - half), min(1.0, centre + half)
    generator = torch.Generator().manual_seed(0)
    scores = []
    for _ in range(RESAMPLES):
        drawn = torch.randint(rows, (rows,), generator=generator)
        scores.append(judge.evaluate(task, outputs[drawn], targets[drawn])[judge.metric])
    low, high = torch.tensor(scores, dtype=torch.float64).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
    return float(low), float(high)


def _within(test: Mapping[str, Any]) -> str:
    low, high = test["interval"] or (None, None)
    return "" if low is None else f"95 % interval {low:.4f} to {high:.4f}, "


def _float32(card: Mapping[str, Any]) -> str:
    """Return what its numbers would take without any technique or cut, in words."""
    size, count = card["float32_bytes"], card["parameters"]
    return f"in float32 its {count:,} parameters take {size:,} bytes ({size / card['bytes']['model.kgm']:.1f}x)"


def as_json(card: Mapping[str, Any]) -> str:
    """Return the card as JSON."""
    return json.dumps(card, indent=2) + "\n"


def as_markdown(card: Mapping[str, Any]) -> str:
    """Return the card as a page."""
    test, twin, size = card["test"], card.get("dense_twin"), card["bytes"]
    lines = [
        f"# {card['study']}, trial {card['trial']}",
        "",
        f"Test {test['metric']} **{test['value']:.4f}** ({_within(test)}{test['rows']} rows; "
        f"validation {card['validation']['value']:.4f}) in **{size['model.kgm']:,} bytes** (`model.kgm`). "
        f"{_float32(card)[0].upper()}{_float32(card)[1:]}; `model.onnx` has {size['model.onnx']:,}.",
        "",
        *([f"Chosen: {card['choice']}.", ""] if "choice" in card else []),
        *([sentence(card), ""] if "optimism" in card["validation"] else []),
        "| | this network | dense twin |",
        "| --- | --- | --- |",
        *_beside(card, twin),
        "",
        *([f"The dense twin: {twin['what']}.", ""] if twin else []),
        *_scores(test),
        *beside.listed(card),
        *_tensors(card),
        *(f"- {note}" for note in card["notes"]),
        "",
        "## What it cost",
        "",
        f"{card['search']['trials']} trials, {card['search']['wall_s']:.0f} s of search on "
        f"{card['machine']}; the trial itself trained {card['search']['fit_s']:.1f} s.",
        "",
        "## Parity on the test set",
        "",
        "Same predictions on all rows as the trained network; largest difference of an output: "
        + ", ".join(f"{name} {value:.3g}" for name, value in card["parity"].items())
        + ".",
        "",
        *serving.page(card),
        "With Kirigami:",
        "",
        "```python",
        'from kirigami.models import load  # checks every byte\n\nnetwork = load("model.kgm")  # a torch module',
        "```",
        "",
        *_identity(card),
    ]
    return "\n".join(lines)


def _tensors(card: Mapping[str, Any]) -> list[str]:
    """Return where the bytes of the smallest file are."""
    return [
        "## Where the bytes are",
        "",
        "| tensor | shape | form | kept | bits | bytes |",
        "| --- | --- | --- | --- | --- | --- |",
        *(
            f"| `{row['name']}` | {'×'.join(map(str, row['shape'])) or '1'} | {row['form']} | {row['kept']} | "
            f"{row['bits']} | {row['bytes']:,.0f} |"
            for row in card["tensors"]
        ),
        f"| graph, header, plan, digests | | | | | "
        f"{card['bytes']['model.kgm'] - sum(row['bytes'] for row in card['tensors']):,.0f} |",
        "",
    ]


def _identity(card: Mapping[str, Any]) -> list[str]:
    """Return the digests of files and data, and the versions that made them."""
    versions = ", ".join(f"{name} {version}" for name, version in card["versions"].items())
    return [
        "## Identity",
        "",
        "| file | SHA-256 |",
        "| --- | --- |",
        *(f"| {name} | `{digest}` |" for name, digest in card["sha256"].items()),
        "",
        f"Data {card['data']['task']}, fingerprint `{card['data']['fingerprint']}`; code revision "
        f"`{card['revision']}`; versions {versions}.",
        "",
    ]


def _beside(card: Mapping[str, Any], twin: Mapping[str, Any] | None) -> list[str]:
    metric = card["test"]["metric"]
    rows: list[tuple[str, Any, Any]] = [
        (f"test {metric}", f"{card['test']['value']:.4f}", twin and f"{twin['test']:.4f}"),
        ("smallest file, bytes", f"{card['bytes']['model.kgm']:,}", twin and f"{twin['float32_bytes']:,} (float32)"),
        ("ONNX file, bytes", f"{card['bytes']['model.onnx']:,}", twin and f"{twin['onnx_bytes']:,}"),
        ("parameters", f"{card['parameters']:,}", twin and f"{twin['parameters']:,}"),
        ("multiply-accumulates", _count(card.get("macs")), twin and _count(twin.get("macs"))),
        ("ms a sample, ONNX Runtime, one thread", f"{card['latency_ms']:.4f}", twin and f"{twin['latency_ms']:.4f}"),
    ]
    for name in ("density", "bits", "shared"):
        if name in card["techniques"]:
            rows.append((name, f"{card['techniques'][name]:.4g}", twin and "1" if name != "bits" else twin and "32"))
    lines = [f"| {name} | {ours} | {theirs or '–'} |" for name, ours, theirs in rows]
    if "density" in card["techniques"]:
        lines.append("| masks | save size, not time | |")
    return lines


def _scores(test: Mapping[str, Any]) -> list[str]:
    """Return every metric of the test rows beside what simple models, and always the same answer, score on them."""
    columns = beside.columns(test)
    if not columns:
        return []
    rows = [
        f"| {name} | {value:.4f} |"
        + "".join(f" {scores[name]:.4f} |" if name in scores else " – |" for scores in columns.values())
        for name, value in test["all"].items()
    ]
    names = "".join(f" {name} |" for name in columns)
    return [f"| test rows | this network |{names}", "| --- | --- |" + " --- |" * len(columns), *rows, ""]


def _count(value: Any) -> str:
    return "–" if value is None else f"{value:,.0f}"
