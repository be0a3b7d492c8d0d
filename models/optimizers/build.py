"""Build an optimiser from its config."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.optim import Optimizer

from kirigami.arguments import accept, names, within
from kirigami.errors import ArgumentError, choose
from kirigami.models.optimizers.avagrad import AvaGrad, AvaGradW
from kirigami.models.optimizers.groups import Parameters, fused, parameter_groups
from kirigami.targets import KEY, leading, located, options_of, run


def sgd(
    parameters: Parameters,
    *,
    lr: float = 0.1,
    momentum: float = 0.9,
    nesterov: bool = True,
    weight_decay: float = 0.0,
    decay_norms: bool = False,
) -> Optimizer:
    """Build stochastic gradient descent; without momentum, `nesterov` has no effect."""
    _check(lr=lr)
    within("momentum", momentum, 0, 1)
    groups = parameter_groups(parameters, weight_decay=weight_decay, decay_norms=decay_norms)
    nesterov = nesterov and momentum > 0
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov, fused=fused(groups))


def adam(
    parameters: Parameters,
    *,
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
    decay_norms: bool = False,
) -> Optimizer:
    """Build Adam (Kingma & Ba, ICLR 2015); its decay is part of the gradient."""
    _check(lr=lr, epsilon=epsilon)
    groups = parameter_groups(parameters, weight_decay=weight_decay, decay_norms=decay_norms)
    return torch.optim.Adam(groups, lr=lr, betas=_betas(beta1, beta2), eps=epsilon, fused=fused(groups))


def adamw(
    parameters: Parameters,
    *,
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
    decay_norms: bool = False,
) -> Optimizer:
    """Build Adam with decoupled weight decay (Loshchilov & Hutter, ICLR 2019)."""
    _check(lr=lr, epsilon=epsilon)
    groups = parameter_groups(parameters, weight_decay=weight_decay, decay_norms=decay_norms)
    return torch.optim.AdamW(groups, lr=lr, betas=_betas(beta1, beta2), eps=epsilon, fused=fused(groups))


def rmsprop(
    parameters: Parameters,
    *,
    lr: float = 1e-3,
    smoothing: float = 0.99,
    momentum: float = 0.0,
    centered: bool = False,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
    decay_norms: bool = False,
) -> Optimizer:
    """Build RMSprop (Tieleman & Hinton, 2012)."""
    _check(lr=lr, epsilon=epsilon)
    within("smoothing", smoothing, 0, 1)
    within("momentum", momentum, 0, 1)
    groups = parameter_groups(parameters, weight_decay=weight_decay, decay_norms=decay_norms)
    return torch.optim.RMSprop(groups, lr=lr, alpha=smoothing, eps=epsilon, momentum=momentum, centered=centered)


def adagrad(
    parameters: Parameters,
    *,
    lr: float = 1e-2,
    epsilon: float = 1e-10,
    weight_decay: float = 0.0,
    decay_norms: bool = False,
) -> Optimizer:
    """Build Adagrad (Duchi et al., JMLR 2011)."""
    _check(lr=lr, epsilon=epsilon)
    groups = parameter_groups(parameters, weight_decay=weight_decay, decay_norms=decay_norms)
    return torch.optim.Adagrad(groups, lr=lr, eps=epsilon, fused=fused(groups))


def _avagrad(optimizer: type[AvaGrad]) -> Callable[..., Optimizer]:
    """Return a function that builds AvaGrad or AvaGradW, which differ in how they decay alone."""

    def build(
        parameters: Parameters,
        *,
        lr: float = 0.1,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-3,
        weight_decay: float = 0.0,
        decay_norms: bool = False,
    ) -> Optimizer:
        """Build AvaGrad (Savarese et al., CVPR 2021)."""
        _check(lr=lr)
        _check_above(epsilon=epsilon)
        groups = parameter_groups(parameters, weight_decay=weight_decay, decay_norms=decay_norms)
        return optimizer(groups, lr=lr, betas=_betas(beta1, beta2), eps=epsilon)

    return build


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": sgd,
    "adam": adam,
    "adamw": adamw,
    "rmsprop": rmsprop,
    "adagrad": adagrad,
    "avagrad": _avagrad(AvaGrad),
    "avagradw": _avagrad(AvaGradW),
}


def build_optimizer(parameters: Parameters, config: Mapping[str, Any]) -> Optimizer:
    """Build the optimiser of a config.

    Args:
        parameters: A module, its parameters, or parameter groups.
        config: `{name: sgd, lr: 0.1, ...}`: a name in `OPTIMIZERS` and keyword arguments of its function; or
            `{_target_: torch.optim.NAdam, lr: 0.1, ...}`, anybody's class, which gets the parameters first.
            `weight_decay` leaves one-dimensional parameters (norms, biases) alone unless `decay_norms` is true.

    Raises:
        ValueError: The name or a key is unknown, or a value is out of its range.
    """
    if config.get(KEY):
        return _foreign(parameters, config)
    if "name" not in config:
        raise ArgumentError("name", f"is not set. Choose one of ({', '.join(OPTIMIZERS)}).")
    name = choose("name", config["name"], OPTIMIZERS)
    options = {key: value for key, value in config.items() if key != "name"}
    siblings = {key for optimizer in OPTIMIZERS.values() for key in names(optimizer)}
    provided = {"parameters": parameters}
    return OPTIMIZERS[name](**accept(OPTIMIZERS[name], options, name=name, provided=provided, siblings=siblings))


def slowed(config: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """Return the config of the same optimiser at a factor of its rate; one of the user's own may have none to set."""
    defaults = build_optimizer([torch.nn.Parameter(torch.zeros(1))], config).defaults
    can_be_set = not config.get(KEY) or "lr" in names(located(config[KEY]))
    return {**config, **({"lr": factor * defaults["lr"]} if can_be_set and "lr" in defaults else {})}


def _foreign(parameters: Parameters, config: Mapping[str, Any]) -> Optimizer:
    """Build the user's own optimiser."""
    path, target = config[KEY], located(config[KEY])
    first, options = leading(target, 1), options_of(config, target, "decay_norms")
    arguments = accept(target, options, name=str(path), provided=dict.fromkeys(first))
    decay = {"weight_decay": options.get("weight_decay", 0.0), "decay_norms": config.get("decay_norms", False)}
    groups = parameter_groups(parameters, **decay)
    if not decay["weight_decay"]:
        groups = [{key: value for key, value in group.items() if key != "weight_decay"} for group in groups]
    optimizer = run(path, target, {key: value for key, value in arguments.items() if key not in first}, groups)
    if not isinstance(optimizer, Optimizer):
        raise ArgumentError(KEY, f"must build a torch.optim.Optimizer, but {path} gave {type(optimizer).__name__}.")
    return optimizer


def _check(**values: float) -> None:
    for name, value in values.items():
        within(name, value, 0, float("inf"))


def _check_above(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < float("inf"):
            raise ArgumentError(name, f"must be above 0 and finite, but got {value}.")


def _betas(beta1: float, beta2: float) -> tuple[float, float]:
    within("beta1", beta1, 0, 1)
    within("beta2", beta2, 0, 1)
    return beta1, beta2
