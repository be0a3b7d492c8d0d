"""Probabilities one can believe, and where to cut them: a temperature and a threshold, folded into the last layer.

Outputs are read as logits: probabilities are their softmax. That holds for outputs trained by squared, exponential or
cosh errors too: as they are, between about -1 and 1, they are far too modest; the temperature brings them to scale.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from kirigami.calibration_error import expected_calibration_error
from kirigami.errors import ArgumentError, choose
from kirigami.models.cost import evaluating
from kirigami.models.technique import network_of, weighted
from kirigami.several import each, run

COLDEST, HOTTEST = 0.01, 100.0
CALIBRATIONS = ("none", "temperature")
Batches = Iterable[tuple[Tensor, Tensor]]


def scores(outputs: Tensor, targets: Tensor) -> dict[str, float]:
    """Return `ece`, `nll` (nats) and `brier` of logits (N, C) or (N, T, C) against class indices (N,) or (N, T).

    The Brier score is the squared error of all probabilities, summed over classes, mean over samples: from 0 to 2
    (Brier, 1950).
    """
    logits, classes = _rows(outputs, targets)
    chances = logits.softmax(-1)
    confidence, answers = chances.max(-1)
    return {
        "ece": expected_calibration_error(confidence, answers == classes),
        "nll": float(F.cross_entropy(logits, classes)),
        "brier": float((chances - F.one_hot(classes, logits.shape[-1])).square().sum(-1).mean()),
    }


def fit_temperature(outputs: Tensor, targets: Tensor) -> float:
    """Return the T > 0 for which softmax(z/T) has the least NLL on these rows (Guo et al., 2017, equation 9).

    The NLL is convex in 1/T, so that its slope is bisected: no seed, no learning rate. Rows that are all right would
    ask for T = 0, and rows at odds with their outputs for an endless one; T stays from 0.01 to 100.
    """
    logits, classes = _rows(outputs, targets)
    chosen = logits.gather(1, classes[:, None]).squeeze(1)
    cold, hot = 1 / HOTTEST, 1 / COLDEST  # of 1/T
    for _ in range(32):
        middle = (cold * hot) ** 0.5
        expected = ((middle * logits).softmax(-1) * logits).sum(-1)
        cold, hot = (middle, hot) if float((expected - chosen).mean()) < 0 else (cold, middle)
    return 1 / (cold * hot) ** 0.5


def choose_threshold(outputs: Tensor, targets: Tensor, goal: str | float | Mapping[str, float] = "f1") -> float:
    """Return the log-odds above which class 1 of two should be called; 0 is a probability of .5.

    Tried are 0, the middles between neighbouring odds of these rows, and both ends; of equals the nearest to 0 is
    taken, and of those the lower.

    Args:
        outputs: Logits (N, 2).
        targets: Class indices (N,); class 1 is the positive one.
        goal: What is best on these rows, one of `GOALS`; a number is the probability itself, and no row is looked at;
            {false_alarm: a} asks for the highest recall with FP / (FP + TN) of at most a; "none" for 0.

    Raises:
        ValueError: There are not two classes, or the goal is unknown or out of its range.
    """
    check("classes", outputs.shape[-1], threshold=goal)
    if goal == "none":
        return 0.0
    if isinstance(goal, int | float):
        return float(torch.tensor(goal, dtype=torch.double).logit())
    logits, classes = _rows(outputs, targets)
    odds, order = (logits[:, 1] - logits[:, 0]).sort()
    ends = torch.stack([odds[0] - 1, odds[-1] + 1])
    cuts = torch.cat([torch.zeros(1, dtype=odds.dtype), ends, (odds[1:] + odds[:-1])[odds.diff() > 0] / 2])
    positive = torch.cat([torch.zeros(1), classes[order].double().cumsum(0)])  # among the lowest k odds
    below = torch.searchsorted(odds, cuts, right=True)  # not called: class 1 needs odds above the cut
    hits = positive[-1] - positive[below]
    alarms = (len(odds) - below) - hits
    rewards = _reward(goal)(hits, alarms, positive[-1], len(odds) - positive[-1])
    best = cuts[rewards >= rewards.max() - 1e-12]
    return float(min(best.tolist(), key=lambda cut: (abs(cut), cut)))


Reward = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]

# Of calls that are right (hits) and wrong (alarms), and of the positive and negative rows there are.
GOALS: dict[str, Reward] = {
    "f1": lambda hits, alarms, positive, _: 2 * hits / (hits + alarms + positive).clamp(min=1),
    "balanced_accuracy": lambda hits, alarms, positive, negative: (
        hits / positive.clamp(min=1) - alarms / negative.clamp(min=1)
    ),
    "accuracy": lambda hits, alarms, *_: hits - alarms,
}


def _reward(goal: str | Mapping[str, float]) -> Reward:
    """Return the function that a cut has to maximise."""
    if isinstance(goal, str):
        return GOALS[goal]
    limit = goal["false_alarm"]
    return lambda hits, alarms, _, negative: torch.where(alarms <= limit * negative, hits, -alarms)


def check(kind: str, classes: int | None, *, calibration: Any = "none", threshold: Any = "none") -> None:
    """Check calibration and threshold for a task of a kind, before anything is trained.

    Raises:
        ValueError: A value is unknown or does not suit the task.
    """
    choose("calibration", calibration, CALIBRATIONS)
    if calibration != "none" and kind not in ("classes", "characters"):
        raise ArgumentError("calibration", f"must be none for a task of {kind}, but got '{calibration}'.")
    if threshold == "none":
        return
    if kind != "classes" or classes != 2:
        what = f"{classes} classes" if kind == "classes" else kind
        raise ArgumentError(
            "threshold", f"must be none for a task of {what}, but got {threshold!r}: it cuts between two."
        )
    if not _is_goal(threshold):
        allowed = f"(none, {', '.join(GOALS)}), a number between 0 and 1, or {{false_alarm: such a number}}"
        raise ArgumentError("threshold", f"must be one of {allowed}, but got {threshold!r}.")


def _is_goal(threshold: Any) -> bool:
    """Tell whether a threshold is a goal, a number or a limit of false alarms."""
    if isinstance(threshold, str):
        return threshold in GOALS
    limited = isinstance(threshold, Mapping) and set(threshold) == {"false_alarm"}
    value = threshold["false_alarm"] if limited else threshold
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1


def fold(layer: nn.Module, temperature: float = 1.0, cut: float = 0.0) -> None:
    """Divide a layer's outputs by T, and lower that of class 1 by the cut, in its own weight and bias.

    Args:
        layer: Linear or convolutional, without links where T is not 1, with a bias where the cut is not 0.
        temperature: T.
        cut: Log-odds, after the division, that class 1 must exceed.

    Raises:
        ValueError: The layer cannot take it; it is left as it was.
    """
    if temperature != 1 and parametrize.is_parametrized(layer):
        raise ArgumentError(
            "",
            "a temperature cannot be folded into a last layer with masks, codes or templates. Leave that layer out of "
            "their names.",
            ("calibration", "none"),
        )
    if cut and (layer.bias is None or parametrize.is_parametrized(layer, "bias")):
        raise ArgumentError("threshold", "needs a last layer with a bias of its own.", ("threshold", "none"))
    with torch.no_grad():
        if temperature != 1:
            layer.weight.div_(temperature)
        if layer.bias is not None and (temperature != 1 or cut):
            layer.bias.div_(temperature)
            layer.bias[1:2] -= cut


def finish(
    network: nn.Module, batches: Batches, kind: str, *, calibration: str = "none", threshold: Any = "none"
) -> tuple[dict[str, float], Tensor, Tensor]:
    """Choose temperature and threshold on validation rows, fold them into the network, and return its new outputs.

    Both are chosen on the rows that also select, so that figures of these rows flatter them a little: rows that nobody
    has seen judge. A threshold moves the probabilities it cuts: after it, the softmax of the outputs is .5 where the
    chance is `threshold`, which `ece` and `nll` count as an error.

    Args:
        network: any module that ends in a linear or convolutional layer; its links hard.
        batches: (inputs, targets) of the validation rows, to be gone through several times.
        kind: What the task predicts.
        calibration: "none" or "temperature".
        threshold: "none", or the goal of `choose_threshold`.

    Returns:
        What to record (`temperature`; `threshold`, a probability after the temperature; `ece`, `nll`, `brier` with
        `_before` and `_after`), then the outputs and the targets of all rows. Nothing is done, and nothing recorded,
        where outputs are not finite.

    Raises:
        ValueError: The settings do not suit the task, or the network cannot take them; it is left as it was.
    """
    outputs, targets, layer = _run(network, batches)
    check(kind, outputs.shape[-1] if kind == "classes" else None, calibration=calibration, threshold=threshold)
    if (calibration == "none" and threshold == "none") or not outputs.isfinite().all():
        return {}, outputs, targets
    warmth = fit_temperature(outputs, targets) if calibration == "temperature" else 1.0
    expected = outputs / warmth
    cut = choose_threshold(expected, targets, threshold) if threshold != "none" else 0.0
    if cut:
        expected[..., 1] -= cut
    if layer is None:
        raise ValueError(
            f"{type(network).__name__} has no linear or convolutional layer to fold calibration and threshold into."
        )
    before = {name: value.clone() for name, value in layer.named_parameters()}
    fold(layer, warmth, cut)
    folded, _, _ = _run(network, batches)
    if not _alike(folded, expected):
        with torch.no_grad():
            for name, value in layer.named_parameters():
                value.copy_(before[name])
        raise ValueError(
            f"{type(network).__name__} does not end in its last linear layer, which calibration and threshold are "
            "folded into. Set both to none."
        )
    figures = {"temperature": warmth} if calibration == "temperature" else {}
    if threshold != "none":
        figures["threshold"] = float(torch.tensor(cut).sigmoid())
    for when, values in (("before", outputs), ("after", folded)):
        figures |= {f"{name}_{when}": value for name, value in scores(values, targets).items()}
    return figures, folded, targets


def put(network: nn.Module, batches: Batches, *, temperature: float = 1.0, threshold: float = 0.5) -> None:
    """Fold a given temperature and threshold into a network's last layer, as `finish` does with those it chooses.

    Args:
        network: as for `finish`.
        batches: (inputs, targets) of any rows, by which the last layer is found.
        temperature: T.
        threshold: the probability, after the temperature, above which class 1 is called.

    Raises:
        ValueError: The network cannot take them.
    """
    *_, layer = _run(network, [next(iter(batches))])
    if layer is None:
        raise ValueError(f"{type(network).__name__} has no linear or convolutional layer to fold calibration into.")
    fold(layer, temperature, float(torch.tensor(threshold, dtype=torch.double).logit()))


@torch.no_grad()
def _run(network: nn.Module, batches: Batches) -> tuple[Tensor, Tensor, nn.Module | None]:
    """Return outputs and targets of all rows, and the weighted layer that was called last."""
    inner = network_of(network)  # type: ignore[arg-type]
    device = next((parameter.device for parameter in inner.parameters()), torch.device("cpu"))
    called: list[nn.Module] = []

    def placed(part: Tensor) -> Tensor:
        return part.to(device)

    hooks = [layer.register_forward_hook(lambda module, *_: called.append(module)) for _, layer in weighted(inner)]
    try:
        with evaluating(inner):
            pairs = [(run(inner, each(placed, inputs)), placed(targets)) for inputs, targets in batches]
    finally:
        for hook in hooks:
            hook.remove()
    outputs, targets = (torch.cat(part) for part in zip(*pairs, strict=True))
    return outputs, targets, called[-1] if called else None


def _rows(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits (N, C) and class indices (N,) on the CPU, in double precision."""
    return outputs.detach().flatten(0, -2).cpu().double(), targets.detach().flatten().cpu().long()


def _alike(outputs: Tensor, other: Tensor) -> bool:
    """Tell whether two ways to compute the same outputs gave the same, up to rounding."""
    share = 1e-3 if outputs.dtype.itemsize >= 4 else 0.1
    return bool((outputs - other).abs().max() <= share * other.abs().max())
