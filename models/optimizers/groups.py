"""Parameter groups: which parameters weight decay pulls on, and how an optimiser steps through them."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from torch import Tensor, nn

from kirigami.arguments import within

Parameters: TypeAlias = nn.Module | Iterable[Tensor] | Iterable[Mapping[str, Any]]
Groups: TypeAlias = list[dict[str, Any]]


def parameter_groups(parameters: Parameters, *, weight_decay: float, decay_norms: bool) -> Groups:
    """Split the parameters that want a gradient into a group that decays and one that does not.

    Args:
        parameters: A module, its parameters, or groups of the caller's, of which those with a `weight_decay` keep it.
        weight_decay: Decay of the first group.
        decay_norms: Let one-dimensional parameters (norms, biases) decay too.

    Raises:
        ValueError: The decay is negative or infinite.
    """
    within("weight_decay", weight_decay, 0, float("inf"))
    entries: list[Any] = list(parameters.parameters() if isinstance(parameters, nn.Module) else parameters)
    listed = entries if entries and isinstance(entries[0], Mapping) else [{"params": entries}]
    groups: Groups = []
    for group in listed:
        groups += [dict(group)] if "weight_decay" in group else _split(group, weight_decay, decay_norms)
    return groups


def fused(groups: Groups) -> bool | None:
    """Return True on the CPU, where one fused step is much faster than a loop; None elsewhere: torch's own choice."""
    parameters = [parameter for group in groups for parameter in group["params"]]
    on_cpu = all(parameter.device.type == "cpu" and parameter.is_floating_point() for parameter in parameters)
    return True if on_cpu else None


def _split(group: Mapping[str, Any], weight_decay: float, decay_norms: bool) -> Groups:
    """Split one group by the number of axes; without a decay there is nothing to split."""
    trained = [parameter for parameter in group["params"] if parameter.requires_grad]
    decayed = [parameter for parameter in trained if decay_norms or not weight_decay or parameter.ndim > 1]
    chosen = {id(parameter) for parameter in decayed}
    spared = [parameter for parameter in trained if id(parameter) not in chosen]
    parts = [(decayed, weight_decay), (spared, 0.0)]
    return [{**group, "params": part, "weight_decay": decay} for part, decay in parts if part]
