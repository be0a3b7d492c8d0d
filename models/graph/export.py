"""Write a hardened network as an ONNX file, and that file without the network's tensors."""

import inspect
import json
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from kirigami.models.compact import entries, plain
from kirigami.models.graph import restore, skeleton, weights
from kirigami.models.graph.model import INPUTS
from kirigami.models.graph.serve import Served, fuse
from kirigami.models.graph.sources import State, arrays
from kirigami.models.graph.trace import trace
from kirigami.models.technique import network_of
from kirigami.several import Tensors, joined, length, listed

PREFIX = "network."


def to_onnx(
    network: nn.Module,
    sample: Tensors,
    *,
    preprocessing: nn.Module | None = None,
    postprocessing: nn.Module | None = None,
    classes: Sequence[str] = (),
    metadata: Mapping[str, str] | None = None,
    dequantise: bool = True,
    opset: int | None = None,
) -> bytes:
    """Return a network as an ONNX file: raw inputs in, any number of samples, nothing else needed to run it.

    Weights that are whole numbers times a scale are stored as INT2, INT4, INT8 or INT16, those that float16 holds as
    float16, equal ones once; the operators see the very weights that the network has. What was removed from the network
    is not in the graph, and nothing of the exporter's metadata is left. The input is called input, the output output;
    several inputs have the names that the network, or what stands before it, has for them.

    Args:
        network: any module of one output, its links hard; a LightningModule that holds one as `network`.
        sample: raw inputs (N, ...), as users will feed them; their number stays free. Several, in a tuple or a
            dictionary, are arguments by place or by name.
        preprocessing: from raw inputs to the network's inputs.
        postprocessing: from the network's outputs to predictions.
        classes: names, kept in the file's metadata under "classes" as a JSON list.
        metadata: further texts by name.
        dequantise: make weights of integers by DequantizeLinear where ONNX Runtime leaves it exact; it is run at every
            call. Without, by Cast and Mul, which ONNX Runtime computes once when it loads the file: as fast as float
            weights, and as large in memory. The file has the same size.
        opset: of ONNX; by default 21, or 25 where weights fit INT2.

    Raises:
        ValueError: where a link is soft, or the network cannot be exported; the message says why.
    """
    if length(sample) < 2:
        sample = joined([sample, sample])  # one row would be taken for a fixed size
    hardened, state = _plain(network)
    opset = opset or (weights.OPSET_INT2 if weights.has_int2(state) else weights.OPSET)
    by_name = tuple(sample) if isinstance(sample, dict) else ()
    served = Served(fuse(hardened), preprocessing, postprocessing, by_name).cpu().eval()
    inputs = [part.cpu() for part in listed(sample)]
    model, names = trace(served, inputs, opset, type(hardened).__name__)
    weights_by_value = {value: name.removeprefix(PREFIX) for value, name in names.items() if name.startswith(PREFIX)}
    weights.place(model, weights_by_value, state, dequantise)
    model.metadata = {restore.CLASSES: restore.listed(list(map(str, classes)))} if classes else {}
    if len(inputs) > 1:
        model.metadata[INPUTS] = json.dumps(by_name or places(preprocessing or hardened, len(inputs)))
    model.metadata |= dict(metadata or {})
    return model.to_bytes()


def places(module: nn.Module, count: int) -> list[str]:
    """Return the names that a module has for its first inputs; those that have none are numbered."""
    names = [
        name
        for name, parameter in inspect.signature(module.forward).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    return names[:count] if len(names) >= count else [f"input_{place}" for place in range(count)]


def cut(onnx: bytes, network: nn.Module | Mapping[str, Any]) -> bytes:
    """Return the skeleton of a file that `to_onnx` wrote: everything but the network's tensors.

    Args:
        onnx: the file's bytes.
        network: it was made of, or its plain tensors by name.

    Raises:
        ValueError: where the file is not of this network, or not by `to_onnx`.
    """
    state = _plain(network)[1] if isinstance(network, nn.Module) else arrays(network)
    return skeleton.cut(onnx, state)


def _plain(network: nn.Module) -> tuple[nn.Module, State]:
    inner = network_of(network)  # type: ignore[arg-type]
    return plain(inner).cpu().eval(), arrays({entry.name: entry.value for entry in entries(inner)})
