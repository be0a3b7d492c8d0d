"""The hidden layers in closed form, one after the other, each fitted to random mixtures of the targets."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from kirigami.models.initial.features import check_own, encode, inputs_of, is_linear_map, rows
from kirigami.models.initial.ridge import Moments
from kirigami.models.norms import reestimate

ROWS = 50_000
"""Rows (samples, positions or patches) by which a hidden layer is fitted: its targets are rough anyway."""


def fit_hidden(
    network: nn.Module,
    name: str,
    batches: Iterable[tuple[Tensor, Tensor]],
    kind: str,
    head: nn.Module,
    share: float,
    ridge: float | None,
    generator: torch.Generator,
) -> bool:
    """Fit a share of one layer's units to random mixtures of the targets; the others keep their random weights.

    With targets T (R, k) and a random matrix M (k, units), the units' weights are the ridge regression of T M on what
    reaches the layer, scaled to the spread of the layer's random units, with random offsets where it has a bias: so
    that each cuts the line of its mixture elsewhere. Fitting hidden layers to projected labels is the idea of Zhuang,
    Lin & Toh ("Correlation Projection for Analytic Learning of a Classification Network", Neural Processing Letters
    2021); theirs inverts the activation and fits all units. In a convolution each patch has its image's targets.

    Returns:
        Whether it was fitted: layers whose rows are no multiple of the targets, and grouped or one-dimensional
        convolutions, are left as they are.

    Raises:
        ValueError: where a technique computes the layer's weight.
    """
    layer = network.get_submodule(name)
    weight = layer.weight
    units = round(share * weight.shape[0])  # type: ignore[index, union-attr]
    if not is_linear_map(layer) or not units:
        return False
    check_own(name, layer)
    reestimate(network, batches)
    outputs = head.weight.shape[0]  # type: ignore[index, union-attr]
    mixture = torch.randn(outputs, units, generator=generator, dtype=torch.float64).to(weight.device)
    moments, sample = Moments(), None
    for inputs, targets in batches:
        features = rows(layer, inputs_of(network, layer, inputs)).double()
        encoded = encode(targets, kind, outputs)
        if len(features) % len(encoded):
            return False
        moments.add(features, (encoded @ mixture).repeat_interleave(len(features) // len(encoded), 0))
        sample = features if sample is None else sample
        if moments.rows >= ROWS:
            break
    assert sample is not None
    solution = moments.solve(ridge)
    _install(layer, solution.weight, sample, generator)
    return True


def _install(layer: nn.Module, fitted: Tensor, sample: Tensor, generator: torch.Generator) -> None:
    """Replace the first units by the fitted ones, scaled to the layer's deviation over the sample (R, d)."""
    weight, bias = layer.weight, layer.bias
    count, flat = len(fitted), weight.flatten(1).double()  # type: ignore[operator, union-attr]
    spread = (sample @ flat.T).std(0).mean()
    outputs = sample @ fitted.T
    factor = spread / outputs.std(0).clamp(min=1e-12)
    weight[:count].copy_((fitted * factor[:, None]).reshape(weight[:count].shape))  # type: ignore[index, operator, union-attr]
    if bias is not None:
        offsets = torch.randn(count, generator=generator, dtype=torch.float64).to(fitted.device)
        bias[:count].copy_(spread * offsets - factor * outputs.mean(0))  # type: ignore[index, operator, union-attr]
