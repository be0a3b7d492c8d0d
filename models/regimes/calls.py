"""Trace which modules of a network are called in sequence, each with the output of the one before."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from kirigami.models.cost import evaluating
from kirigami.models.technique import WEIGHTED


@dataclass(eq=False)
class Call:
    """One recorded call of a module.

    Attributes:
        name: dotted name of the module, "" for the network.
        module: the module called.
        input: its one argument, None where it had others or another kind.
        result: the tensor it returned, None where it returned something else.
        inner: calls of its parts meanwhile, in order.
    """

    name: str
    module: nn.Module
    input: Tensor | None = None
    result: Tensor | None = None
    inner: list["Call"] = field(default_factory=list)

    @property
    def weighted(self) -> bool:
        """Whether the module has a layer with weights."""
        layers = any(isinstance(part, WEIGHTED) for part in self.module.modules())
        return layers or any(parameter.dim() > 1 for parameter in self.module.parameters())


def watch(network: nn.Module, inputs: Tensor) -> Call:
    """Evaluate a network without a graph, and return its call with those of all its modules inside.

    The network is left in the modes it was in; nothing random is drawn.
    """
    root = Call("", network)
    stack: list[Call] = []
    handles = []
    for name, module in network.named_modules():
        call = root if module is network else None
        # First before the call and last after it: other hooks' changes of arguments and results belong to the module.
        handles.append(module.register_forward_pre_hook(_entering(stack, name, call), prepend=True, with_kwargs=True))
        handles.append(module.register_forward_hook(_leaving(stack)))
    try:
        with evaluating(network), torch.no_grad():
            network(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return root


def runs(root: Call) -> list[list[Call]]:
    """Return the calls inside a network in unbroken runs: the input of each call is the output of the one before.

    A module that only calls its parts in sequence is replaced by its parts.
    """
    call_runs: list[list[Call]] = []
    for call in (part for child in root.inner for part in _parts(child)):
        if call.input is None or call.result is None:
            call_runs.append([])
        elif call_runs and call_runs[-1] and call_runs[-1][-1].result is call.input:
            call_runs[-1].append(call)
        else:
            call_runs.append([call])
    return [run for run in call_runs if run]


def _parts(call: Call) -> Iterator[Call]:
    """Yield the calls that make up a call, or the call itself."""
    outputs = [call.input, *[part.result for part in call.inner]]
    inputs = [*[part.input for part in call.inner], call.result]
    linked = all(output is not None and output is other for output, other in zip(outputs, inputs, strict=True))
    if call.inner and linked:
        for part in call.inner:
            yield from _parts(part)
    else:
        yield call


def _entering(stack: list[Call], name: str, root: Call | None) -> Callable[..., None]:
    def enter(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        call = Call(name, module) if root is None else root
        if len(arguments) == 1 and not keywords and isinstance(arguments[0], Tensor):
            call.input = arguments[0]
        if stack:
            stack[-1].inner.append(call)
        stack.append(call)

    return enter


def _leaving(stack: list[Call]) -> Callable[..., None]:
    def leave(module: nn.Module, arguments: tuple[Any, ...], result: Any) -> None:
        call = stack.pop()
        call.result = result if isinstance(result, Tensor) else None

    return leave
