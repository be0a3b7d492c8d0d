"""Initialisation of new units: copies, zeros with random directions or GradMax's, or the best of many by Firefly."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from kirigami.arguments import at_least
from kirigami.models.growth.place import TINY, Ground, install, length, normal, silent, slopes, unit
from kirigami.models.growth.view import blocks, matrix, mean_loss, trial
from kirigami.models.structure import Units, widen

# Deviation of a copy from its unit, in units of the incoming weights' deviation.
NOISE = 1e-2
# Outgoing weights that are tried at once while GradMax takes its derivative.
CHUNK = 256


def net2wider(
    network: nn.Module,
    units: Units,
    count: int,
    *,
    noise: float = 0.0,
    generator: torch.Generator | None = None,
    optimizer: Optimizer | Sequence[Optimizer] = (),
) -> None:
    """Add copies of random units, and divide a unit's outgoing weights among it and its copies (Net2WiderNet).

    Without noise the function stays the same, whatever the activation; but then a unit and its copies also learn the
    same, unless dropout parts them.

    Args:
        network: in which the units were found.
        units: to widen, of `kirigami.models.structure.units`.
        count: of new units, at least 1.
        noise: standard deviation of the noise on the copies' incoming weights, in units of that of the weights.
        generator: of the lot and the noise, on the CPU; None takes the global one.
        optimizer: the optimiser, or several, that train the network.

    Raises:
        ValueError: where a number is out of its range.

    Source: Chen, Goodfellow & Shlens, Net2Net, ICLR 2016.
    """
    at_least("count", count, 1)
    at_least("noise", noise, 0)
    sources = torch.randint(0, units.count, (count,), generator=generator)
    incoming = matrix(network, units, "out", sources.tolist())
    moved = incoming + noise * incoming.std() * torch.randn(incoming.shape, generator=generator).to(incoming)
    noisy = blocks(network, units, "out", moved) if noise else None
    widen(network, units, sources, incoming=noisy, optimizer=optimizer)


def split(ground: Ground, units: Units, count: int) -> None:
    """Add copies of random units, with a little noise, so that they diverge; see `net2wider`."""
    optimizers, generator = ground.optimizers, ground.generator
    net2wider(ground.network, units, count, noise=NOISE, generator=generator, optimizer=optimizers)


def random(ground: Ground, units: Units, count: int) -> None:
    """Add silent units whose outgoing weights have random directions: the control for GradMax.

    Incoming weights are 0, or behind a norm random with a scale of 0, so that the function stays the same.

    Raises:
        ValueError: see `gradmax`.
    """
    _, width = matrix(ground.network, units, "out").shape
    outgoing = normal((count, matrix(ground.network, units, "in").shape[1]), ground)
    silent(ground, units, normal((count, width), ground), outgoing)


def gradmax(ground: Ground, units: Units, count: int) -> None:
    """Add silent units that will learn fastest: the outgoing weights for which the gradient's norm is the largest.

    With incoming weights of 0, their gradient is linear in the outgoing weights u: it is A'u. So the best are the top
    left singular vectors of A = sum over rows and places of dL/dz h', z what is read into and h what the unit reads.
    A is taken by automatic differentiation, exactly, through pooling, flattening and several readers too. Behind a
    norm a unit of zeros would have no variance to divide by: there the incoming weights are the right singular
    vectors, and the norm's scale is 0 in their place. Vectors beyond A's rank repeat the first ones, turned round.

    Source: Evci et al., GradMax: Growing Neural Networks using Gradient Information, ICLR 2022; norms are ours.

    Raises:
        ValueError: where there is neither bias nor norm for a unit to begin silent by, or it cannot be silent since
            the activation is not 0 at 0, or cannot learn since its slope is.
    """
    left, values, right = torch.linalg.svd(derivative(ground, units), full_matrices=False)
    if not values[0] > 0:
        raise ValueError(
            f"units of {units.name} have no gradient where they are 0, so gradmax has nothing to choose by. "
            "Choose init=split or init=firefly."
        )
    rank = int((values > 1e-6 * values[0]).sum())
    places = torch.arange(count)
    signs = (1 - 2 * ((places // rank) % 2)).unsqueeze(1).to(left)
    silent(ground, units, right[places % rank], signs * left.T[places % rank])


def firefly(ground: Ground, units: Units, count: int, pool: int = 4, rounds: int = 3, step: float = 0.3) -> None:
    """Add the best of many candidate units: those by whose gate, still closed, the loss would fall fastest.

    Candidates begin at random incoming weights. With outgoing weights e u, |u| = 1, the loss changes by e <dL/du, u>
    at e = 0, so a candidate's best direction is -dL/du, and its score |dL/du|. Some steps of gradient descent move
    the incoming weights towards higher scores. The best are kept, with the largest e, from `Ground.scale` downwards
    by halves, at which the loss does not rise. The function changes, for the better as far as the batches say.

    Args:
        ground: see `Ground`.
        units: to widen.
        count: of new units.
        pool: candidates for each new unit.
        rounds: steps of the incoming weights.
        step: their length, in units of the weights' norm.

    Source: Wu, Liu, Stone & Liu, Firefly Neural Architecture Descent, NeurIPS 2020; theirs
    also splits units that are there, and trains outgoing weights along with the incoming ones.
    """
    network, many = ground.network, pool * count
    size = length(network, units, "out")
    inward = unit(normal((many, matrix(network, units, "out").shape[1]), ground))
    outward = torch.zeros(many, matrix(network, units, "in").shape[1])
    for turn in range(rounds + 1):
        outward = -slopes(ground, units, size * inward, torch.zeros_like(outward), "in").cpu()
        if turn < rounds:
            probe = 1e-2 * length(network, units, "in") * unit(outward)
            inward = unit(inward - step * unit(slopes(ground, units, size * inward, probe, "out").cpu()))
    best = outward.norm(dim=1).argsort(descending=True)[:count]
    inward, outward = size * inward[best], length(network, units, "in") * unit(outward[best])
    before, share = mean_loss(network, ground.loss, ground.batches), ground.scale
    for _ in range(8):
        with trial(network, units):
            install(ground, units, inward, share * outward)
            if mean_loss(network, ground.loss, ground.batches) <= before:
                break
        share /= 2
    install(ground, units, inward, share * outward, ground.optimizers)


INITS: dict[str, Callable[..., None]] = {"split": split, "random": random, "gradmax": gradmax, "firefly": firefly}


def derivative(ground: Ground, units: Units) -> Tensor:
    """Return A: row i is the gradient of a new unit's incoming weights, all 0, if its outgoing weights are the i-th of
    the standard basis: (outgoing weights, incoming weights).

    It is taken in evaluation mode, where the norms are fixed maps; those of the new unit map it to itself.
    """
    network = ground.network
    entries = matrix(network, units, "in").shape[1]
    zeros = torch.zeros(1, matrix(network, units, "out").shape[1])
    parts = []
    for begin in range(0, entries, CHUNK):
        basis = torch.eye(entries)[begin : begin + CHUNK]
        parts.append(slopes(ground, units, zeros.expand(len(basis), -1), basis, "out", bias=TINY))
    return torch.cat(parts)
