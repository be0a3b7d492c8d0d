"""A network as a chain of blocks, each of which can be run by itself; the network stays as it is."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class Chain:
    """Runs blocks of a network: modules called one after the other, cut into pieces.

    The first block includes the network's code before those modules, and the last block all code after them: so block
    0 takes the network's inputs, and the last block returns its outputs.

    Args:
        network: any module.
        names: dotted names of the modules, in the order of their calls.
        starts: (blocks,) the place in `names` at which each block begins; the first is 0.
        sample: an input (N, ...) of the network.
        direct: the first module gets the network's inputs as they are.
        whole: the last module's result is the network's output.
        after: modules that are called after those named.
    """

    def __init__(
        self,
        network: nn.Module,
        names: Sequence[str],
        starts: Sequence[int],
        sample: Tensor,
        *,
        direct: bool,
        whole: bool,
        after: Sequence[nn.Module] = (),
    ) -> None:
        self.network = network
        self.names = list(names)
        self.modules = [network.get_submodule(name) for name in names]
        self.starts = list(starts)
        self.direct, self.whole = direct, whole
        self.after = list(after)
        self._shape, self._kind = sample.shape[1:], sample.dtype
        self._places = [(network.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2]) for name in names]

    def __len__(self) -> int:
        return len(self.starts)

    def part(self, first: int, last: int) -> list[nn.Module]:
        """Return the named modules of the blocks from `first` to `last`."""
        end = self.starts[last + 1] if last + 1 < len(self) else len(self.modules)
        return self.modules[self.starts[first] : end]

    def run(self, hidden: Tensor, first: int, last: int) -> Tensor:
        """Return the output of block `last` for the input `hidden` of block `first`; for 0, the network's (N, ...)."""
        final = last == len(self) - 1
        if final and (first == 0 or not self.whole):
            return self.network(hidden) if first == 0 else self._rest(hidden, self.starts[first])
        if first == 0 and not self.direct:
            hidden = self._enter(hidden)
        for module in self.part(first, last):
            hidden = module(hidden)
        return hidden

    def train(self, first: int, last: int) -> None:
        """Put the blocks from `first` to `last` in training mode, and the rest of the network in evaluation mode."""
        if first == 0:  # code before the modules trains too, and code after the blocks is not called
            self.network.train()
            return
        self.network.eval()
        for module in self.part(first, last):
            module.train()
        if last == len(self) - 1:
            self.network.training = True
            for module in self.after:
                module.train()

    def shared(self) -> str | None:
        """Return the name of a parameter that two blocks share, or None."""
        owners: dict[int, int] = {}
        for block in range(len(self)):
            for module in self.part(block, block):
                for name, parameter in module.named_parameters():
                    if owners.setdefault(id(parameter), block) != block:
                        return name
        return None

    def _enter(self, inputs: Tensor) -> Tensor:
        """Return the input of the first module, with its graph, by running the network up to it."""

        def stop(module: nn.Module, arguments: tuple[Any, ...]) -> None:
            raise _Reached(arguments[0])

        handle = self.modules[0].register_forward_pre_hook(stop, prepend=True)
        try:
            self.network(inputs)
        except _Reached as reached:
            return reached.hidden
        finally:
            handle.remove()
        raise AssertionError("the first module was not called")

    def _rest(self, hidden: Tensor, start: int) -> Tensor:
        """Return the network's output, with `hidden` in place of the output of the modules before `start`."""
        blank = torch.zeros((), dtype=self._kind, device=hidden.device).expand(len(hidden), *self._shape)
        with self._skipping(start, hidden):
            return self.network(blank)

    @contextmanager
    def _skipping(self, count: int, hidden: Tensor) -> Iterator[None]:
        """Replace each of the first modules by a stand-in that returns `hidden`."""
        stand_in = _StandIn(hidden)
        for holder, key in self._places[:count]:
            holder._modules[key] = stand_in
        try:
            yield
        finally:
            for (holder, key), module in zip(self._places[:count], self.modules, strict=False):
                holder._modules[key] = module


class _Reached(Exception):
    """Carries the input of a module out of a network's forward pass."""

    def __init__(self, hidden: Tensor) -> None:
        super().__init__()
        self.hidden = hidden


class _StandIn(nn.Module):
    """Returns a tensor, whatever it is called with."""

    def __init__(self, hidden: Tensor) -> None:
        super().__init__()
        self.hidden = hidden

    def forward(self, *_: Any) -> Tensor:
        """Return the tensor."""
        return self.hidden
