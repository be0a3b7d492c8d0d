"""Rounds of training and pruning, and the winning tickets they find: small networks that train as well as large ones.

The functions know nothing of data or Trainers: the caller's `fit` trains the network, from the weights it has, for
one whole run with the callbacks it is given:

    def fit(callbacks):
        Trainer(max_epochs=20, callbacks=callbacks).fit(module, batches)

    technique = ContinuousSparsification(density=0.05, harden_at=1.0)
    winning_ticket(module.network, fit, technique, rounds=3)
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from kirigami.arguments import at_least, within
from kirigami.models.sparsity.continuous import ContinuousSparsification
from kirigami.models.sparsity.magnitude import MagnitudePruning
from kirigami.models.sparsity.mask import Mask, check_density
from kirigami.models.technique import network_of, progress_of

Fit = Callable[[Sequence[Callback]], object]
State = dict[str, Tensor]


class Snapshot(Callback):
    """Keep a network's weights and buffers as they are at a share of the run, without its masks.

    Args:
        at: share of the run, in [0, 1).

    Raises:
        ValueError: where `at` is out of its range.
    """

    def __init__(self, at: float = 0.04) -> None:
        within("at", at, 0, 1)
        self.at = at
        self.state: State | None = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Copy the state once, when its share of the run is over."""
        if self.state is None and progress_of(trainer, batch_idx) >= self.at:
            self.state = state_of(network_of(pl_module))


def winning_ticket(
    network: nn.Module,
    fit: Fit,
    technique: ContinuousSparsification,
    rounds: int = 3,
    rewind_at: float = 0.04,
) -> State:
    """Find a mask in rounds, rewind the weights to early in the first round, and train the remaining weights.

    Weights carry over from round to round; beta and the learning rate restart. With a density, each round prunes by
    the same factor. Training costs `rounds` + 1 runs.

    Args:
        network: with or without the technique attached.
        fit: trains the network for one whole run.
        technique: with `harden_at=1.0`, a round has no fine-tuning, as published.
        rounds: of training and pruning, at least 1.
        rewind_at: share of the first round to which weights and norms are rewound.

    Returns:
        The state to which the network was rewound.

    Raises:
        ValueError: where an argument is out of its range.
    """
    at_least("rounds", rounds, 1)
    snapshot, target = Snapshot(rewind_at), technique.density
    technique.attach(network)
    for index in range(1, rounds + 1):
        density = None if target is None else target ** (index / rounds)
        if index == 1:
            technique.density = density
        else:
            technique.restart(density)
        fit([technique, snapshot])
        technique.harden()
    assert snapshot.state is not None, "fit trained no step"
    rewind(network, snapshot.state)
    fit([technique])
    return snapshot.state


def iterative_magnitude(
    network: nn.Module,
    fit: Fit,
    density: float,
    rounds: int = 3,
    rewind_at: float | None = 0.04,
    names: Sequence[str] | None = None,
) -> MagnitudePruning:
    """Prune by magnitude in rounds, each by the same factor (Frankle & Carbin, ICLR 2019; rewinding: ICML 2020).

    Training costs `rounds` + 1 runs, the first of them dense.

    Args:
        network: to train and prune.
        fit: trains the network for one whole run.
        density: share of the masked weights' entries to keep in the end, in (0, 1].
        rounds: of pruning, at least 1.
        rewind_at: share of the first run to which the weights are rewound after each pruning; None lets them go on,
            which is iterative pruning with fine-tuning.
        names: see `Technique`.

    Returns:
        The technique that holds the masks.

    Raises:
        ValueError: where an argument is out of its range.
    """
    check_density(density)
    at_least("rounds", rounds, 1)
    technique = MagnitudePruning(density, names, harden_at=1.0)
    technique.attach(network)
    snapshot = Snapshot(rewind_at or 0.0)
    for link in technique.links.values():
        link.harden()  # the masks change between the runs only
    fit([technique, snapshot])
    for index in range(1, rounds + 1):
        technique.prune(density ** (index / rounds))
        if rewind_at is not None and snapshot.state is not None:
            rewind(network, snapshot.state)
        fit([technique])
    return technique


def state_of(network: nn.Module) -> State:
    """Copy a network's weights and buffers by their names, without the tensors of masks."""
    masks = tuple(f"{name}." for name, module in network.named_modules() if isinstance(module, Mask))
    places = dict(network.named_parameters()) | dict(network.named_buffers())
    return {name: value.detach().clone() for name, value in places.items() if not name.startswith(masks)}


def rewind(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Restore weights and buffers, and do not change the masks.

    Args:
        network: whose layers may have links.
        state: of `state_of`, or of a fresh network without links: then this is a random restart, the control for
            what the ticket's own weights are worth.

    Raises:
        ValueError: where an entry has no place in the network, or the network needs one that is missing.
    """
    places = dict(network.named_parameters()) | dict(network.named_buffers())
    tensors = {_place(name, places): value for name, value in state.items()}
    missing = sorted(set(state_of(network)) - set(tensors))
    if missing:
        raise ValueError(f"the state must hold every weight of the network, but has no {missing[0]!r}.")
    with torch.no_grad():
        for name, value in tensors.items():
            places[name].copy_(value)


def _place(name: str, places: Mapping[str, Tensor]) -> str:
    """Return the current name of an entry: a layer with links holds its weight under another name."""
    layer, _, leaf = name.rpartition(".")
    inner = f"{layer}.parametrizations.{leaf}.original"
    for place in (name, inner):
        if place in places:
            return place
    raise ValueError(f"the state has {name!r}, for which the network has no place.")
