"""Take and add entries of one tensor of a module by index; its links and the optimiser's state follow."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.optim import Optimizer

from kirigami.models.bits.smol import SmolLink
from kirigami.models.technique import chain

NEUTRAL = {"running_var": 1.0}


def reindex(
    module: nn.Module,
    tensor: str,
    dim: int,
    source: Tensor,
    optimizers: Iterable[Optimizer] = (),
    values: Tensor | None = None,
    copied: Tensor | None = None,
) -> None:
    """Give a module's tensor the entries `source` of its dimension `dim`.

    Where layers have links, the stored weight and every tensor of a link that has this side follow too.

    Args:
        module: holds the tensor.
        tensor: its name there.
        dim: the dimension to change.
        source: (new size,) an old position for each new one, and -1 where an entry is new.
        optimizers: those whose state follows; it begins at 0 for new entries.
        values: the new entries, of the tensor's shape with their number at `dim`; by default copies or neutral.
        copied: (new entries,) old positions to copy the new entries from; by default they are neutral: 0, and 1 for
            the scale and variance of a norm, for the bits of a mask, and the mean for what else a link holds.
    """
    if not parametrize.is_parametrized(module, tensor):
        fill = _neutral(module, tensor) if values is None else None
        _change(module, tensor, dim, source, optimizers, values, copied, fill)
        return
    holder = module.parametrizations[tensor]
    shape = holder.original.shape
    _change(holder, "original", dim, source, optimizers, values, copied, 0.0)
    for link in holder:
        for part, name in _parts(link):
            value = getattr(part, name)
            if _follows(value, shape, dim):
                fill = 1.0 if value.dtype == torch.bool else float(value.detach().float().mean())
                _change(part, name, dim, source, optimizers, None, copied, fill)


def check_links(name: str, layer: nn.Module) -> None:
    """Refuse a layer whose weight cannot change its shape: one that shares it, or that SMOL still learns the bits of.

    Raises:
        ValueError: it is one.
    """
    for link in chain(layer):
        if link.stage == "share":
            raise ValueError(
                f"layer {name!r} shares its weight: structured removal changes shapes; layers that share must keep "
                "theirs. Share no weights, or take a mask instead."
            )
        if isinstance(link, SmolLink) and not link.hard:  # its technique holds moments of the old shape
            raise ValueError(
                f"layer {name!r} still learns its bits: structured removal changes shapes, and smol cannot follow. "
                "Round uniformly, or take a mask instead."
            )


def check_followers(name: str, module: nn.Module, tensor: str, dim: int, optimizers: Iterable[Optimizer]) -> None:
    """Refuse a tensor if a link of it, or its optimiser state, cannot follow a change along a dimension.

    Raises:
        ValueError: naming what cannot.
    """
    linked = parametrize.is_parametrized(module, tensor)
    holder = module.parametrizations[tensor] if linked else module
    shape = getattr(module, tensor).shape
    held = [(f"{name}.{tensor}", holder, "original" if linked else tensor)]
    for link in holder if linked else ():
        for part, own in _parts(link):
            if not _fits(getattr(part, own), shape, dim):
                raise ValueError(
                    f"{type(link).__name__}.{own} of {name}.{tensor} cannot follow a change of shape. "
                    "Leave this layer out of the names."
                )
            held.append((f"{name}.{tensor}", part, own))
    for optimizer in optimizers:
        for label, part, own in held:
            value = getattr(part, own)
            for key, state in optimizer.state.get(value, {}).items():
                fits = _fits(state, value.shape, dim) if isinstance(state, Tensor) else not _is_several(state)
                if not fits:
                    raise ValueError(
                        f"the state {key!r} of {type(optimizer).__name__} for {label} cannot follow a change of shape. "
                        "Train with SGD or AdamW."
                    )


def _parts(link: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Yield (module, name) of every parameter and buffer of a link."""
    for part in link.modules():
        for name, value in [*part._parameters.items(), *part._buffers.items()]:
            if value is not None:
                yield part, name


def _follows(value: Tensor, shape: torch.Size, dim: int) -> bool:
    """Tell whether a tensor that goes with one of `shape` changes with its dimension `dim`."""
    if value.shape == shape:
        return True
    return value.dim() == len(shape) and value.shape[dim] == shape[dim] > 1


def _fits(value: Tensor, shape: torch.Size, dim: int) -> bool:
    """Tell whether a tensor can go with one of `shape`: it has the dimension, or is the same all along it."""
    same = value.numel() == 1 or (value.dim() == len(shape) and value.shape[dim] == 1)
    return same or _follows(value, shape, dim)


def _is_several(state: Any) -> bool:
    return isinstance(state, list | tuple | dict)


def _neutral(module: nn.Module, tensor: str) -> float:
    """Return the default value of a new entry."""
    scale = tensor == "weight" and not hasattr(module, "kernel_size") and not isinstance(module, nn.Linear)
    return 1.0 if scale else NEUTRAL.get(tensor, 0.0)


def _change(
    holder: nn.Module,
    name: str,
    dim: int,
    source: Tensor,
    optimizers: Iterable[Optimizer],
    values: Tensor | None,
    copied: Tensor | None,
    fill: float | None,
) -> None:
    """Replace one tensor by its new form, and the parameter in the optimisers."""
    old = getattr(holder, name)
    with torch.no_grad():
        new = _taken(old.detach(), dim, source, 0.0 if fill is None else fill)
        fresh = torch.nonzero(source < 0).flatten().to(new.device)
        if values is not None:
            new.index_copy_(dim, fresh, values.detach().to(new))
        elif copied is not None and len(fresh):
            new.index_copy_(dim, fresh, old.detach().index_select(dim, copied.to(new.device)))
    if not isinstance(old, nn.Parameter):
        holder._buffers[name] = new
        return
    parameter = nn.Parameter(new, requires_grad=old.requires_grad)
    if old.grad is not None:
        parameter.grad = _taken(old.grad, dim, source, 0.0)
    states = [(optimizer, _followed(optimizer, old, dim, source)) for optimizer in optimizers]
    holder._parameters[name] = parameter
    for optimizer, state in states:
        _exchange(optimizer, old, parameter, state)


def _taken(value: Tensor, dim: int, source: Tensor, fill: float) -> Tensor:
    """Return the entries `source` along a dimension, with `fill` where it is -1."""
    source = source.to(value.device)
    if value.shape[dim] == 0:
        return value.new_full((*value.shape[:dim], len(source), *value.shape[dim + 1 :]), fill)
    taken = value.index_select(dim, source.clamp(min=0))
    fresh = torch.nonzero(source < 0).flatten()
    return taken.index_fill_(dim, fresh, fill) if len(fresh) else taken


def _followed(optimizer: Optimizer, old: nn.Parameter, dim: int, source: Tensor) -> dict[str, Any] | None:
    """Return the optimiser state of a parameter in its new shape, or None."""
    if old not in optimizer.state:
        return None
    return {
        key: _taken(value, dim, source, 0.0) if isinstance(value, Tensor) and _follows(value, old.shape, dim) else value
        for key, value in optimizer.state[old].items()
    }


def _exchange(optimizer: Optimizer, old: nn.Parameter, new: nn.Parameter, state: dict[str, Any] | None) -> None:
    """Put a parameter in the place of another in an optimiser's groups, in the same lists and at the same places."""
    for group in optimizer.param_groups:
        held = group["params"]
        for place, parameter in enumerate(held):
            if parameter is old:
                held[place] = new
    if state is not None:
        del optimizer.state[old]
        optimizer.state[new] = state
