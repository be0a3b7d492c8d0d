"""Parity: compare the predictions of all forms of an exported network: trained, decoded, and in ONNX Runtime."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from kirigami.search.errors import StudyStopped
from kirigami.search.export.session import open_session
from kirigami.several import Tensors, cut, length, listed, run

ROWS = 1024  # a batch
CLOSE = 1e-3  # values may differ by this share of their spread


@dataclass(frozen=True)
class Parity:
    """How far the forms are apart on the test set.

    Attributes:
        rows: compared.
        differences: largest absolute difference of an output from the trained network's, by form.
    """

    rows: int
    differences: dict[str, float]


def check(kind: str, reference: NDArray[Any], forms: Mapping[str, NDArray[Any]]) -> Parity:
    """Compare outputs with the trained network's.

    Args:
        kind: of the task; for "values" outputs must be close, for all others the answers the same.
        reference: outputs of the trained network, (rows, ...).
        forms: those of the other forms, by name.

    Raises:
        StudyStopped: where a form says something else.
    """
    differences = {}
    for name, outputs in forms.items():
        if outputs.shape != reference.shape:
            raise StudyStopped(f"export: {name} has outputs {outputs.shape}, the trained network {reference.shape}.")
        differences[name] = float(np.abs(outputs - reference).max(initial=0))
        wrong = _wrong(kind, reference, outputs)
        if wrong:
            raise StudyStopped(
                f"export: {name} disagrees with the trained network on {wrong} of {len(reference)} test rows "
                f"(largest difference {differences[name]:.3g}). Nothing was written."
            )
    return Parity(len(reference), differences)


def _wrong(kind: str, reference: NDArray[Any], outputs: NDArray[Any]) -> int:
    if kind == "values":
        return int((np.abs(outputs - reference) > CLOSE * max(float(reference.std()), 1e-6)).sum())
    if kind == "labels" or (kind == "pixels" and reference.ndim == 3):
        return int(((outputs > 0) != (reference > 0)).sum())
    if kind == "pixels":
        return int((outputs.argmax(1) != reference.argmax(1)).sum())
    return int((outputs.argmax(-1) != reference.argmax(-1)).sum())


def torch_outputs(network: nn.Module, unit: nn.Module, prepared: Tensors) -> NDArray[Any]:
    """Return a network's outputs, in their own unit, for rows as it takes them, on the CPU."""
    network = network.cpu().eval()
    with torch.no_grad():
        return torch.cat([unit(run(network, batch)) for batch in _batches(prepared)]).numpy()


def onnx_outputs(data: bytes, raw: Tensors, *, optimised: bool) -> NDArray[Any]:
    """Return a model's outputs for raw rows."""
    session = open_session(data, optimised=optimised)
    return np.concatenate([session.run(None, feed(session, batch))[0] for batch in _batches(raw)])


def feed(session: Any, raw: Tensors) -> dict[str, NDArray[Any]]:
    """Return raw rows by the names of a model's inputs."""
    names = [argument.name for argument in session.get_inputs()]
    return dict(zip(names, (part.numpy() for part in listed(raw)), strict=True))


def _batches(rows: Tensors) -> Iterator[Tensors]:
    for first in range(0, length(rows), ROWS):
        yield cut(rows, slice(first, first + ROWS))


def latency_ms(run: Callable[[], Any], repeats: int = 200) -> float:
    """Return the median milliseconds of a call, after a few that do not count."""
    from time import perf_counter

    for _ in range(10):
        run()
    taken = []
    for _ in range(repeats):
        began = perf_counter()
        run()
        taken.append(perf_counter() - began)
    return float(np.median(taken)) * 1000
