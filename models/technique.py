"""What every technique is: a Lightning callback over torch parametrizations, soft while it trains, hard at the end.

A layer's effective weight is a chain, always in this order: mix of templates -> mask -> quantiser. Each technique adds
its link to the weights it takes on, drives it from soft to hard with the progress of training, and fixes it at a share
of the run; the rest fine-tunes the final form. It needs no cooperation, so it works on anybody's network:

    Trainer(callbacks=[ContinuousSparsification(density=0.1)]).fit(module, batches)
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from kirigami.errors import ArgumentError

ORDER = ("share", "mask", "quantise")
WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class Link(nn.Module):
    """One link in the chain of a weight: maps it to what the next link, or the layer, sees.

    A subclass gives `stage`, its place in `ORDER`, a pure `forward`, which looks at `hard`, and `parts`.
    """

    stage: str

    def __init__(self) -> None:
        super().__init__()
        self.hard = False

    def harden(self) -> None:
        """Fix the link: from now on it computes its final form, in training too."""
        self.hard = True

    def parts(self, weight: Tensor) -> dict[str, Tensor]:
        """Return what has to be stored to compute the hard form of the incoming weight again."""
        raise NotImplementedError

    def get_extra_state(self) -> Tensor:
        """Save whether the link is hard with its tensors; as a tensor, since files of tensors take nothing else."""
        return torch.tensor(self.hard)

    def set_extra_state(self, state: Tensor) -> None:
        """Restore whether the link is hard."""
        self.hard = bool(state)


@dataclass(frozen=True)
class Least:
    """The least that a technique can leave of the weights it takes on.

    Attributes:
        density: share of the weights, in (0, 1].
        bits: of a weight that stays, from 1; None where it stays as it is.
    """

    density: float = 1.0
    bits: float | None = None


class Technique(Callback):
    """Base of all techniques; a subclass says which links it adds and how training drives them.

    Obligations of a subclass: `link` makes the link of one layer; it may override `penalty`, `advance`, `settings`
    and `report`. `shrinks` tells whether training may take away weights for good, so that what the network costs is
    known only at the end. What a run has to know to go on from a checkpoint, besides the network's tensors, is in
    `state_dict`; while that does not do, `resumable` is false.

    Args:
        names: dotted names of the layers to take on; by default every linear and convolutional layer but the last,
            where compression costs most for what it saves.
        harden_at: share of the run after which the links are hard and the rest is fine-tuning, in (0, 1].

    Raises:
        ValueError: where `harden_at` is out of its range.
    """

    shrinks = False

    def __init__(self, names: Iterable[str] | None = None, harden_at: float = 0.7) -> None:
        if not 0 < harden_at <= 1:
            raise ArgumentError("harden_at", f"must be above 0 and at most 1, but got {harden_at!r}.")
        self.names = None if names is None else tuple(names)
        self.harden_at = harden_at
        self.network: nn.Module | None = None
        self.links: dict[str, Link] = {}
        self.layers: dict[str, nn.Module] = {}

    def link(self, name: str, layer: nn.Module) -> Link:
        """Make the link for one layer's weight."""
        raise NotImplementedError

    def penalty(self) -> Tensor | None:
        """Return what is added to the loss at this step while the links are soft; nothing by default."""
        return None

    def advance(self, progress: float) -> None:
        """Follow the soft part of the run, from 0 at its first step to 1 at its end; nothing by default."""

    def settings(self) -> dict[str, Any]:
        """Return what differs for the links' own parameters in the optimiser; `lr_scale` multiplies the rate."""
        return {"weight_decay": 0.0}

    def own(self) -> list[nn.Parameter]:
        """Return the parameters that `settings` holds for: by default those of the links."""
        return [parameter for link in self.links.values() for parameter in link.parameters()]

    def report(self) -> dict[str, float]:
        """Return figures of the state reached, such as `density` or `bits`; nothing by default."""
        return {}

    def tables(self) -> dict[str, Any]:
        """Return what else the state reached shows, such as matrices, as JSON can hold it; nothing by default."""
        return {}

    def figures(self) -> dict[str, Any]:
        """Return all that a study keeps of the state reached, as JSON can hold it: `report` and `tables`."""
        return {**{name: float(value) for name, value in self.report().items()}, **self.tables()}

    def least(self) -> Least:
        """Return the least density and bits that training can come to; by default every weight stays as it is."""
        return Least()

    def recipe(self) -> dict[str, Any]:
        """Return what `restore` needs, besides the technique's arguments, as JSON can hold it; nothing by default."""
        return {}

    def restore(self, network: nn.Module, recipe: Mapping[str, Any]) -> None:
        """Bring a freshly built network to the hard form in which the weights of a trained one can be loaded."""
        self.attach(network)
        self.harden()

    def attach(self, network: nn.Module) -> None:
        """Add the links to a network's layers; once, however often it is called.

        Raises:
            ValueError: where a name is no such layer, no layer is left, the order of the chain would be broken, or
                this technique has another network already.
        """
        if self.network is network:
            return
        if self.network is not None:
            raise ValueError(f"{type(self).__name__} is attached to another network. Make a new one for this network.")
        self.layers = chosen(network, self.names)
        made = {name: self.link(name, layer) for name, layer in self.layers.items()}
        for name, link in made.items():
            check_order(name, self.layers[name], link)
        for name, link in made.items():
            parametrize.register_parametrization(self.layers[name], "weight", link.to(self.layers[name].weight.device))
        self.links, self.network = made, network

    def check(self) -> None:
        """Refuse, when all techniques are attached, what does not go together; nothing by default.

        Raises:
            ValueError: saying why.
        """

    def harden(self) -> None:
        """Fix every link; training may go on, with the chain in its final form."""
        for link in self.links.values():
            link.harden()

    @property
    def hard(self) -> bool:
        """Whether the links are fixed."""
        return all(link.hard for link in self.links.values())

    @property
    def resumable(self) -> bool:
        """Whether a run that goes on from the network's tensors and `state_dict` now is the same to the bit."""
        return True

    # Lightning's hooks.

    @property
    def state_key(self) -> str:
        """Under which a checkpoint keeps the state: two techniques of a kind may take on different layers."""
        return f"{type(self).__qualname__}({', '.join(self.names or ())})"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Attach before the optimisers are made, so that they see the links' parameters."""
        self.attach(network_of(pl_module))

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the links' parameters settings of their own: above all, no weight decay."""
        schedules = [one.scheduler for one in trainer.lr_scheduler_configs if isinstance(one.scheduler, LRScheduler)]
        for optimizer in trainer.optimizers:
            mine = [schedule for schedule in schedules if schedule.optimizer is optimizer]
            regroup(optimizer, mine, self.own(), self.settings())

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Drive the links, and fix them when their share of the run is over."""
        progress = progress_of(trainer)
        if not self.hard:
            self.advance(min(1.0, progress / self.harden_at))
            if progress >= self.harden_at:
                self.harden()

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Add the penalty's gradient: a callback cannot reach into somebody's loss."""
        penalty = None if self.hard else self.penalty()
        if penalty is None:
            return
        if trainer.world_size == 1:
            penalty.backward()
        else:
            add_gradient(penalty, pl_module)


