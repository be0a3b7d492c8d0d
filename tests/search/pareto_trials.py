"""Trials of two objectives in nine reports, and the rungs at which a pruner judges them."""

from kirigami.search.config.settings import Proposal
from kirigami.search.proposal.halving import Halving

RUNGS = Halving(((1, 3),), (1,), 3)


def pruner_of(**settings):
    return Proposal.read({"pruner": settings}).pruner


def trade(config):
    """Report a loss that falls with the size, and a share of the trials that are worse than they need be."""
    for epoch in range(1, 10):
        yield epoch, {"loss": 1 / config["y"] + config["x"] + 1 / epoch, "size": float(config["y"])}


def comes(values):
    """Return a runner whose trials report the values given to them, in order of asking, at each of nine epochs."""
    left = iter(values)

    def evaluate(config):
        loss, size = next(left)
        for epoch in range(1, 10):
            yield epoch, {"loss": loss, "size": size}

    return evaluate
