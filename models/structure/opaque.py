"""Unsupported modules as single nodes of the autograd graph, so that no coupling of channels passes through them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from kirigami.models.structure.units import axis_of, role_of


class Opaque(torch.autograd.Function):
    """Return the first tensor as if it were computed from all the others."""

    @staticmethod
    def forward(_context: Any, value: Tensor, *_others: Tensor) -> Tensor:
        """Return the value."""
        return value.clone()

    @staticmethod
    def backward(_context: Any, *_gradients: Tensor) -> Any:
        """Refuse: the graph is only inspected."""
        raise NotImplementedError


@contextmanager
def opaque(network: nn.Module) -> Iterator[None]:
    """Make every unsupported module with parameters opaque while the context lasts.

    Those are layers without parts of their own, and all of torch's (attention, recurrent layers). Somebody's module
    that has both parameters and parts is looked into.
    """
    empty = torch.zeros(0, dtype=torch.long)
    hidden = []
    for module in network.modules():
        atomic = not any(True for _ in module.children()) or type(module).__module__.startswith("torch.nn.")
        is_known = axis_of("", module, role_of(module, True), empty, empty) is not None
        if module._parameters and atomic and not is_known and "forward" not in module.__dict__:
            module.__dict__["forward"] = _hiding(module.forward)
            hidden.append(module)
    try:
        yield
    finally:
        for module in hidden:
            del module.__dict__["forward"]


def _hiding(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Return a forward pass whose outputs depend on its inputs through a single graph node."""

    def hidden(*arguments: Any, **keywords: Any) -> Any:
        values = [*arguments, *keywords.values()]
        sources = [value for value in values if isinstance(value, Tensor) and value.requires_grad]
        with torch.no_grad():
            outputs = forward(*arguments, **keywords)
        return _mapped(outputs, [*sources, torch.zeros((), requires_grad=True)])

    return hidden


def _mapped(value: Any, sources: list[Tensor]) -> Any:
    if isinstance(value, Tensor):
        return Opaque.apply(value, *sources) if value.is_floating_point() else value
    return type(value)(_mapped(part, sources) for part in value) if isinstance(value, list | tuple) else value