def network_of(module: LightningModule) -> nn.Module:
    """Return the network inside a module that holds one under `network`, else the module itself."""
    network = getattr(module, "network", None)
    return network if isinstance(network, nn.Module) else module


def add_gradient(value: Tensor, module: nn.Module) -> None:
    """Add a value's gradient to that of a module's parameters, as `backward` does, unseen by what waits for gradients.

    DDP has done with the step, and would take a second `backward` for a part of the next one.
    """
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter, found in zip(trained, torch.autograd.grad(value, trained, allow_unused=True), strict=True):
        if found is not None:
            parameter.grad = found if parameter.grad is None else parameter.grad + found


def loss_of(module: LightningModule) -> Callable[[Any], Tensor]:
    """Return the function from a batch to the module's training loss, with a graph, and without its logging."""

    def loss(batch: Any) -> Tensor:
        silent = {name: module.__dict__.get(name) for name in ("log", "log_dict")}
        module.__dict__.update(log=_nothing, log_dict=_nothing)
        try:
            found = module.training_step(batch, 0)
        finally:
            for name, before in silent.items():
                module.__dict__.pop(name)
                if before is not None:
                    module.__dict__[name] = before
        return found["loss"] if isinstance(found, Mapping) else found

    return loss


def batches_of(trainer: Trainer, most: int) -> list[Any]:
    """Return the first batches of a pass over the training rows, at most so many, on the trainer's device."""
    module = trainer.lightning_module
    found = islice(iter(trainer.train_dataloader), most)
    return [module.transfer_batch_to_device(batch, module.device, 0) for batch in found]


