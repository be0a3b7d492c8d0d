"""Score outputs against targets: plain tensor code, cheap enough for every epoch of a one-second trial.

Every function takes the canonical form that `Task.evaluate` prepares, and returns a float:
classes, pixels and characters: outputs (N, C) scores, targets (N,) class numbers; labels: outputs (N, C) logits and
targets (N, C), 0 or 1; values: both (N,), or (N, D). In two-class metrics class 1 is the positive one. A ratio whose
denominator is zero is 0.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from inspect import isclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from kirigami.arguments import accept
from kirigami.calibration_error import expected_calibration_error
from kirigami.errors import ArgumentError, at, choose, none_of
from kirigami.targets import KEY, leading, located, options_of, run

IGNORED = -100  # the class number of a pixel that does not count, as torch's losses have it


@dataclass(frozen=True)
class Metric:
    """A score: which direction is better ("maximize" or "minimize") and the function that computes it."""

    direction: str
    function: Callable[[Tensor, Tensor], float]


def confusion(outputs: Tensor, targets: Tensor) -> Tensor:
    """Count (target, prediction) pairs: float64 (C, C) on the CPU, rows are targets."""
    classes = outputs.shape[1]
    pairs = targets * classes + outputs.argmax(dim=1)
    return torch.bincount(pairs, minlength=classes * classes).cpu().double().view(classes, classes)


def pixel_form(outputs: Tensor, targets: Tensor, *, has_classes: bool) -> tuple[Tensor, Tensor]:
    """Return scores (P, C) and class numbers (P,) of the pixels that count, of logits (N, H, W) or (N, C, H, W)."""
    answers = targets.flatten().long()
    if not has_classes:
        positive = outputs.flatten()
        return torch.stack((torch.zeros_like(positive), positive), dim=1), answers
    scores, counts = outputs.movedim(1, -1).flatten(0, -2), answers != IGNORED
    return (scores, answers) if bool(counts.all()) else (scores[counts], answers[counts])


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole > 0, part / whole.clamp(min=1), torch.zeros_like(part))


def _of_positive(per_class: Tensor, counts: Tensor) -> float:
    """Take class 1 of two classes; of more, the mean over the classes that occur in targets or predictions."""
    if len(per_class) == 2:
        return float(per_class[1])
    occurs = (counts.sum(0) + counts.sum(1)) > 0
    return float(per_class[occurs].mean())


def accuracy(outputs: Tensor, targets: Tensor) -> float:
    """Return the share of right predictions."""
    return float((outputs.argmax(dim=1) == targets).sum()) / len(targets)


def _balanced(counts: Tensor) -> float:
    rows = counts.sum(dim=1)
    return float(_ratio(counts.diagonal(), rows)[rows > 0].mean())


COUNTED: dict[str, Callable[[Tensor], float]] = {
    "balanced_accuracy": _balanced,
    "precision": lambda counts: _of_positive(_ratio(counts.diagonal(), counts.sum(dim=0)), counts),
    "recall": lambda counts: _of_positive(_ratio(counts.diagonal(), counts.sum(dim=1)), counts),
    "f1": lambda counts: _of_positive(_ratio(2 * counts.diagonal(), counts.sum(dim=0) + counts.sum(dim=1)), counts),
    "false_alarm": lambda counts: float(_ratio(counts[0, 1], counts[0].sum())),
}
"""Scores that the counts of `confusion` decide."""


def balanced_accuracy(outputs: Tensor, targets: Tensor) -> float:
    """Return the mean recall over the classes that occur in the targets."""
    return COUNTED["balanced_accuracy"](confusion(outputs, targets))


def precision(outputs: Tensor, targets: Tensor) -> float:
    """Return TP / (TP + FP) of the positive class, or its mean over more than two classes."""
    return COUNTED["precision"](confusion(outputs, targets))


def recall(outputs: Tensor, targets: Tensor) -> float:
    """Return TP / (TP + FN) of the positive class, or its mean over more than two classes."""
    return COUNTED["recall"](confusion(outputs, targets))


def f1(outputs: Tensor, targets: Tensor) -> float:
    """Return 2 TP / (2 TP + FP + FN) of the positive class, or its mean over more than two classes (macro)."""
    return COUNTED["f1"](confusion(outputs, targets))


def false_alarm(outputs: Tensor, targets: Tensor) -> float:
    """Return FP / (FP + TN): the share of negatives that are called positive (two classes)."""
    return COUNTED["false_alarm"](confusion(outputs, targets))


def auc(outputs: Tensor, targets: Tensor) -> float:
    """Return the area under the ROC curve from ranks, ties halved (two classes); .5 where a class is missing."""
    score = outputs[:, 1] - outputs[:, 0]
    ordered = score.sort().values
    below = torch.searchsorted(ordered, score)
    up_to = torch.searchsorted(ordered, score, right=True)
    ranks = (below + up_to + 1).cpu().double() / 2
    positive = (targets == 1).cpu()
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if n_positive == 0 or n_negative == 0:
        return 0.5
    area = float(ranks[positive].sum()) - n_positive * (n_positive + 1) / 2
    return area / (n_positive * n_negative)


def ece(outputs: Tensor, targets: Tensor) -> float:
    """Return the expected calibration error: the mean gap between confidence and accuracy (Guo et al., ICML 2017).

    Confidence is the largest softmax probability; it is 1 where there is no number.
    """
    confidence, answers = outputs.float().softmax(dim=1).nan_to_num(nan=1.0).max(dim=1)
    return expected_calibration_error(confidence, answers == targets)


def loss(outputs: Tensor, targets: Tensor) -> float:
    """Return the mean cross-entropy in nats."""
    return float(functional.cross_entropy(outputs.float(), targets))


def bits(outputs: Tensor, targets: Tensor) -> float:
    """Return the mean cross-entropy in bits: bits per character."""
    return loss(outputs, targets) / math.log(2)


def mse(outputs: Tensor, targets: Tensor) -> float:
    """Return the mean squared error."""
    return float((outputs - targets).square().mean())


def rmse(outputs: Tensor, targets: Tensor) -> float:
    """Return the root of the mean squared error, in the unit of the target."""
    return math.sqrt(mse(outputs, targets))


def mae(outputs: Tensor, targets: Tensor) -> float:
    """Return the mean absolute error, in the unit of the target."""
    return float((outputs - targets).abs().mean())


def r2(outputs: Tensor, targets: Tensor) -> float:
    """Return 1 - (squared error / variance of the targets), the mean over columns; 0 where targets do not vary."""
    if targets.dim() > 1:
        return sum(r2(*pair) for pair in zip(outputs.T, targets.T, strict=True)) / targets.shape[1]
    variance = float((targets - targets.mean()).square().mean())
    return 1 - mse(outputs, targets) / variance if variance > 0 else 0.0


def mean_iou(outputs: Tensor, targets: Tensor) -> float:
    """Return TP / (TP + FP + FN), the mean over the classes that occur in targets or predictions."""
    counts = confusion(outputs, targets)
    hits, whole = counts.diagonal(), counts.sum(dim=0) + counts.sum(dim=1)
    return float(_ratio(hits, whole - hits)[whole > 0].mean())


def _label_counts(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return of each label TP and 2 TP + FP + FN, float64 (C,)."""
    said, right = outputs > 0, targets > 0.5
    return (said & right).sum(dim=0).double(), said.sum(dim=0).double() + right.sum(dim=0)


