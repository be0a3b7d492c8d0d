"""AvaGrad (Savarese, McAllester, Babu & Maire, CVPR 2021): an adaptive method whose rate does not depend on epsilon."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from kirigami.errors import ArgumentError
from kirigami.models.optimizers.groups import Parameters

Tensors = list[Tensor]


TOGETHER = 2**14


class AvaGrad(Optimizer):
    """Step by w <- w - lr * sqrt(d) / ||eta|| * eta * m, with eta = 1 / (sqrt(v) + eps) from the steps before.

    m and v are moving averages of the gradient and of its square; v takes in the gradient after the step, so that eta
    and the gradient are independent (paper, section 4). ||eta|| is taken over the d entries of all groups: the rates
    have a root mean square of `lr`, whatever `eps`. As `eps` grows this becomes SGD with an averaged gradient.

    An entry that has had no gradient yet has v = 0, and 1 / eps would outweigh all others: it is left out of the norm
    and of d, and its rate is `lr`, as every entry's is at the first step. Parameters without a gradient at a step
    stay out of it altogether. There is no counter of steps, and the step waits for no device: it can be captured in a
    CUDA graph after a first one outside, with `capturable` or without.

    Args:
        params: parameters or groups of them, which may differ in all of the following.
        lr: the root mean square of the rates; a number or a tensor of one.
        betas: how much of m and of v stays at a step, each in [0, 1).
        eps: above 0; the larger, the more alike the rates.
        weight_decay: pull on the weights, here a part of the gradient; it gives no entry a v of its own.
        foreach: update all tensors of a group together, or one by one (less memory); by default together, but for
            large ones on the CPU, where that is slower.
        maximize: climb instead.
        capturable: refuse what a captured step would get wrong: parameters on the CPU, and a rate in a tensor elsewhere
            than they are, which would stay as it was. A rate that is a number stays so too: one that changes must be
            a tensor, on the device.

    Raises:
        ValueError: where a value is out of its range, a gradient is sparse or complex, or a step cannot be captured
            that is to be `capturable`.
    """

    decoupled = False

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 0.1,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-3,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**defaults, "foreach": foreach, "maximize": maximize, "capturable": capturable})

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take up a state; one that was kept before there was `capturable` does not say it."""
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("capturable", False)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters; missing settings are those of the constructor.

        Raises:
            ValueError: where a value is out of its range.
        """
        settings = {**self.defaults, **param_group}
        for name in ("lr", "weight_decay"):  # a tensor's value is not asked for: it may be on a device
            if not isinstance(settings[name], Tensor) and not 0 <= settings[name] < float("inf"):
                raise ArgumentError(name, f"must be at least 0 and finite, but got {settings[name]}.")
        if not 0 < settings["eps"] < float("inf"):
            raise ArgumentError("eps", f"must be above 0 and finite, but got {settings['eps']}.")
        if len(settings["betas"]) != 2 or not all(0 <= beta < 1 for beta in settings["betas"]):
            raise ArgumentError("betas", f"must be two numbers of at least 0 and below 1, but got {settings['betas']}.")
        super().add_param_group(param_group)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Take one step, and return the loss of the closure, if there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        parts = [part for group in self.param_groups for part in self._parts(group)]
        if parts:
            factor = _factor(parts)
            for part in parts:
                _update(part, factor.to(part.params[0], non_blocking=True), self.decoupled)
        return loss

    def _parts(self, group: dict[str, Any]) -> Iterator["_Part"]:
        """Yield the tensors that are updated together: those of one device and type, or each by itself."""
        held: dict[Any, _Part] = {}
        for number, parameter in enumerate(group["params"]):
            if parameter.grad is None:
                continue
            if group["capturable"]:
                _check_capture(parameter, group["lr"])
            state = self.state[parameter]
            if not state:
                _check(parameter)
                state["exp_avg"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
                state["exp_avg_sq"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
            alone = _alone(parameter) if group["foreach"] is None else not group["foreach"]
            key = number if alone else (parameter.device, parameter.dtype)
            part = held.setdefault(key, _Part(group, alone, [], [], [], []))
            part.params.append(parameter)
            part.grads.append(parameter.grad)
            part.means.append(state["exp_avg"])
            part.squares.append(state["exp_avg_sq"])
        yield from held.values()


class AvaGradW(AvaGrad):
    """Step as AvaGrad does, with decoupled weight decay: w <- (1 - lr * weight_decay) * w before each step."""

    decoupled = True


@dataclass
class _Part:
    """Tensors of one group that are updated together; `rates` are kept from one pass to the other unless alone."""

    group: dict[str, Any]
    alone: bool
    params: Tensors
    grads: Tensors
    means: Tensors
    squares: Tensors
    rates: tuple[Tensors, Tensors] | None = None


def _alone(parameter: Tensor) -> bool:
    """Tell whether a tensor is better updated by itself: its intermediate results then stay in the CPU's cache."""
    return parameter.device.type == "cpu" and parameter.numel() > TOGETHER


