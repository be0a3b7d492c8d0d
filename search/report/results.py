"""What a study has found, as a table or as JSON."""

import json
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial
from rich.console import Console
from rich.table import Table

from kirigami.search.study import ledger as ledgers
from kirigami.search.study.ledger import Ledger, is_feasible, outcome_of
from kirigami.search.study.study import best_trial, leaders, metric_names


def summary(study: Study) -> dict[str, Any]:
    """Return the study's results as plain data: best trial, Pareto front, trials by state, cost."""
    ledger = ledgers.read(study)
    best = best_trial(study)
    several = len(study.directions) > 1
    return {
        "study": study.study_name,
        "objective": metric_names(study),
        "best": None if best is None else _row(best),
        "baselines": baselines(study),
        "front": [_row(trial) for trial in front(study)] if several else [],
        "trials": {
            "complete": ledger.count("complete"),
            "pruned": ledger.count("pruned"),
            "failed": ledger.count("failed"),
            "infeasible": ledger.count("infeasible") + sum(not is_feasible(one) for one in ledger.by_state["complete"]),
            "running": ledger.count("running"),
            "waiting": ledger.count("waiting"),
            "interrupted": ledger.count("interrupted"),
        },
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
    """Print the best trials, or the whole front of several objectives, then the counts and the cost."""
    found = summary(study)
    names = metric_names(study)
    several = len(names) > 1
    rows = front(study) if several else leaders(study, top)
    over = found["trials"]["infeasible"]
    within = f" within the budget ({over} over it)" if over else ""
    shown = f"the front, {len(rows)}" if several else f"the best {len(rows)}"
    table = Table(title=f"{study.study_name}: {shown} of {found['trials']['complete']} complete trials{within}")
    sizes = [size for size in ("params", "bytes") if size not in names]
    for column in ("trial", *names, *sizes, "seconds"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("settings", overflow="fold")
    for trial in rows:
        outcome = outcome_of(trial)
        table.add_row(
            str(trial.number),
            *(_figure(value) for value in trial.values),
            *(str(outcome.get(size, "")) for size in sizes),
            f"{outcome.get('wall_s', 0):.2f}",
            " ".join(f"{name}={_short(value)}" for name, value in trial.params.items()),
        )
    if rows:
        console.print(table)
    counts, cost = found["trials"], found["cost"]
    console.print(
        "  ".join(f"{state} {count}" for state, count in counts.items() if count or state in ("complete", "pruned")),
        highlight=False,
    )
    console.print(cost_line(cost), highlight=False)
    if yardsticks := said(found["baselines"]):
        console.print(f"always the same answer  {yardsticks}", highlight=False)
    for trial in ledgers.known(study).by_state["failed"][-3:]:
        console.print(f"trial {trial.number} failed: {outcome_of(trial).get('reason')}", highlight=False, markup=False)


def baselines(study: Study) -> dict[str, dict[str, float]]:
    """Return the first objective, and F1, of networks that always give the same answer on the validation rows."""
    wanted = {metric_names(study)[0], "f1"}
    kept: dict[str, dict[str, float]] = study.user_attrs.get("baselines", {})
    return {name: {one: value for one, value in scores.items() if one in wanted} for name, scores in kept.items()}


def said(found: dict[str, dict[str, float]]) -> str:
    """Return baselines in words, `all positive: auc 0.5, f1 0.34`."""
    return "; ".join(
        f"{name.replace('_', ' ')}: {', '.join(f'{metric} {value:.4g}' for metric, value in scores.items())}"
        for name, scores in found.items()
        if scores
    )


def front(study: Study) -> list[FrozenTrial]:
    """Return the feasible trials that no other one dominates, best first by the first objective."""
    sign = -1 if study.directions[0].name == "MAXIMIZE" else 1
    return sorted(study.best_trials, key=lambda trial: (sign * trial.values[0], trial.number))


def studies_table(summaries: list[dict[str, Any]]) -> Table:
    """Return one row a study."""
    table = Table()
    for column in ("study", "objective", "best", "complete", "pruned", "failed", "wall s"):
        table.add_column(column, no_wrap=column in ("study", "objective"))
    for found in summaries:
        best, counts = found["best"], found["trials"]
        table.add_row(
            found["study"],
            ", ".join(found["objective"]),
            "" if best is None else f"{best['value']:.4g} (trial {best['number']})",
            *(str(counts[state]) for state in ("complete", "pruned", "failed")),
            f"{found['cost']['wall_s']:.1f}",
        )
    return table


def _row(trial: FrozenTrial) -> dict[str, Any]:
    outcome = outcome_of(trial)
    return {
        "number": trial.number,
        "value": trial.values[0],
        "values": list(trial.values),
        "bytes": outcome.get("bytes"),
        "parameters": outcome.get("params"),
        "metrics": outcome.get("metrics", {}),
        "params": dict(trial.params),
    }


def _figure(value: float) -> str:
    """Return four digits, and whole counts in full."""
    return f"{value:.0f}" if value == round(value) and abs(value) >= 1000 else f"{value:.4g}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
