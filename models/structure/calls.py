"""How a network is called: by an example, or as recorded in a training step."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

SAMPLES = 2  # of a batch, enough to run a network


@dataclass(frozen=True)
class Calls:
    """Calls of a network or of parts of it, one after another.

    Attributes:
        calls: (dotted name of the module, its arguments in order, its arguments by name).
    """

    calls: tuple[tuple[str, tuple[Any, ...], dict[str, Any]], ...]

    def outputs(self, network: nn.Module) -> list[Tensor]:
        """Return the tensors that come of all calls, in dictionaries, in sequences or alone."""
        return [
            tensor
            for name, arguments, keywords in self.calls
            for tensor in tensors(network.get_submodule(name)(*arguments, **keywords))
        ]

    def plain(self) -> "Calls":
        """Return the calls with their tensors on the CPU, and numbers of any precision in float32."""
        return Calls(tuple((name, _mapped(given, _plain), _mapped(named, _plain)) for name, given, named in self.calls))

    @property
    def samples(self) -> int:
        """Return the length of the first tensor of the first call."""
        return next((len(value) for call in self.calls for value in tensors(call) if value.dim()), 1)


Inputs: TypeAlias = Tensor | Sequence[Any] | Mapping[str, Any] | Calls
"""The inputs of a network: a tensor, its arguments in order, its arguments by name, or calls of its parts."""


def calls_of(inputs: Inputs) -> Calls:
    """Return the call that inputs stand for; of a single tensor, its first two samples."""
    if isinstance(inputs, Calls):
        return inputs
    if isinstance(inputs, Tensor):
        return Calls((("", (inputs.detach()[:SAMPLES],), {}),))
    return Calls((("", (), dict(inputs)) if isinstance(inputs, Mapping) else ("", tuple(inputs), {}),))


def tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in a value, in dictionaries, in sequences or alone."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from tensors(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from tensors(part)


class Watch:
    """Notes the outermost calls of a network's modules that have parameters, until it is stopped.

    Args:
        network: which may be called as a whole, or in parts, as a training step without `forward` does.
    """

    def __init__(self, network: nn.Module) -> None:
        self._found: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self._depth = 0
        self._handles: list[RemovableHandle] = []
        for name, module in network.named_modules():
            if any(True for _ in module.parameters()):
                self._handles += [
                    module.register_forward_pre_hook(self._entering(name), with_kwargs=True),
                    module.register_forward_hook(self._leaving, always_call=True),
                ]

    def stop(self) -> Calls:
        """Remove the hooks, and return the recorded calls."""
        for handle in self._handles:
            handle.remove()
        return Calls(tuple(self._found))

    def _entering(self, name: str) -> Any:
        def enter(_: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            if self._depth == 0:
                self._found.append((name, _kept(arguments), _kept(keywords)))
            self._depth += 1

        return enter

    def _leaving(self, *_: Any) -> None:
        self._depth -= 1


def _kept(value: Any) -> Any:
    """Return arguments with copies of their tensors, without gradients; a lone tensor is cut to few samples."""
    if isinstance(value, tuple) and len(value) == 1 and isinstance(value[0], Tensor) and value[0].dim():
        return (value[0].detach()[:SAMPLES].clone(),)
    return _mapped(value, lambda tensor: tensor.detach().clone())


def _plain(value: Tensor) -> Tensor:
    return value.detach().cpu().float() if value.is_floating_point() else value.cpu()


def _mapped(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Return a value with a function of each tensor in its place."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Mapping):
        return {key: _mapped(part, function) for key, part in value.items()}
    return type(value)(_mapped(part, function) for part in value) if type(value) in (list, tuple) else value
