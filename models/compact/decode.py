"""Read an encoded file back: every byte checked, sizes checked before memory is taken, nothing unpickled."""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.bits.inputs import CHILD, FEWEST, MOST, InputQuantiser, insert
from models.compact.columns import NUMBERS, Reader, dtype_name, is_size
from models.compact.container import unseal
from models.compact.effective import COUNTER, plain
from models.compact.forms import read_form
from models.compact.pack import inflate
from models.technique import weighted

LIMIT = 1 << 32  # bytes of tensors by default
PLAN_LIMIT = 1 << 24
WIDTHS = (0, *range(FEWEST, MOST + 1))  # bits of inputs, 0 where a quantiser never saw any


def decode(data: bytes, network: nn.Module | Callable[[], nn.Module]) -> nn.Module:
    """Load an encoded file into a plain network and return it; its outputs are those of the network encoded.

    Layers whose inputs were rounded get their quantisers, which the plain network does not have, from the file.

    Args:
        data: the file's bytes.
        network: a network without links, or a function that makes it.

    Raises:
        ValueError: where the file is not sound, or is not of this network; the network is unchanged then.
    """
    built = network if isinstance(network, nn.Module) else network()
    own = {name: value for name, value in built.state_dict().items() if isinstance(value, Tensor)}
    plain_layers = {name: layer for name, layer in weighted(built) if not hasattr(layer, CHILD)}
    optional = {name: InputQuantiser(MOST).to(dtype=layer.weight.dtype) for name, layer in plain_layers.items()}
    state = _read(data, 16 * sum(value.numel() for value in own.values()) + 64, own, optional)
    for name, quantiser in optional.items():
        if f"{name}.{CHILD}.bits" in state:
            insert(plain_layers[name], quantiser.to(plain_layers[name].weight.device))
    built.load_state_dict(state, strict=False)
    return built


def decode_state(data: bytes, limit: int = LIMIT) -> dict[str, Tensor]:
    """Return the tensors of an encoded file by their names in the plain network, without counters of batches.

    Args:
        data: the file's bytes.
        limit: bytes of tensors above which a file is refused.

    Raises:
        ValueError: where the file is foreign, damaged, cut short, too large or of another version.
    """
    return _read(data, limit, None, {})


def change(network: nn.Module, data: bytes, inputs: Tensor) -> float:
    """Return the largest absolute difference that an encoded file makes to a network's outputs in evaluation."""
    before, after = plain(network).eval(), decode(data, plain(network)).eval()
    with torch.no_grad():
        return float((before(inputs) - after(inputs)).abs().max())


def _read(
    data: bytes, limit: int, own: dict[str, Tensor] | None, optional: Mapping[str, nn.Module]
) -> dict[str, Tensor]:
    streams = unseal(data)
    plan = _plan(streams.pop("plan", b""))
    banks, tensors = plan["banks"], plan["tensors"]
    size = sum(8 * _count(shape, dtype) for shape, dtype in (*banks, *(tensor[1:3] for tensor in tensors)))
    if own is not None:
        stored = {name for name, *_ in tensors}
        added = {f"{name}.{CHILD}": made for name, made in optional.items() if f"{name}.{CHILD}.bits" in stored}
        own = own | {f"{at}.{key}": value for at, made in added.items() for key, value in made.state_dict().items()}
        _check_names(tensors, own)
        limit += 64 * len(added)
    if size > limit:
        raise ValueError(f"the file declares {size} bytes of tensors, and at most {limit} are allowed.")
    reader = Reader(plan["columns"], streams, 2 * limit)  # a weight may have a mask and a map beside its number
    try:
        found = _tensors(banks, tensors, reader)
    except (RuntimeError, TypeError) as error:  # arguments of a form that torch does not take
        raise ValueError(f"the file's plan cannot be followed: {str(error).splitlines()[0]}") from error
    for name, value in found.items():
        if name.endswith(f".{CHILD}.bits") and not all(bits in WIDTHS for bits in value.reshape(-1).tolist()):
            raise ValueError(f"{name} must be one of {WIDTHS}, but is {value.reshape(-1).tolist()}.")
    return found


def _plan(data: bytes) -> dict[str, Any]:
    """Return the plan, its outer form checked."""
    try:
        plan = json.loads(inflate(data, PLAN_LIMIT))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the file's plan cannot be read: {error}") from error
    sound = (
        isinstance(plan, dict) and set(plan) == {"columns", "banks", "tensors"} and isinstance(plan["columns"], dict)
    )
    if not sound or not (_are_lists(plan["banks"], 2, 2) and _are_lists(plan["tensors"], 4, 8)):
        raise ValueError("the file's plan cannot be read: it lacks columns, banks or tensors.")
    names = [name for name, *_ in plan["tensors"]]
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise ValueError("the file's plan cannot be read: it names a tensor twice.")
    return plan


def _are_lists(value: object, least: int, most: int) -> bool:
    """Tell whether a value is a list of lists of so many things."""
    return isinstance(value, list) and all(isinstance(part, list) and least <= len(part) <= most for part in value)


def _count(shape: object, dtype: object) -> int:
    """Return how many numbers a tensor has, if its shape and type are sound."""
    known = isinstance(dtype, str) and dtype in (*NUMBERS, "bool")
    if not known or not isinstance(shape, list) or not all(is_size(side) for side in shape):
        raise ValueError(f"the file's plan has a tensor of shape {shape!r} and type {dtype!r}.")
    return math.prod(shape)


def _check_names(tensors: list[list[Any]], own: Mapping[str, Tensor]) -> None:
    """Refuse a file whose tensors are not those of a network."""
    stored = {name: shape for name, shape, *_ in tensors}
    wanted = {name: list(value.shape) for name, value in own.items() if name.rpartition(".")[2] != COUNTER}
    for name in [*wanted, *stored]:
        if stored.get(name) != wanted.get(name):
            raise ValueError(
                f"the file is of another network: {name} has shape {stored.get(name, 'none')} in the file "
                f"and {wanted.get(name, 'none')} in the network."
            )
    for name, _, dtype, *_ in tensors:
        if dtype_name(own[name].dtype) != dtype:
            found = dtype_name(own[name].dtype)
            raise ValueError(f"the file has {name} as {dtype}, but the network as {found}. Convert the network first.")


def _tensors(banks: list[list[Any]], tensors: list[list[Any]], reader: Reader) -> dict[str, Tensor]:
    """Follow the plan: banks are stored where they are first met, so each is read just before its first mix."""
    read: list[Tensor] = []
    found: list[Tensor] = []
    for _, shape, dtype, form, *arguments in tensors:
        if form == "same":
            found.append(_same(found, shape, dtype, arguments))
            continue
        if form == "mixed" and arguments[-1:] == [len(read)] and len(read) < len(banks):
            bank_shape, bank_dtype = banks[len(read)]
            read.append(reader.take_numbers(bank_dtype, math.prod(bank_shape)).reshape(bank_shape))
        found.append(read_form(shape, dtype, form, arguments, reader, read))
    reader.finish()
    return {name: value for (name, *_), value in zip(tensors, found, strict=True)}


def _same(before: list[Tensor], shape: list[int], dtype: str, arguments: list[Any]) -> Tensor:
    sound = len(arguments) == 1 and is_size(arguments[0]) and arguments[0] < len(before)
    other = before[arguments[0]] if sound else None
    if other is None or list(other.shape) != shape or dtype_name(other.dtype) != dtype:
        raise ValueError("the file's plan refers to a tensor that is not there.")
    return other.clone()