def _check(parameter: Tensor) -> None:
    assert parameter.grad is not None
    if parameter.grad.is_sparse:
        raise ValueError("AvaGrad takes no sparse gradients. Make the layer with sparse=False.")
    if parameter.is_complex():
        raise ValueError("AvaGrad takes no complex parameters. Hold them as torch.view_as_real does.")


def _check_capture(parameter: Tensor, lr: float | Tensor) -> None:
    if parameter.device.type == "cpu":
        raise ValueError(
            "capturable=True needs parameters on an accelerator, but got one on the CPU. Leave it out there."
        )
    if isinstance(lr, Tensor) and lr.device != parameter.device:
        raise ValueError(f"lr must be a number, or a tensor on {parameter.device} to be captured, but got {lr.device}.")


def _factor(parts: Iterable[_Part]) -> Tensor:
    """Return sqrt(d) / ||eta|| over all entries that have had a gradient, 0 where there are none."""
    etas: Tensors = []
    lives: Tensors = []
    for part in parts:
        eta, live = _rates(part)
        wide = torch.float32 if eta[0].dtype.itemsize < 4 else None
        etas += torch._foreach_norm(eta, 2, dtype=wide)
        lives += torch._foreach_norm(live, 2, dtype=wide)  # the root of their number
        if not part.alone:
            part.rates = (eta, live)
    length, count = (
        torch.linalg.vector_norm(torch.stack([norm.to(norms[0]) for norm in norms])) for norms in (etas, lives)
    )
    return count / length.clamp(min=torch.finfo(length.dtype).tiny)


def _rates(part: _Part) -> tuple[Tensors, Tensors]:
    """Return eta, 0 where there has been no gradient yet, and a mask (0 or 1) of the entries that have had one."""
    if part.rates is not None:
        return part.rates
    live = torch._foreach_sign(part.squares)
    eta = torch._foreach_sqrt(part.squares)
    torch._foreach_add_(eta, part.group["eps"])
    torch._foreach_reciprocal_(eta)
    torch._foreach_mul_(eta, live)
    return eta, live


def _update(part: _Part, factor: Tensor, decoupled: bool) -> None:
    """Bring averages and parameters of a part one step on."""
    group, params = part.group, part.params
    (beta1, beta2), lr, decay = group["betas"], group["lr"], group["weight_decay"]
    eta, live = _rates(part)
    grads = torch._foreach_neg(part.grads) if group["maximize"] else part.grads
    squared = grads
    if decay and decoupled:
        torch._foreach_mul_(params, 1 - lr * decay)
    elif decay:
        seen = torch._foreach_abs(torch._foreach_sign(grads))
        torch._foreach_maximum_(seen, live)
        grads = torch._foreach_add(grads, params, alpha=decay)
        squared = torch._foreach_mul(grads, seen)
    torch._foreach_lerp_(part.means, grads, 1 - beta1)
    torch._foreach_mul_(part.squares, beta2)
    torch._foreach_addcmul_(part.squares, squared, squared, 1 - beta2)
    step = eta  # both are ours, and new memory would take longer than the arithmetic
    torch._foreach_mul_(step, factor)
    torch._foreach_neg_(live)
    torch._foreach_add_(live, 1.0)
    torch._foreach_add_(step, live)
    torch._foreach_mul_(step, part.means)
    if isinstance(lr, Tensor):
        torch._foreach_mul_(step, lr)
        torch._foreach_sub_(params, step)
    else:
        torch._foreach_add_(params, step, alpha=-lr)
    part.rates = None
