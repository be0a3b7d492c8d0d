"""The files of an exported network: written from its final form, and compared with it on the test rows."""

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from kirigami import tasks
from kirigami.models import compact, graph
from kirigami.models.loading import about
from kirigami.search.errors import StudyStopped
from kirigami.search.export import parity
from kirigami.search.export.finish import Finished
from kirigami.search.export.session import open_session
from kirigami.search.training.building import shapes_of
from kirigami.several import cut, each, joined
from kirigami.tasks.serving import Unit

SERVED = ("columns", "categories", "reader", "picture", "characters", "column", "encoding")
"""The rules of `Task.preparation` that stand beside the graph, since a reader of files needs them."""


def written(
    done: Finished, network: Mapping[str, Any], recipes: list[dict[str, Any]], task: tasks.Task
) -> dict[str, bytes]:
    """Return the files' bytes by name."""
    model = to_onnx(done.network, task)
    shapes = shapes_of(task)
    extra = {"graph": graph.cut(model, done.network), "about": about(network, shapes, recipes)}
    small = compact.encode(done.network, extra=extra)
    return {"model.onnx": model, "model.kgm": small}


def to_onnx(network: nn.Module, task: tasks.Task) -> bytes:
    """Return a network as an ONNX that takes the task's raw rows and gives outputs in their own unit."""
    preparation = task.preparation()
    return graph.to_onnx(
        network,
        task.raw_sample(),
        preprocessing=task.preprocessing(),
        postprocessing=Unit(preparation["values"]) if "values" in preparation else None,  # type: ignore[arg-type]
        classes=task.classes or (),
        metadata=metadata(task, preparation),
        dequantise=False,  # ONNX Runtime dequantises at every call; casts it does once, when it loads the file
    )


def metadata(task: tasks.Task, preparation: Mapping[str, Any]) -> dict[str, str]:
    """Return what a reader of raw data needs beyond the graph: the kind, and how files are read."""
    kind = {"kind": task.kind} if task.kind != "classes" else {}
    columns = {key: preparation[key] for key in SERVED if key in preparation}
    return {**kind, **({"preparation": json.dumps(columns, separators=(",", ":"))} if columns else {})}


def compare(network: nn.Module, files: Mapping[str, bytes], task: tasks.Task) -> parity.Parity:
    """Compare all forms on the test rows.

    Raises:
        StudyStopped: where one of them disagrees.
    """
    small = compact.read(files["model.kgm"])
    if graph.fill(small.extra["graph"], small) != files["model.onnx"]:
        raise StudyStopped("export: model.kgm does not decode to the bytes of model.onnx. Nothing was written.")
    raw, rules = task.raw_test(), task.preparation()
    prepared = each(torch.Tensor.cpu, joined([inputs for inputs, _ in task.test_dataloader()]))
    unit = Unit(rules["values"]) if "values" in rules else nn.Identity()  # type: ignore[arg-type]
    decoded = compact.decode(files["model.kgm"], compact.plain(network))
    forms = {
        "model.kgm as a torch module": parity.torch_outputs(decoded, unit, prepared),
        "model.onnx": parity.onnx_outputs(files["model.onnx"], raw, optimised=True),
        "model.onnx without optimisations": parity.onnx_outputs(files["model.onnx"], raw, optimised=False),
    }
    return parity.check(task.kind, parity.torch_outputs(network, unit, prepared), forms)


def timed(model: bytes, task: tasks.Task) -> float:
    """Return the median milliseconds of one sample in ONNX Runtime, on one thread."""
    session = open_session(model)
    feed = parity.feed(session, cut(task.raw_sample(), slice(1)))
    return parity.latency_ms(lambda: session.run(None, feed))
