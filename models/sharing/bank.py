"""A bank of templates that a group of layers mixes, and the link that mixes them (Savarese & Maire, ICLR 2019)."""

from typing import final

import torch
from torch import Tensor, nn

from kirigami.models.technique import Link, chain, weighted


class Bank(nn.Module):
    """Hold the templates (k, *weight shape) of one group; one module, so that they are counted and stored once."""

    def __init__(self, templates: Tensor) -> None:
        super().__init__()
        self.templates = nn.Parameter(templates)

    def mix(self, row: Tensor) -> Tensor:
        """Return the weight sum_j row_j T(j) (equation 1 of the paper) for a row (k,) of coefficients."""
        return (row @ self.templates.flatten(1)).reshape(self.templates.shape[1:])


@final
class Mix(Link):
    """Compute a layer's weight as a mix of its bank's templates; the layer's own parameter becomes the row (k,).

    Args:
        bank: the templates, shared with the other layers of the group.
        row: the coefficients to begin with.
    """

    stage = "share"

    def __init__(self, bank: Bank, row: Tensor) -> None:
        super().__init__()
        self.bank = bank
        self._first: Tensor | None = row

    def forward(self, row: Tensor) -> Tensor:
        """Map coefficients (k,) to the weight."""
        return self.bank.mix(row)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Return the row to begin with when the link is added; later the row whose mix comes nearest to `weight`."""
        if self._first is not None:
            row, self._first = self._first, None
            return row.detach().to(weight, copy=True)
        return torch.linalg.lstsq(self.bank.templates.flatten(1).T, weight.reshape(-1, 1)).solution.flatten()

    def parts(self, weight: Tensor) -> dict[str, Tensor]:
        """Return the row and the templates; the latter are the same tensor for every layer of the group."""
        return {"coefficients": weight, "templates": self.bank.templates}


def draw_templates(weight: Tensor, templates: int, generator: torch.Generator) -> Tensor:
    """Draw Kaiming-normal templates (k, *weight shape), each as if it were the whole weight (He et al., 2015)."""
    shape = (templates, *weight.shape)
    if weight.is_meta:
        return torch.empty(shape, dtype=weight.dtype, device="meta")
    drawn = torch.empty(shape)
    for template in drawn:
        nn.init.kaiming_normal_(template, nonlinearity="relu", generator=generator)
    return drawn.to(weight)


def draw_coefficients(layers: int, templates: int, generator: torch.Generator) -> Tensor:
    """Draw coefficients (L, k): an orthogonal matrix, columns orthogonal (k <= L), its rows set to length 1.

    With orthogonal columns the rows' lengths differ, so some layers would start with small weights and a network
    without norms would fade. Rows of length 1 give every layer the variance of a Kaiming-normal weight; their
    directions, all that similarity sees, stay those of the orthogonal draw.
    """
    assert 1 <= templates <= layers, f"{templates} templates for {layers} layers"
    normal = torch.randn(layers, templates, generator=generator, dtype=torch.float64)
    return nn.functional.normalize(torch.linalg.qr(normal).Q, dim=-1).float()


def banks(network: nn.Module) -> dict[str, dict[str, nn.Module]]:
    """Return the layers {name: layer} of every bank in a network, by the name of the bank's first layer."""
    by_bank: dict[int, dict[str, nn.Module]] = {}
    for name, layer in weighted(network):
        link = next((link for link in chain(layer) if isinstance(link, Mix)), None)
        if link is not None:
            by_bank.setdefault(id(link.bank), {})[name] = layer
    return {next(iter(layers)): layers for layers in by_bank.values()}


def mix_of(layer: nn.Module) -> Mix:
    """Return the link of a layer that shares."""
    return layer.parametrizations.weight[0]


def bank_of(layer: nn.Module) -> Bank:
    """Return the bank that a layer mixes."""
    return mix_of(layer).bank


def row_of(layer: nn.Module) -> nn.Parameter:
    """Return the coefficients (k,) of a layer that shares."""
    return layer.parametrizations.weight.original


def rows_of(layers: dict[str, nn.Module]) -> Tensor:
    """Return the coefficients (L, k) of a bank's layers."""
    return torch.stack([row_of(layer) for layer in layers.values()])