def _nothing(*_: Any, **__: Any) -> None:
    """Stand in for a module's logging."""


def weighted(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield (name, layer) of every linear and convolutional layer, in order of registration."""
    for name, layer in network.named_modules():
        if isinstance(layer, WEIGHTED):
            yield name, layer


def stored_parameters(network: nn.Module) -> int:
    """Return the parameters of a network without those of links that only train; templates are stored."""
    links = {id(link): link for _, layer in weighted(network) for link in chain(layer) if link.stage != "share"}
    training = {id(own) for link in links.values() for own in link.parameters()}
    return sum(parameter.numel() for parameter in network.parameters() if id(parameter) not in training)


def chosen(network: nn.Module, names: Iterable[str] | None) -> dict[str, nn.Module]:
    """Return the layers of the names, or by default all weighted layers but the last.

    Raises:
        ValueError: where a name is no linear or convolutional layer, or no layer is left.
    """
    layers = dict(weighted(network))
    if names is None:
        found = dict(list(layers.items())[:-1])
        if not found:
            raise ValueError(f"{type(network).__name__} has no linear or convolutional layer besides its last one.")
        return found
    for name in names:
        if name not in layers:
            raise ValueError(f"{name!r} must name a linear or convolutional layer, one of ({', '.join(layers)}).")
    return {name: layers[name] for name in names}


def chain(layer: nn.Module) -> list[Link]:
    """Return the links of a layer's weight, in order."""
    if not parametrize.is_parametrized(layer, "weight"):
        return []
    return [link for link in layer.parametrizations.weight if isinstance(link, Link)]


def check_order(name: str, layer: nn.Module, link: Link) -> None:
    """Refuse a link that would stand before one that is there already, or twice.

    Raises:
        ValueError: naming both stages and the order.
    """
    for other in chain(layer):
        if ORDER.index(other.stage) >= ORDER.index(link.stage):
            raise ValueError(
                f"layer {name!r} already has the link {other.stage!r}, and {link.stage!r} cannot follow it: "
                f"a weight is built in the order {' -> '.join(ORDER)}, each once."
            )


def regroup(
    optimizer: Optimizer,
    schedules: Iterable[LRScheduler],
    parameters: Iterable[nn.Parameter],
    settings: Mapping[str, Any],
) -> None:
    """Move parameters to a group of their own that differs from the first one by the settings, under its schedules.

    Parameters that the optimiser does not hold are left alone.
    """
    wanted = {id(parameter) for parameter in parameters}
    held = [p for group in optimizer.param_groups for p in group["params"] if id(p) in wanted]
    if not held:
        return
    for group in optimizer.param_groups:
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in wanted]
    own = dict(settings)
    scale = own.pop("lr_scale", 1.0)
    first = {key: value for key, value in optimizer.param_groups[0].items() if key != "params"}
    rates = {key: first[key] * scale for key in ("lr", "initial_lr", "max_lr", "min_lr") if key in first}
    optimizer.add_param_group({**first, **rates, **own, "params": held})
    for schedule in schedules:
        for name, factor in (("base_lrs", scale), ("_last_lr", scale), ("base_momenta", 1), ("lr_lambdas", None)):
            values = getattr(schedule, name, None)
            if isinstance(values, list) and values:
                values.append(values[0] if factor is None else values[0] * factor)


def progress_of(trainer: Trainer) -> float:
    """Return the share of the run's steps already done: 0 at the first step, 1 at the last."""
    return min(1.0, trainer.global_step / max(1.0, float(trainer.estimated_stepping_batches) - 1))
