"""How much better the chosen trial looks on the rows that it was chosen by than on rows that nobody has seen."""

from collections.abc import Mapping
from typing import Any

from optuna.trial import FrozenTrial
from torch import Tensor

from kirigami.search.export.finish import Finished
from kirigami.search.export.judge import Judge, outputs_of
from kirigami.search.study.record import result_of


def optimism(
    trial: FrozenTrial, done: Finished, judge: Judge, tested: tuple[Tensor, Tensor], test: float, *, is_refit: bool
) -> dict[str, Any]:
    """Return the validation score, by how much it is better than the test score, and the standard error of that.

    The error is None where the score is only known of all rows together: of what a user's LightningModule logs.

    The score is that of the network in the file; of a trial of several networks, and of one that is trained again on
    all rows, it is the trial's.

    Args:
        trial: which was chosen.
        done: its network, as it was judged by validation rows and cut.
        judge: knows the task of the validation rows and the metric.
        tested: outputs and targets of the test rows.
        test: score of these.
        is_refit: whether the network in the file has seen the validation rows.
    """
    task, metric, result = judge.task, judge.metric, result_of(trial)
    folds = result.folds if metric in result.folds.get("scores", {}) else {}
    value = float(result.metrics.get(metric, done.before)) if folds or is_refit else done.score
    error = folds["error"].get(metric, 0.0) if folds else judge.error(task, *outputs_of(done.network, task))
    sign, other = 1 if judge.direction == "maximize" else -1, judge.error(task, *tested)
    both = None if error is None or other is None else (error**2 + other**2) ** 0.5
    return {
        "value": value,
        "networks": len(folds["scores"][metric]) if folds else 1,
        "optimism": sign * (value - test),
        "error": both,
    }


def sentence(card: Mapping[str, Any]) -> str:
    """Return the optimism of a card in words."""
    judged, metric = card["validation"], card["test"]["metric"]
    of = f"mean of {judged['networks']} networks" if judged["networks"] > 1 else "score"
    gap, error = judged["optimism"], judged["error"]
    size = f"{abs(gap):.4f}" if error is None else f"{abs(gap):.4f} ± {error:.4f}"
    side = "better" if gap >= 0 else "worse"
    return f"Optimism: the validation {of}, by which it was chosen, is {size} {side} than the test {metric}."
