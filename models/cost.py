"""What a network costs before it is trained: multiplications for one sample, and parameters."""

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def macs(network: nn.Module, inputs: Tensor) -> int:
    """Count the multiply-accumulates of a forward pass for one sample.

    Matrix products, convolutions and attention count; sums, norms and activations do not. The network is left in the
    mode it was in.

    Args:
        network: any module.
        inputs: a batch (N, ...) whose first sample is used.
    """
    training = network.training
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network.eval()(inputs[:1])
    finally:
        network.train(training)
    return int(counter.get_total_flops()) // 2


def parameters(network: nn.Module) -> int:
    """Count the parameters, a shared one once."""
    return sum(parameter.numel() for parameter in network.parameters())
