"""What a study has come to, as a table or as JSON."""

import json
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial
from rich.console import Console
from rich.table import Table

from kirigami.search.report import beside
from kirigami.search.report.tables import narrow, number, score, settings
from kirigami.search.report.wording import counted, why
from kirigami.search.study.choice import chosen
from kirigami.search.study.facts import facts_of
from kirigami.search.study.ledger import Ledger
from kirigami.search.study.ranking import best_trial, beyond, front, leaders, metric_names
from kirigami.search.study.record import figure_of, result_of
from kirigami.search.study.states import STATES


def summary(study: Study, ledger: Ledger | None = None) -> dict[str, Any]:
    """Return the study's results as plain data: best and chosen trial, Pareto front, trials by state, cost."""
    ledger = (Ledger() if ledger is None else ledger).read(study)
    best, choice = best_trial(study, ledger), chosen(study, ledger)
    several = len(study.directions) > 1
    return {
        "study": study.study_name,
        "objective": metric_names(study),
        "best": None if best is None else _row(best),
        "chosen": None if choice is None else {**_row(choice.trial), "p": choice.p},
        "baselines": baselines(study),
        "rivals": beside.rows(study, best),
        "front": [_row(trial) for trial in front(study, ledger)] if several else [],
        "trials": {state: ledger.count(state) for state in STATES},
        "cost": cost_of(ledger),
    }


def cost_of(ledger: Ledger) -> dict[str, Any]:
    """Return what the trials that are over have cost, interrupted ones among them; `wall_s` is up to now.

    Money is there where a worker had a price, energy where one could read a counter.
    """
    wall, money = ledger.wall_seconds(), ledger.money()
    return {
        "wall_s": round(wall, 3),
        "device_s": round(ledger.device_seconds(), 3),
        "trials_s": round(ledger.finished / wall, 4) if wall > 0 else 0.0,
        **({} if money is None else {"money": round(money, 4), "currency": ledger.currency}),
        **({} if ledger.energy_j is None else {"energy_j": round(ledger.energy_j, 1)}),
    }


def cost_line(cost: dict[str, Any]) -> str:
    """Return a cost in words, `wall 12.0 s  devices 23.1 s  0.02 USD  1.20 trials/s`."""
    money = f"  {amount(cost['money'])} {cost['currency']}" if "money" in cost else ""
    energy = f"  {cost['energy_j']:.0f} J" if "energy_j" in cost else ""
    return (
        f"wall {cost['wall_s']:.1f} s  devices {cost['device_s']:.1f} s{money}{energy}  {cost['trials_s']:.2f} trials/s"
    )


def amount(money: float) -> str:
    """Return an amount with cents, a small one with more."""
    return f"{money:.2f}" if money >= 1 else f"{money:.4f}"


def print_json(study: Study, top: int) -> None:
    """Print the summary and the best trials as JSON."""
    print(json.dumps({**summary(study), "top": [_row(trial) for trial in leaders(study, top)]}, indent=2))


def print_table(study: Study, top: int, console: Console) -> None:
    """Print the best trials, or the whole front of several objectives, then how many trials are where, and the cost."""
    ledger = Ledger().read(study)
    several = len(study.directions) > 1
    rows = front(study, ledger) if several else leaders(study, top, ledger)
    if rows:
        console.print(_table(study, rows, f"the front, {len(rows)}" if several else f"the best {len(rows)}"))
    lines = [counted(ledger), cost_line(cost_of(ledger))]
    lines += [line for line in (choice_line(study, ledger), folds_line(study, ledger)) if line is not None]
    lines += beside.lines(study, best_trial(study, ledger))
    if (better := beyond(study, ledger)) is not None:
        words = "better, but over the budget" if rows else "the best over the budget"
        lines.append(f"{words}: trial {better.number}: {why(study, better)}")
    if yardsticks := in_words(baselines(study)):
        lines.append(f"always the same answer  {yardsticks}")
    lines += [f"trial {trial.number} failed: {result_of(trial).reason}" for trial in ledger.by_state["failed"][-3:]]
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def choice_line(study: Study, ledger: Ledger | None = None) -> str | None:
    """Return the best trial and the smaller file that is not told apart from it, in a line; None where none is."""
    choice = chosen(study, ledger)
    if choice is None or choice.p is None:
        return None
    best, smallest = (
        f"trial {trial.number}: {score(trial.values[0])}, {number(figure_of(trial, 'bytes'))} bytes"
        for trial in (choice.best, choice.trial)
    )
    return f"best {best}; smallest not told apart {smallest} (p {choice.p:.2g})"


def folds_line(study: Study, ledger: Ledger | None = None) -> str | None:
    """Return how sure the best trial's value is, where it is the mean of several networks'; None where it is not."""
    best, metric = best_trial(study, ledger), metric_names(study)[0]
    folds = {} if best is None else result_of(best).folds
    if best is None or metric not in folds.get("error", {}):
        return None
    values, error = folds["scores"][metric], folds["error"][metric]
    scores = ", ".join(score(value) for value in values)
    return f"trial {best.number} is the mean of {len(values)} networks ({scores}), standard error {score(error)}"


def _table(study: Study, rows: list[FrozenTrial], what: str) -> Table:
    names = metric_names(study)
    sizes = [size for size in ("params", "bytes") if size not in names]
    table = Table(title=f"{study.study_name}: {what}")
    for column in ("trial", *names, *sizes, "seconds"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("settings", overflow="fold")
    for trial in rows:
        table.add_row(
            str(trial.number),
            *(score(value) for value in trial.values),
            *(number(figure_of(trial, size)) for size in sizes),
            number(result_of(trial).wall_s, ".2f"),
            settings(trial.params),
        )
    return table


def baselines(study: Study) -> dict[str, dict[str, float]]:
    """Return the first objective, and F1, of networks that always give the same answer on the validation rows."""
    wanted = {metric_names(study)[0], "f1"}
    stored = facts_of(study).baselines or {}
    return {
        name: {metric: value for metric, value in scores.items() if metric in wanted} for name, scores in stored.items()
    }


def in_words(scored: dict[str, dict[str, float]]) -> str:
    """Return baselines in words, `all positive: auc 0.5, f1 0.34`."""
    return "; ".join(
        f"{name.replace('_', ' ')}: {', '.join(f'{metric} {number(value)}' for metric, value in scores.items())}"
        for name, scores in scored.items()
        if scores
    )


def studies_table(summaries: list[dict[str, Any]]) -> Table:
    """Return one row a study."""
    table = narrow("studies")
    states = ("complete", "over", "infeasible", "pruned", "failed")
    for column in ("study", "objective", "best", *states, "wall s"):
        table.add_column(column, no_wrap=column in ("study", "objective"))
    for study in summaries:
        best, counts = study["best"], study["trials"]
        table.add_row(
            study["study"],
            ", ".join(study["objective"]),
            "" if best is None else f"{score(best['value'])} (trial {best['number']})",
            *(number(counts[state]) for state in states),
            f"{study['cost']['wall_s']:.1f}",
        )
    return table


def _row(trial: FrozenTrial) -> dict[str, Any]:
    result = result_of(trial)
    return {
        "number": trial.number,
        "value": trial.values[0],
        "values": list(trial.values),
        "bytes": result.figures.get("bytes"),
        "parameters": result.figures.get("params"),
        "metrics": dict(result.metrics),
        "folds": dict(result.folds),
        "params": dict(trial.params),
    }
