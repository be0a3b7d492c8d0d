"""Simple models beside an exported network, on the test rows: those that the search fitted, fitted again."""

from collections.abc import Mapping
from typing import Any

import torch
from optuna.study import Study
from torch import Tensor

from kirigami import tasks
from kirigami.search.config.settings import TrialConfig
from kirigami.search.export.judge import Judge
from kirigami.search.report.beside import verdict
from kirigami.search.report.tables import number
from kirigami.search.study.facts import facts_of
from kirigami.search.study.rivals import SINGLE
from kirigami.search.study.rows import Rows, p_worse
from kirigami.search.training.building import open_whole
from kirigami.tasks import rivals


def rivals_of(
    study: Study, config: TrialConfig, judge: Judge, task: tasks.Task, outputs: Tensor, targets: Tensor
) -> list[dict[str, Any]]:
    """Return the rivals with their scores on the test rows; none where the search had none.

    Those that are ahead of the network have `ahead_by`, and the `p` of the paired test, where the judge's metric is one
    of the task.

    Args:
        judge: of the network, whose metric chooses the settings of each on a part of the train rows.
        task: whose train rows the network was fitted on, and whose test rows are open.
        outputs: of the network, for the test rows.
        targets: of the test rows.
    """
    if not facts_of(study).rivals:
        return []
    whole = open_whole(config, fold=task.fold)
    whole.setup("test")
    assert whole.test is not None, "it was opened"
    table = rivals.offer(whole, whole.test)
    if table is None:
        return []
    is_shared = judge.logging is None and judge.metric in task.metrics
    metric = judge.metric if is_shared else task.default_metric
    fitted = rivals.judge(whole, metric, table, list(rivals.fit(table)), targets)
    plain = [{name: part for name, part in vars(rival).items() if name != "outputs"} for rival in fitted]
    if not is_shared:
        return plain
    leads = [_lead(rival, task, metric, outputs, targets) for rival in fitted]
    return [{**row, **lead} for row, lead in zip(plain, leads, strict=True)]


def _lead(
    rival: rivals.Rival, task: tasks.Task, metric: str, outputs: Tensor, targets: Tensor
) -> dict[str, float | None]:
    """Return by how much a rival is ahead, and the p of the paired test; nothing where it is not."""
    sign = -1 if task.direction(metric) == "maximize" else 1
    value = task.evaluate(outputs, targets)[metric]
    by = sign * (value - rival.metrics[metric])
    if by <= SINGLE * abs(value):
        return {}
    ours, theirs = (_rows(task, metric, one, targets) for one in (outputs, torch.from_numpy(rival.outputs)))
    return {"ahead_by": by, "p": None if ours is None or theirs is None else p_worse(ours, theirs, sign)}


def _rows(task: tasks.Task, metric: str, outputs: Tensor, targets: Tensor) -> Rows | None:
    values = task.row_scores(metric, outputs, targets)
    return Rows.build(metric, b"test rows", values.numpy()) if values.isfinite().all() else None


def columns(test: Mapping[str, Any]) -> dict[str, Mapping[str, float]]:
    """Return the scores that stand beside the network's in a card, by what they are of."""
    constant = {name.replace("_", " "): scores for name, scores in test["baselines"].items()}
    return {rival["name"]: rival["metrics"] for rival in test["rivals"]} | constant


def leads(card: Mapping[str, Any]) -> list[str]:
    """Return which rivals of a card are ahead of the network, by how much, and whether they are told apart."""
    ahead = [rival for rival in card["test"]["rivals"] if "ahead_by" in rival]
    return [verdict(rival["name"], rival["ahead_by"], rival["p"], "this network on the test rows") for rival in ahead]


def sentences(card: Mapping[str, Any]) -> list[str]:
    """Return what there is to know of the rivals of a card: settings, size and rows, then which of them are ahead."""
    about = [
        f"{rival['name']} ({rival['settings']}): {number(rival['bytes'])} bytes, fitted on "
        f"{number(rival['fitted_on'])} of {number(rival['train_rows'])} train rows"
        for rival in card["test"]["rivals"]
    ]
    return [*about, *leads(card)]


def listed(card: Mapping[str, Any]) -> list[str]:
    """Return the sentences as a list in Markdown, and a blank line; nothing where there are no rivals."""
    lines = [f"- {line}." for line in sentences(card)]
    return [*lines, ""] if lines else []
