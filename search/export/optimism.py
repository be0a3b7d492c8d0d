"""How much better the chosen trial looks on the rows that it was chosen by than on rows that nobody has seen."""

from collections.abc import Mapping
from typing import Any

from optuna.trial import FrozenTrial
from torch import Tensor

from kirigami import tasks
from kirigami.search.export.finish import Finished, Judge, outputs_of
from kirigami.search.study.record import result_of


def optimism(
    trial: FrozenTrial, done: Finished, judge: Judge, tested: tuple[Tensor, Tensor], *, is_refit: bool
) -> dict[str, Any]:
    """Return the validation score, by how much it is better than the test score, and the standard error of that.

    The score is that of the network in the file; of a trial of several networks, and of one that is trained again on
    all rows, it is the trial's.

    Args:
        trial: which was chosen.
        done: its network, as it was judged by validation rows and cut.
        judge: knows the task of the validation rows and the metric.
        tested: outputs and targets of the test rows.
        is_refit: whether the network in the file has seen the validation rows.
    """
    task, metric, result = judge.task, judge.metric, result_of(trial)
    folds = result.folds if metric in result.folds.get("scores", {}) else {}
    value = float(result.metrics.get(metric, done.before)) if folds or is_refit else done.score
    error = folds["error"].get(metric, 0.0) if folds else error_of(task, metric, *outputs_of(done.network, task))
    test = task.evaluate(*tested)[metric]
    sign = 1 if task.direction(metric) == "maximize" else -1
    both = (error**2 + error_of(task, metric, *tested) ** 2) ** 0.5
    return {
        "value": value,
        "networks": len(folds["scores"][metric]) if folds else 1,
        "optimism": sign * (value - test),
        "error": both,
    }


def error_of(task: tasks.Task, metric: str, outputs: Tensor, targets: Tensor) -> float:
    """Return the standard error of a metric of rows."""
    parts = task.row_scores(metric, outputs.detach().float().cpu(), targets.detach().cpu())
    return float(parts.std() / len(parts) ** 0.5) if len(parts) > 1 else 0.0


def sentence(card: Mapping[str, Any]) -> str:
    """Return the optimism of a card in words."""
    judged, metric = card["validation"], card["test"]["metric"]
    of = f"mean of {judged['networks']} networks" if judged["networks"] > 1 else "score"
    gap, error = judged["optimism"], judged["error"]
    side = "better" if gap >= 0 else "worse"
    return (
        f"Optimism: the validation {of}, by which it was chosen, is {abs(gap):.4f} ± {error:.4f} {side} than the test "
        f"{metric}."
    )