def f1_macro(outputs: Tensor, targets: Tensor) -> float:
    """Return 2 TP / (2 TP + FP + FN) of labels, the mean over those that occur in targets or predictions."""
    hits, whole = _label_counts(outputs, targets)
    return float(_ratio(2 * hits, whole)[whole > 0].mean()) if bool((whole > 0).any()) else 0.0


def f1_micro(outputs: Tensor, targets: Tensor) -> float:
    """Return 2 TP / (2 TP + FP + FN), counted over all labels together."""
    hits, whole = _label_counts(outputs, targets)
    return float(_ratio(2 * hits.sum(), whole.sum()))


def exact_match(outputs: Tensor, targets: Tensor) -> float:
    """Return the share of rows whose labels are all right: subset accuracy."""
    return float(((outputs > 0) == (targets > 0.5)).all(dim=1).double().mean())


def hamming(outputs: Tensor, targets: Tensor) -> float:
    """Return the share of labels that are wrong."""
    return float(((outputs > 0) != (targets > 0.5)).double().mean())


def mean_ap(outputs: Tensor, targets: Tensor) -> float:
    """Return the average precision of each label that occurs, as scikit-learn has it, and of these the mean."""
    scores = [_average_precision(*pair) for pair in zip(outputs.cpu().T, targets.cpu().T, strict=True) if pair[1].any()]
    return sum(scores) / len(scores) if scores else 0.0


def _average_precision(scores: Tensor, targets: Tensor) -> float:
    """Sum precision times the growth of recall over all cuts; rows of one score fall together."""
    order = scores.argsort(descending=True, stable=True)
    hits = targets[order].double().cumsum(0)
    ends = torch.cat((scores[order].diff() != 0, torch.tensor([True]))).nonzero().flatten()
    recall_ = hits[ends] / hits[-1]
    return float((recall_.diff(prepend=torch.zeros(1, dtype=torch.double)) * hits[ends] / (ends + 1)).sum())


