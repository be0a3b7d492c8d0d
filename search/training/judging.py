"""What each validation row adds to a trial's objective, to be stored with it (`kirigami.search.study.rows`)."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from kirigami import tasks
from kirigami.search.study.rows import Rows
from kirigami.tasks.row_scores import parts

Loss = Callable[[Tensor, Tensor], Tensor]


def row_figures(
    task: tasks.Task, objectives: Sequence[str], loss: Callable[[], Loss], outputs: Tensor, targets: Tensor
) -> dict[str, Any]:
    """Return the figures as details of the trial: nothing for several objectives, or one that no row has a part in.

    Args:
        task: whose validation rows these are.
        objectives: of the study.
        loss: builds the trial's loss, in case it is the objective.
        outputs: of all validation rows.
        targets: of the same rows.
    """
    if len(objectives) > 1 or not len(targets):
        return {}
    (metric,), outputs, targets = objectives, outputs.detach().float().cpu(), targets.detach().cpu()
    if metric in task.metrics:
        values = task.row_scores(metric, outputs, targets)
    elif metric == "loss":
        score = loss()
        values = parts(lambda *some: float(score(*some)), outputs, targets, task.groups(len(targets)))
    else:
        return {}
    if not values.isfinite().all():
        return {}
    return {"rows": Rows.build(metric, task.judged_rows(), values.numpy()).to_plain()}
