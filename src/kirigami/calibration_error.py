"""How far confidence is from accuracy: a metric of tasks, and what the calibration of a network is judged by."""

import torch
from torch import Tensor

BINS = 15


def expected_calibration_error(confidence: Tensor, right: Tensor) -> float:
    """Return the mean gap between confidence and accuracy over 15 bins of equal width.

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, equation 3.

    Args:
        confidence: the probability of each answer (N,).
        right: whether it was right (N,).
    """
    gaps = (right.to(confidence.dtype) - confidence).cpu().double()
    bins = (confidence.cpu() * BINS).ceil().long().clamp(1, BINS) - 1
    return float(torch.bincount(bins, gaps, minlength=BINS).abs().sum()) / len(gaps)