METRICS: dict[str, Metric] = {
    "accuracy": Metric("maximize", accuracy),
    "balanced_accuracy": Metric("maximize", balanced_accuracy),
    "f1": Metric("maximize", f1),
    "precision": Metric("maximize", precision),
    "recall": Metric("maximize", recall),
    "false_alarm": Metric("minimize", false_alarm),
    "auc": Metric("maximize", auc),
    "ece": Metric("minimize", ece),
    "mean_iou": Metric("maximize", mean_iou),
    "f1_macro": Metric("maximize", f1_macro),
    "f1_micro": Metric("maximize", f1_micro),
    "mean_ap": Metric("maximize", mean_ap),
    "exact_match": Metric("maximize", exact_match),
    "hamming": Metric("minimize", hamming),
    "loss": Metric("minimize", loss),
    "bits": Metric("minimize", bits),
    "mse": Metric("minimize", mse),
    "rmse": Metric("minimize", rmse),
    "mae": Metric("minimize", mae),
    "r2": Metric("maximize", r2),
}


def baselines(
    targets: Tensor, classes: int | None = None, scores: Mapping[str, Metric] | None = None
) -> dict[str, dict[str, float]]:
    """Return every metric of classes for a network that always gives the same answer, whatever its input.

    Two classes: `all_positive` and `all_negative`; more: `most_frequent`, the class with most of the targets. A score
    says something where it is better than theirs: with a share p of positives, all positive has the F1 2p / (1 + p).

    Args:
        targets: class numbers (N,), of the rows that the score beside it is of.
        classes: their number, by default that of the targets and at least 2.
        scores: metrics by name, by default those of a task of classes.
    """
    classes = max(2, int(targets.max()) + 1) if classes is None else classes
    scores = {name: METRICS[name] for name in available("classes", classes)} if scores is None else scores
    most = int(torch.bincount(targets, minlength=classes).argmax())
    answers = {"all_positive": 1, "all_negative": 0} if classes == 2 else {"most_frequent": most}
    constant = {}
    for name, answer in answers.items():
        outputs = torch.zeros(len(targets), classes, device=targets.device)
        outputs[:, answer] = 1
        constant[name] = {metric: score.function(outputs, targets) for metric, score in scores.items()}
    return constant


def build(config: Mapping[str, Mapping[str, Any]]) -> dict[str, Metric]:
    """Build a user's own metrics: name -> `{_target_: package.module.function, direction: minimize, ...}`.

    The target is a function of outputs and targets in their canonical form, which returns a number, or a class of which
    an instance is one, such as torchmetrics'; it gets the other keys.

    Raises:
        ArgumentError: a name is taken, a direction is not said, or the target cannot be had.
    """
    built = {}
    for name, settings in config.items():
        if name in METRICS:
            raise ArgumentError(name, "is the name of a metric of ours. Choose another name.")
        with at(name):
            built[name] = Metric(directed(settings), _called(settings))
    return built


def directed(settings: Mapping[str, Any]) -> str:
    """Return the direction that a user's own metric says that it has."""
    return choose("direction", settings.get("direction"), ("maximize", "minimize"))


def _called(settings: Mapping[str, Any]) -> Callable[[Tensor, Tensor], float]:
    path, target = settings.get(KEY), located(settings.get(KEY))
    first = [] if isclass(target) else leading(target, 2)
    options = options_of(settings, target, "direction")
    arguments = accept(target, options, name=str(path), provided=dict.fromkeys(first))
    arguments = {key: value for key, value in arguments.items() if key not in first}
    function = run(path, target, arguments) if isclass(target) else partial(target, **arguments)

    def score(outputs: Tensor, targets: Tensor) -> float:
        value = float(function(outputs.clone(), targets.clone()))  # it may write to them; others judge by them too
        if hasattr(function, "reset"):  # torchmetrics' would keep all rows
            function.reset()
        return value

    return score


_OF_KIND = {
    "classes": ("accuracy", "balanced_accuracy", "f1", "precision", "recall", "ece"),
    "labels": ("f1_macro", "f1_micro", "mean_ap", "exact_match", "hamming"),
    "values": ("rmse", "mse", "mae", "r2"),
    "pixels": ("f1", "accuracy", "precision", "recall"),
    "characters": ("bits", "loss", "accuracy"),
}


def available(kind: str, n_classes: int) -> tuple[str, ...]:
    """Return the names of the metrics a task of this kind has; the first is its default."""
    names = ("mean_iou", "accuracy", "f1") if kind == "pixels" and n_classes else _OF_KIND[kind]
    return (*names, "false_alarm", "auc") if kind == "classes" and n_classes == 2 else names


def direction(name: str) -> str:
    """Return "maximize" or "minimize" for a metric.

    Raises:
        ArgumentError: for any other name, with the nearest one.
    """
    if name not in METRICS:
        raise ArgumentError("metric", none_of(name, METRICS))
    return METRICS[name].direction
