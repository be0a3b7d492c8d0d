"""Fold pressure: pull the coefficients of layers that are meant to fold towards one line."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from kirigami.models.sharing.bank import row_of
from kirigami.models.sharing.groups import Clusters


def distance(layers: Mapping[str, nn.Module], clusters: Clusters) -> Tensor:
    """Return the mean of 1 - S^2 over all pairs of layers inside the clusters: 0 where all can fold, at most 1.

    Args:
        layers: layers that share, by name.
        clusters: names of layers of one bank each, at least one of them with two layers.
    """
    terms, pairs = [], 0
    for cluster in clusters:
        unit = nn.functional.normalize(torch.stack([row_of(layers[name]) for name in cluster]), dim=1)
        terms.append(len(cluster) ** 2 - (unit @ unit.T).square().sum())
        pairs += len(cluster) * (len(cluster) - 1)
    return torch.stack(terms).sum() / pairs
