"""A network as a graph of ONNX operators, traced by torch; its weights stay apart, so that nothing folds into them."""

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kirigami.models.graph.model import Attribute, Form, Model
from kirigami.models.graph.parse import parse
from kirigami.models.graph.sources import of_array


def trace(network: nn.Module, sample: Sequence[torch.Tensor], opset: int, name: str) -> tuple[Model, dict[int, str]]:
    """Return the graph of a network in evaluation mode, and the names of the tensors among its constants.

    Args:
        network: any module of tensors that torch can export, with one output.
        sample: its inputs, each (2 or more, ...); their number stays free.
        opset: of ONNX.
        name: of the network, for the user.

    Raises:
        ValueError: where torch cannot export the network, or its graph has branches or loops of ONNX's own.
    """
    import onnx_ir
    from onnx_ir.passes.common import InlinePass
    from onnxscript import optimizer

    with _quiet():
        try:
            program = torch.onnx.export(
                network,
                tuple(sample),
                dynamo=True,
                optimize=False,
                dynamic_shapes=(tuple({0: torch.export.Dim("batch")} for _ in sample),),
                opset_version=opset,
                verbose=False,
            )
        except Exception as error:  # the exporter's own errors are of many kinds
            raise ValueError(f"{name} cannot be exported to ONNX: {_reason(error)}") from error
        assert program is not None
        exported = program.model
        InlinePass()(exported)
        weights = _part(exported.graph)
        optimizer.optimize(exported)
        model, numbers = parse(onnx_ir.to_proto(exported))
    for node in model.nodes:
        node.form = _slim(node.form)
    named = {numbers[name]: name for name in weights}
    model.inputs = [(value, port) for value, port in model.inputs if value not in named]
    model.constants |= {value: of_array(weights[name].numpy()) for value, name in named.items()}
    if any(port.dims[0] for _, port in model.inputs):  # torch falls back to an example of fixed size, and says nothing
        reason = f"its forward uses the number of rows as a Python number, and the file would take {len(sample)} alone"
        raise ValueError(f"{name} cannot be exported to ONNX: {reason}.")
    return model, named


def _reason(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error)
    if "data-dependent" in text:
        places = re.findall(r'File "([^"]+)", line (\d+), in', text)
        where = f" ({Path(places[-1][0]).name}:{places[-1][1]})" if places else ""
        return f"its forward decides by the data what is computed{where}, but a file computes the same for all rows."
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:300]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress, its remarks on missing packages and its dumps of graphs from the user."""
    before, nowhere = logging.root.manager.disable, io.StringIO()
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(nowhere),
            contextlib.redirect_stderr(nowhere),
            torch.no_grad(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _part(graph: Any) -> dict[str, Any]:
    """Make inputs of a graph's constants, which no optimisation can fold then, and return their values by name."""
    values = {}
    for name in list(graph.initializers):
        value = graph.initializers.pop(name)
        values[name], value.const_value = value.const_value, None
        graph.inputs.append(value)
    return values


def _slim(form: Form) -> Form:
    """Return a form without the attributes that have their default values."""
    return replace(
        form, attributes=tuple((name, value) for name, value in form.attributes if not _is_usual(form, name, value))
    )


# Lists that an operator takes to be all ones, or zeros, where they are left out.
ONES = {("Conv", "strides"), ("Conv", "dilations"), ("MaxPool", "dilations"), ("AveragePool", "dilations")}
ZEROS = {("Conv", "pads"), ("MaxPool", "pads"), ("AveragePool", "pads")}


def _is_usual(form: Form, name: str, value: Attribute) -> bool:
    import onnx

    if (form.op, name) == ("Conv", "kernel_shape"):
        return True  # that of the weight
    if (form.op, name) in ONES | ZEROS and isinstance(value, tuple):
        return set(value) == {1 if (form.op, name) in ONES else 0}
    try:
        schema = onnx.defs.get_schema(form.op, domain=form.domain)
    except onnx.defs.SchemaError:
        return False
    default = schema.attributes[name].default_value if name in schema.attributes else None
    if default is None or not default.name:
        return False
    usual = onnx.helper.get_attribute_value(default)
    usual = usual.decode() if isinstance(usual, bytes) else usual
    return type(usual) is type(value) and usual == value
