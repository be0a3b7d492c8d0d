"""Net2DeeperNet: insert layers that compute the identity, so that a deeper network begins as the same function."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from kirigami.errors import did_you_mean
from kirigami.models.cost import evaluating


def deepen(
    network: nn.Module,
    name: str,
    inputs: Tensor,
    *,
    kernel: int = 3,
    norm: bool | None = None,
    optimizer: Optimizer | None = None,
) -> dict[str, Any]:
    """Insert an identity layer and its activation behind an activation of a network (Chen et al., Net2Net, ICLR 2016).

    The activation becomes a Sequential of itself, the layer, its norm and another of itself. That keeps the function
    only where f(f(x)) = f(x), as for ReLU. A linear layer follows features (N, F) or (N, T, F), a convolution
    channels (N, C, H, W). Behind a norm's statistics, taken from the inputs, its scale and shift undo it, so the
    function is kept exactly in evaluation, and in training up to how far a batch's statistics are from these.

    Args:
        network: any module whose activations are modules.
        name: dotted name of the activation, called once a pass.
        inputs: a batch (N, ...).
        kernel: side of a convolution, odd.
        norm: whether a batch norm stands behind a convolution; None if the network has any.
        optimizer: which is to train the new parameters too, in its first group.

    Returns:
        What `insert` needs to insert the same layer into a fresh network, as JSON can hold it.

    Raises:
        ValueError: where there is no such activation, it is not idempotent, or what it returns has another shape.
    """
    activation = _find(network, name)
    check_idempotent(name, activation)
    seen = _outputs(network, name, inputs)
    normed = any(isinstance(module, nn.BatchNorm2d) for module in network.modules()) if norm is None else norm
    kind = "conv" if seen.dim() == 4 else "linear"
    layer = {"behind": name, "kind": kind, "features": seen.shape[1] if kind == "conv" else seen.shape[-1]}
    if kind == "conv":
        layer |= {"kernel": kernel, "norm": normed}
    inserted = insert(network, layer)
    inserted.to(seen.device, seen.dtype).train(activation.training)
    if layer.get("norm"):
        _undo(inserted[2], seen)
    if optimizer is not None:
        for parameter in inserted.parameters():
            _enter(optimizer, parameter)
    return layer


def insert(network: nn.Module, layer: Mapping[str, Any]) -> nn.Sequential:
    """Insert the layer that `deepen` described; return the module that replaces the activation.

    Raises:
        ValueError: where the network has no module of that name, or the description is of no known kind.
    """
    name, features = layer["behind"], int(layer["features"])
    activation = _find(network, name)
    parts: list[nn.Module]
    if layer["kind"] == "linear":
        linear = nn.Linear(features, features)
        nn.init.eye_(linear.weight)
        nn.init.zeros_(linear.bias)
        parts = [linear]
    elif layer["kind"] == "conv":
        kernel = int(layer["kernel"])
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"kernel must be odd and at least 1, but got {kernel}.")
        convolution = nn.Conv2d(features, features, kernel, padding=kernel // 2, bias=not layer["norm"])
        nn.init.dirac_(convolution.weight)
        if convolution.bias is not None:
            nn.init.zeros_(convolution.bias)
        parts = [convolution, nn.BatchNorm2d(features)] if layer["norm"] else [convolution]
    else:
        raise ValueError(f"kind must be one of (linear, conv), but got {layer['kind']!r}.")
    inserted = nn.Sequential(activation, *parts, copy.deepcopy(activation))
    parent, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(parent), leaf, inserted)
    return inserted


def take_out(network: nn.Module, layer: Mapping[str, Any], optimizer: Optimizer | None = None) -> None:
    """Undo `insert`, and let the optimiser forget the parameters."""
    parent, _, leaf = layer["behind"].rpartition(".")
    inserted = network.get_submodule(layer["behind"])
    assert isinstance(inserted, nn.Sequential)
    setattr(network.get_submodule(parent), leaf, inserted[0])
    gone = {id(parameter) for parameter in inserted.parameters()}
    if optimizer is not None:
        for parameter in inserted.parameters():
            optimizer.state.pop(parameter, None)
        for group in optimizer.param_groups:
            group["params"][:] = [parameter for parameter in group["params"] if id(parameter) not in gone]


def activations(network: nn.Module) -> list[str]:
    """Return the names of the activations behind which `deepen` may insert a layer, in order of registration."""
    return [name for name, module in network.named_modules() if name and _idempotent(module)]


def check_idempotent(name: str, activation: nn.Module) -> None:
    """Raise unless f(f(x)) = f(x), and f makes nothing of its own arguments.

    Raises:
        ValueError: saying why not.
    """
    if not _idempotent(activation):
        raise ValueError(
            f"{name!r} must be an activation f with f(f(x)) = f(x), such as ReLU, but is {type(activation).__name__}: "
            "behind it an identity layer and another activation would change the function."
        )


def _idempotent(module: nn.Module) -> bool:
    """Tell by values: of the activations of `torch.nn` with no arguments needed, ReLU, ReLU6 and Hardtanh pass."""
    elementwise = type(module).__module__ == "torch.nn.modules.activation"
    if not elementwise or any(True for _ in module.parameters()) or isinstance(module, nn.MultiheadAttention):
        return False
    values = torch.linspace(-12, 12, 97)
    try:
        once = module(values.clone())
        return bool(torch.allclose(module(once.clone()), once, atol=1e-7))
    except (RuntimeError, IndexError):  # one over an axis of its own
        return False


def _find(network: nn.Module, name: str) -> nn.Module:
    modules = dict(network.named_modules())
    if not name or name not in modules:
        raise ValueError(
            f"no activation of the network has the name {name!r}.{did_you_mean(name, activations(network))}"
        )
    return modules[name]


def _outputs(network: nn.Module, name: str, inputs: Tensor) -> Tensor:
    """Return the output of a module for the inputs."""
    seen: list[Tensor] = []
    hook = network.get_submodule(name).register_forward_hook(lambda *call: seen.append(call[2].detach().clone()))
    try:
        with evaluating(network), torch.no_grad():
            network(inputs)
    finally:
        hook.remove()
    if len(seen) != 1 or seen[0].dim() not in (2, 3, 4):
        shapes = [tuple(output.shape) for output in seen]
        raise ValueError(f"{name!r} must be called once a pass, on 2 to 4 axes, but gave the shapes {shapes}.")
    return seen[0]


def _undo(norm: nn.Module, seen: Tensor) -> None:
    """Set a norm's statistics to those of its inputs, and its scale and shift so that they undo them."""
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    with torch.no_grad():
        norm.running_mean.copy_(seen.mean((0, 2, 3)))
        norm.running_var.copy_(seen.var((0, 2, 3)))
        norm.weight.copy_((norm.running_var + norm.eps).sqrt())
        norm.bias.copy_(norm.running_mean)


def _enter(optimizer: Optimizer, parameter: nn.Parameter) -> None:
    """Put a parameter into the first group, with a state as if its gradients so far had been 0.

    Fused optimisers take no group in which some parameters have a state and others none.
    """
    held = optimizer.param_groups[0]["params"]
    sibling = next((parameter_of_group for parameter_of_group in held if parameter_of_group in optimizer.state), None)
    held.append(parameter)
    if sibling is None:
        return
    for key, value in optimizer.state[sibling].items():
        shaped = isinstance(value, Tensor) and value.shape == sibling.shape and value.dim() > 0
        optimizer.state[parameter][key] = torch.zeros_like(parameter) if shaped else copy.deepcopy(value)
