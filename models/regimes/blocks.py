"""Find the blocks of a network for block-wise training: one at each layer with weights, or at named modules."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from kirigami.errors import ArgumentError, did_you_mean
from kirigami.models.cost import evaluating
from kirigami.models.regimes.calls import Call, runs, watch
from kirigami.models.regimes.chain import Chain

AUTO = "auto"


def find(network: nn.Module, inputs: Tensor, blocks: str | Sequence[str] = AUTO, layers: int = 1) -> Chain:
    """Return a network as a chain of blocks.

    Args:
        network: any module whose parts are called in sequence, each with the output of the one before. What comes
            before the first and after the last may be any code; a residual block is one part.
        inputs: (N, ...), of which a few rows are run.
        blocks: dotted names of the modules at which blocks begin, or "auto": at every layer with weights, or residual
            block, but the output layer, which belongs to the last block.
        layers: layers with weights, or residual blocks, in a block of "auto".

    Raises:
        ValueError: where there are not two blocks, or those named are no chain.
    """
    inputs = inputs[:4]
    root = watch(network, inputs)
    call_runs = runs(root)
    if isinstance(blocks, str):
        if blocks != AUTO:
            raise ArgumentError("blocks", f"must be auto or a list of names, but got {blocks!r}.")
        run = max(call_runs, key=lambda calls: sum(call.weighted for call in calls), default=[])
        starts = _automatic(run, layers, whole=bool(run) and run[-1].result is root.result)
        problem = f"blocks=auto finds {len(starts)} of the 2 or more blocks it takes in {_kind(network)}"
    else:
        run, starts = _named(network, call_runs, list(blocks))
        problem = f"blocks={list(blocks)} is no chain in {_kind(network)}"
    chain = _chain(network, root, run, starts, inputs) if len(starts) > 1 else None
    if chain is None or not _same(chain, inputs):
        problem += ": modules called one after the other, each with what the one before gave."
        raise ArgumentError("", problem, None if isinstance(blocks, str) else ("blocks", AUTO))
    return chain


def _automatic(run: list[Call], layers: int, whole: bool) -> list[int]:
    """Return the indices of the calls at which blocks begin; the output layer begins none."""
    weighted = [place for place, call in enumerate(run) if call.weighted]
    starts = (weighted[:-1] if whole else weighted)[::layers]
    return [0, *starts[1:]]


def _named(network: nn.Module, call_runs: list[list[Call]], names: list[str]) -> tuple[list[Call], list[int]]:
    """Return the run of calls that has all named modules, and their indices; the first block begins with the run."""
    modules = dict(network.named_modules())
    for name in names:
        if name not in modules or not name:
            raise ArgumentError(
                "blocks",
                f": {name!r} must be a module of {_kind(network)}, but there is none of this name."
                f"{did_you_mean(name, modules)}",
                ("blocks", "auto"),
            )
    for run in call_runs:
        places = [_place(run, name) for name in names]
        inside = [place for place in places if place is not None]
        if len(inside) == len(places) and all(earlier < later for earlier, later in pairwise(inside)):
            return run, [0, *inside[1:]]
    return [], []


def _place(run: list[Call], name: str) -> int | None:
    """Return the index of the first call of a module, or of its parts, in a run."""
    return next((place for place, call in enumerate(run) if f"{call.name}.".startswith(f"{name}.")), None)


def _chain(network: nn.Module, root: Call, run: list[Call], starts: list[int], inputs: Tensor) -> Chain | None:
    """Return the chain, or None if its end cannot be run by itself."""
    names = [call.name for call in run]
    order = [call for part in root.inner for call in _flat(part)]
    before = [call for call in order[: order.index(run[0])] if run[0] not in _flat(call)]
    inside = [call for outer in run for call in _flat(outer)]
    after = [call.module for call in order[order.index(run[-1]) :] if call not in inside]
    whole = run[-1].result is root.result
    if not whole and (before or len(set(names)) < len(names)):
        return None  # the network's own code computes the outputs, and would run the earlier modules again
    return Chain(network, names, starts, inputs, direct=run[0].input is root.input, whole=whole, after=after)


def _flat(call: Call) -> list[Call]:
    """Return a call and all inside it, in order."""
    return [call, *[other for part in call.inner for other in _flat(part)]]


def _same(chain: Chain, inputs: Tensor) -> bool:
    """Tell whether the blocks in sequence compute the network's outputs."""
    with evaluating(chain.network), torch.no_grad():
        expected = chain.network(inputs)
        for cut in {1, len(chain) - 1}:
            try:
                outputs = chain.run(chain.run(inputs, 0, cut - 1), cut, len(chain) - 1)
            except (RuntimeError, IndexError, TypeError, ValueError):  # code after the blocks that wants the inputs
                return False
            if outputs.shape != expected.shape or not torch.allclose(outputs, expected, rtol=1e-3, atol=1e-5):
                return False
    return True


def _kind(network: nn.Module) -> str:
    return type(network).__name__
