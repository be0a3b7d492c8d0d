"""Measure a network without changing it: the weights that masks receive, gradients by them, single rows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import parametrize

from kirigami.models.technique import ORDER, Link

Loss = Callable[[Any], Tensor]
"""Maps a batch to the scalar loss, with its graph, such as `kirigami.models.technique.loss_of(module)`."""


@contextmanager
def untouched(network: nn.Module, training: bool = False) -> Iterator[None]:
    """Run a network in one mode, then restore its modes, buffers, frozen weights and the random state."""
    modes = [(module, module.training) for module in network.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    frozen = [parameter for parameter in network.parameters() if not parameter.requires_grad]
    devices = {parameter.device for parameter in network.parameters() if parameter.device.type == "cuda"}
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=list(devices)))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))  # the only attention with second derivatives
        if devices and any(isinstance(module, nn.RNNBase) for module in network.modules()):
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))  # has none in evaluation mode
        for module, _ in modes:
            module.training = training
        try:
            yield
        finally:
            for module, before in modes:
                module.training = before
            for parameter in frozen:
                parameter.requires_grad_(False)
            with torch.no_grad():
                for buffer, value in buffers:
                    buffer.copy_(value)


@contextmanager
def incoming(layers: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Yield the weight of each layer at the mask's stage, as a leaf tensor from which the network is computed.

    That is the weight itself, or the output of the links before the mask's stage in the chain; foreign
    parametrizations count as earlier stages.
    """
    leaves: dict[str, Tensor] = {}
    with ExitStack() as stack:
        for name, layer in layers.items():
            if not parametrize.is_parametrized(layer, "weight"):
                leaves[name] = layer.weight.requires_grad_(True)
                continue
            stack.callback(_intercept(name, layer, leaves).remove)
            _ = layer.weight  # the hook takes the leaf's value from this first call
        yield leaves


def _intercept(name: str, layer: nn.Module, leaves: dict[str, Tensor]) -> Any:
    """Hook the first link at or after the mask's stage, or else the end of the chain, to return the leaf."""

    def leaf(value: Tensor) -> Tensor:
        if name not in leaves:
            leaves[name] = value.detach().clone().requires_grad_()
        return leaves[name]

    chain = layer.parametrizations.weight
    for link in chain:
        if isinstance(link, Link) and ORDER.index(link.stage) >= ORDER.index("mask"):
            return link.register_forward_pre_hook(lambda _, inputs: leaf(inputs[0]))
    return chain.register_forward_hook(lambda _, __, output: leaf(output))


def gradients(loss: Tensor, leaves: Sequence[Tensor], graph: bool = False) -> tuple[Tensor, ...]:
    """Return the gradients of a scalar by the leaves, zeros where it does not depend on one."""
    if not loss.requires_grad:
        return tuple(torch.zeros_like(leaf) for leaf in leaves)
    return torch.autograd.grad(loss, leaves, create_graph=graph, allow_unused=True, materialize_grads=True)


def product(grads: Sequence[Tensor], vectors: Sequence[Tensor], leaves: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return the Hessian times vectors, from gradients with a graph, which is retained."""
    inner = torch.stack([(grad * vector).sum() for grad, vector in zip(grads, vectors, strict=True)]).sum()
    if not inner.requires_grad:
        return tuple(torch.zeros_like(leaf) for leaf in leaves)
    return torch.autograd.grad(inner, leaves, retain_graph=True, allow_unused=True, materialize_grads=True)


def signs(like: Tensor, generator: torch.Generator) -> Tensor:
    """Draw -1 or 1 for every entry, on the CPU, so that every device gets the same."""
    drawn = torch.randint(0, 2, like.shape, generator=generator) * 2 - 1
    return drawn.to(device=like.device, dtype=like.dtype)


def single_rows(batches: Sequence[Any], most: int) -> Iterator[Any]:
    """Yield at most `most` batches of one row, in order."""
    return islice((cut(batch, row) for batch in batches for row in range(rows(batch))), most)


def rows(batch: Any) -> int:
    """Count the rows of a batch: the first axis of the first tensor in it.

    Raises:
        ValueError: where there is no tensor with axes.
    """
    return len(first_tensor(batch))


def cut(batch: Any, row: int) -> Any:
    """Return one row of a batch, as a batch; other values stay unchanged."""
    if isinstance(batch, Tensor):
        return batch[row : row + 1] if batch.dim() else batch
    if isinstance(batch, Mapping):
        return {key: cut(part, row) for key, part in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(cut(part, row) for part in batch))
    if isinstance(batch, tuple | list):
        return type(batch)(cut(part, row) for part in batch)
    return batch


def first_tensor(batch: Any) -> Tensor:
    """Return the first tensor with axes in a batch: by custom, the inputs.

    Raises:
        ValueError: where there is none.
    """
    if isinstance(batch, Tensor) and batch.dim():
        return batch
    parts = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, tuple | list) else ()
    for part in parts:
        try:
            return first_tensor(part)
        except ValueError:
            continue
    raise ValueError(f"a batch must hold a tensor with rows, but got {type(batch).__name__}. Give batches of tensors.")
