"""Fit a network in closed form: random features, ridge regression for the last layer, and a cascade for those before.

A network with random hidden layers and a least-squares output layer is a random vector functional link (Pao, Park &
Sobajic, Neurocomputing 1994), also published as extreme learning machine (Huang, Zhu & Siew, 2006). Øland ("Efficient
Deep Learning", CMU-CS-24-147, 2024) fits multilayer perceptrons in closed form too; his exact form is not public, and
this is not it. His finding holds here as well: such a fit overfits, and is hungry for width.
"""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from kirigami.errors import ArgumentError, choose
from kirigami.models.cost import evaluating
from kirigami.models.initial.cascade import fit_hidden
from kirigami.models.initial.features import KINDS, Placed, calls, decode, encode, head_of, inputs_of, rows
from kirigami.models.initial.ridge import Moments, Solution
from kirigami.models.norms import reestimate
from kirigami.models.outputs import Loss
from kirigami.models.outputs import loss as build_loss

SAMPLE = 20_000
"""Rows by which the scale of the outputs is chosen, and the figures are measured."""


class ClosedForm:
    """Set a network's weights from the training rows, without a gradient and without a step.

    The hidden layers keep their random weights, or are fitted in part (`cascade`); running statistics of norms are
    measured; the last layer is the ridge regression of the targets on what reaches it, ±1 for classes, characters and
    pixels. For a loss on logits such outputs are too timid, so they are multiplied by the one number for which the
    loss of the *left-out* outputs is least (each row predicted without itself, in closed form): a temperature, folded
    into weight and bias. Outputs on the rows fitted would be far too bold, since the fit may interpolate them. With a
    cascade, hidden layers are fitted to half of the rows, and strength and scale are chosen by the other half, which
    those have not seen; the last layer then takes all rows.

    Args:
        ridge: strength in units of the features' mean variance, above 0; "auto" for the one that generalised
            cross-validation over the training rows prefers.
        cascade: share of each hidden layer's units that is fitted too, in [0, 1]; see `fit_hidden`.
        seed: of the cascade's projections.

    Raises:
        ValueError: where a value is out of its range.
    """

    def __init__(self, ridge: str | float = "auto", cascade: float = 0.0, seed: int = 0) -> None:
        if isinstance(ridge, str) and ridge != "auto":
            raise ArgumentError("ridge", f"must be auto or a number above 0, but got {ridge!r}.")
        if not isinstance(ridge, str) and not 0 < ridge < math.inf:
            raise ArgumentError("ridge", f"must be auto or a number above 0, but got {ridge}.")
        if not 0 <= cascade <= 1:
            raise ArgumentError("cascade", f"must be from 0 to 1, but got {cascade}.")
        self.ridge = None if isinstance(ridge, str) else float(ridge)
        self.cascade, self.seed = cascade, seed

    @torch.no_grad()
    def fit(
        self,
        network: nn.Module,
        batches: Iterable[Any],
        kind: str,
        loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> dict[str, float]:
        """Fit the network, in place; its modes are what they were afterwards.

        Args:
            network: whose output is that of its last linear layer (or convolution, a pixel), which is called once.
            batches: a loader of (inputs, targets), read several times.
            kind: "classes", "values", "pixels" or "characters".
            loss: of outputs and targets, by which the outputs are scaled; by default what suits the kind. Outputs of
                values are not scaled.

        Returns:
            `init_s` seconds, `init_ridge`, `init_degrees` of freedom of `init_rows` rows, `init_scale`, and two
            scores over (at most `SAMPLE`) training rows: `init_train`, and `init_left_out` of each row predicted
            without itself; accuracy, or for values the mean squared error.

        Raises:
            ValueError: where the network's last layer cannot be fitted, or the batches can be read only once.
        """
        began = time.perf_counter()
        choose("kind", kind, KINDS)
        device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
        placed = Placed(batches, device)
        with evaluating(network):
            first = next((inputs for inputs, _ in placed), None)
            if first is None:
                raise ArgumentError("batches", "must hold a batch of training rows, but hold none.")
            name, head = head_of(network, first)
            hidden_layers = [
                parameter for parameter, count in calls(network, first)[0].items() if count == 1 and parameter != name
            ]
            for hidden in hidden_layers:
                even_out(network, network.get_submodule(hidden), first)
            fresh = self._fit_hidden(network, hidden_layers, placed, kind, head) if self.cascade else placed
            reestimate(network, placed)
            solution = gather(network, head, fresh, kind).solve(self.ridge)
            fitted, left, encoded = _outputs(network, head, fresh, kind, solution)
            targets = decode(encoded, kind)
            left_out = score(left, targets, kind)
            scale = 1.0 if kind == "values" else best_scale(left, targets, loss or build_loss("auto", kind), kind)
            if self.cascade:
                solution = gather(network, head, placed, kind).solve(solution.ridge)
                fitted, _, encoded = _outputs(network, head, placed, kind, solution)
                targets = decode(encoded, kind)
            install(head, scale * solution.weight, scale * solution.bias)
        return {
            "init_s": round(time.perf_counter() - began, 4),
            "init_ridge": solution.ridge,
            "init_degrees": solution.degrees,
            "init_rows": float(solution.rows),
            "init_scale": scale,
            "init_train": score(fitted, targets, kind),
            "init_left_out": left_out,
        }

    def _fit_hidden(
        self, network: nn.Module, layers: Sequence[str], batches: Placed, kind: str, head: nn.Module
    ) -> Iterable[tuple[Tensor, Tensor]]:
        """Fit hidden layers, the first ones first, on one half of the batches; return the other half."""
        seen, fresh = halves(batches)
        generator = torch.Generator().manual_seed(self.seed)
        for layer in layers:
            fit_hidden(network, layer, seen, kind, head, self.cascade, self.ridge, generator)
        return fresh


def even_out(network: nn.Module, layer: nn.Module, inputs: Tensor) -> None:
    """Scale a hidden layer so that its outputs for a batch have a standard deviation of 1.

    Features that fade from layer to layer ask for large weights after them, under which the first steps of training
    destroy what was fitted. Mishkin & Matas ("All You Need Is a Good Init", ICLR 2016) scale so, after making the
    weights orthogonal. Layers without a bias are left to the norm that follows them, and those of techniques alone.
    """
    if layer.bias is None or parametrize.is_parametrized(layer, "weight"):
        return
    spread = layer(inputs_of(network, layer, inputs)).std()
    if bool(spread > 0):
        layer.weight.div_(spread)  # type: ignore[operator]
        layer.bias.div_(spread)  # type: ignore[operator]


def halves(batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[list[tuple[Tensor, Tensor]], list[tuple[Tensor, Tensor]]]:
    """Return every other row of one pass, and the rows between them, at most `SAMPLE` samples each."""
    seen, fresh, count = [], [], 0
    for inputs, targets in batches:
        seen.append((inputs[::2], targets[::2]))
        fresh.append((inputs[1::2], targets[1::2]))
        count += len(inputs)
        if count >= 2 * SAMPLE:
            break
    return seen, [batch for batch in fresh if len(batch[0])]


def gather(network: nn.Module, layer: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], kind: str) -> Moments:
    """Return the sums over all rows that reach the last layer, with their targets."""
    moments = Moments()
    for inputs, targets in batches:
        moments.add(*_pair(network, layer, inputs, targets, kind))
    return moments


def _pair(network: nn.Module, layer: nn.Module, inputs: Tensor, targets: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    features = rows(layer, inputs_of(network, layer, inputs)).double()
    encoded = encode(targets, kind, layer.weight.shape[0])  # type: ignore[index, union-attr]
    if len(features) != len(encoded):
        raise ArgumentError("", f"{len(features)} rows reach the last layer for {len(encoded)} targets.")
    return features, encoded


def _outputs(
    network: nn.Module, layer: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], kind: str, solution: Solution
) -> tuple[Tensor, Tensor, Tensor]:
    """Return outputs, left-out outputs and encoded targets of the buffered rows, or else of another pass."""
    if solution.buffered is not None:
        features, targets, leverage = solution.buffered
        return solution.outputs(features), solution.left_out(features, targets, leverage), targets
    parts, count = [], 0
    for inputs, given in batches:
        features, targets = _pair(network, layer, inputs, given, kind)
        left = solution.left_out(features, targets, solution.leverage(features))
        parts.append((solution.outputs(features), left, targets))
        count += len(features)
        if count >= SAMPLE:
            break
    fitted, left, encoded = (torch.cat(part) for part in zip(*parts, strict=True))
    return fitted, left, encoded


def best_scale(outputs: Tensor, targets: Tensor, loss: Loss, kind: str) -> float:
    """Return the number from 1e-3 to 1e3 by which outputs have the least loss: golden-section search of its logarithm.

    The losses are convex in it.
    """
    shown = outputs.squeeze(1) if kind == "pixels" else outputs
    low, high = math.log(1e-3), math.log(1e3)
    share = (math.sqrt(5) - 1) / 2
    for _ in range(40):
        left, right = high - share * (high - low), low + share * (high - low)
        if float(loss(math.exp(left) * shown, targets)) <= float(loss(math.exp(right) * shown, targets)):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2)


def install(layer: nn.Module, weight: Tensor, bias: Tensor) -> None:
    """Copy a solution (k, d), (k,) into a linear layer or a convolution.

    Raises:
        ValueError: where the layer has no bias, without which the solution is another.
    """
    if layer.bias is None:
        raise ArgumentError("", "a closed form needs a bias in the last layer. Give it one.")
    layer.weight.copy_(weight.reshape(layer.weight.shape))  # type: ignore[operator, union-attr, arg-type]
    layer.bias.copy_(bias)  # type: ignore[operator]


def score(outputs: Tensor, targets: Tensor, kind: str) -> float:
    """Return the accuracy of rows of outputs, or for values their mean squared error."""
    if kind == "values":
        return float((outputs - targets).square().mean())
    guessed = (outputs.squeeze(1) > 0).double() if kind == "pixels" else outputs.argmax(1)
    return float((guessed == targets).double().mean())
