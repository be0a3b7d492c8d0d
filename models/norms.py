"""Statistics of batch norms, measured again after the weights before them have changed."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from kirigami.several import run


@torch.no_grad()
def reestimate(network: nn.Module, batches: Iterable[Any]) -> int:
    """Set the running mean and variance of every batch norm to their plain averages over batches.

    Only the norms are in training mode meanwhile, so that dropout stays off; no parameter changes, and modes and
    momenta are what they were afterwards.

    Args:
        network: any module.
        batches: batches of inputs, or tuples that begin with them, as training sees them.

    Returns:
        The number of norms re-estimated; without any, no batch is read.

    Raises:
        ValueError: where there is no batch.
    """
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        return 0
    modes = {module: module.training for module in network.modules()}
    momenta = [norm.momentum for norm in norms]
    saved = [{name: buffer.clone() for name, buffer in norm.named_buffers()} for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the cumulative average
        norm.train()
    seen = 0
    try:
        for batch in batches:
            run(network, batch[0] if isinstance(batch, tuple | list) else batch)
            seen += 1
    finally:
        for module, mode in modes.items():
            module.training = mode
        for norm, momentum, buffers in zip(norms, momenta, saved, strict=True):
            norm.momentum = momentum
            if not seen:
                norm.load_state_dict(buffers, strict=False)
    if not seen:
        raise ValueError("reestimate needs a batch at least, but got none.")
    return len(norms)
