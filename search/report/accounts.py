"""The `ledger` verb: the cost of a study by worker, by trial or by state, as a table, JSON or CSV."""

import csv
import json
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial
from rich.console import Console
from rich.table import Table

from kirigami.search.report.results import amount, cost_line, cost_of
from kirigami.search.report.tables import number, plain_console
from kirigami.search.study.attempts import device_seconds_of, devices_of, price_of
from kirigami.search.study.ledger import Ledger
from kirigami.search.study.record import GivenUp, Worker, figure_of, result_of
from kirigami.search.study.states import state_of

HEADS = {"device_s": "device s", "energy_j": "joules", "stored_bytes": "bytes", "interrupted": "lost"}
OF_A_TRIAL = re.compile(r"trial-0*(\d+)")
SHARED = "energy is that of the whole package or device: of trials that shared one, each counts all of it"
UNHEARD = "nobody noted what {} interrupted attempts had spent: they count as 0 s"
UNPRICED = "{} attempts had no cost.per_device_hour: they count at the latest one"
RUNNING = "{} trials are running: they count when they end"


@dataclass(frozen=True)
class Entry:
    """The cost of one attempt at a trial; None if unknown."""

    trial: int
    state: str
    worker: str
    machine: str
    device: str | None
    devices: int
    seconds: float
    device_s: float
    energy_j: float | None
    stored_bytes: int | None
    money: float | None


def entries(ledger: Ledger, stored: dict[int, int] | None) -> list[Entry]:
    """Return an entry for each trial that a worker has begun."""
    return [_entry(trial, ledger.price, stored) for trial in ledger.trials if state_of(trial) != "waiting"]


def stored_bytes(folder: Path) -> dict[int, int] | None:
    """Return the bytes of the files that are kept of each trial; None where the study's folder is not at hand."""
    if not folder.is_dir():
        return None
    sizes: dict[int, int] = {}
    for file in folder.rglob("*"):
        match = OF_A_TRIAL.search(str(file.relative_to(folder)))
        if match and file.is_file():
            sizes[int(match[1])] = sizes.get(int(match[1]), 0) + file.stat().st_size
    return sizes


def account(study: Study, folder: Path, by: str) -> dict[str, Any]:
    """Return the cost of a study as plain data: rows, their total, the study's `cost` as `results` has it, notes."""
    ledger = Ledger().read(study)
    attempts = entries(ledger, stored_bytes(folder))
    return {
        "study": study.study_name,
        "by": by,
        "rows": rows(attempts, by),
        "total": _sum(attempts),
        "cost": cost_of(ledger),
        "notes": _notes(ledger),
    }


def rows(attempts: Sequence[Entry], by: str) -> list[dict[str, Any]]:
    """Return one row a trial, or a worker's or a state's entries summed, the costliest first."""
    if by == "trial":
        return [_whole(attempt) for attempt in attempts]
    groups: dict[tuple[str, ...], list[Entry]] = {}
    for attempt in attempts:
        key = (attempt.worker, attempt.machine) if by == "worker" else (attempt.state,)
        groups.setdefault(key, []).append(attempt)
    names = ("worker", "machine") if by == "worker" else ("state",)
    summed = [{**dict(zip(names, key, strict=True)), **_sum(group)} for key, group in groups.items()]
    return sorted(summed, key=lambda row: -float(row["device_s"]))


def print_account(study: Study, folder: Path, by: str, form: str) -> None:
    """Print the cost of a study."""
    costs = account(study, folder, by)
    if form == "json":
        print(json.dumps(costs, indent=2))
    elif form == "csv":
        columns = _columns(costs, by, for_people=False)
        writer = csv.DictWriter(sys.stdout, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(costs["rows"])
    else:
        _print_table(costs, by, plain_console())


def _print_table(costs: dict[str, Any], by: str, console: Console) -> None:
    columns = _columns(costs, by, for_people=True)
    currency = costs["cost"].get("currency")
    table = Table(
        title=f"{costs['study']}: what it has cost, by {by}", show_footer=by != "trial" or bool(costs["rows"])
    )
    for column in columns:
        left = column in ("worker", "state", "device")
        total = "total" if column == columns[0] else _shown(column, costs["total"].get(column))
        head = str(currency) if column == "money" and currency else HEADS.get(column, column)
        table.add_column(head, total, justify="left" if left else "right", no_wrap=True)
    for row in costs["rows"]:
        table.add_row(*(_shown(column, row.get(column)) for column in columns))
    console.print(table)
    console.print(cost_line(costs["cost"]), highlight=False)
    for note in costs["notes"]:
        console.print(note, highlight=False)


def _columns(costs: dict[str, Any], by: str, *, for_people: bool) -> list[str]:
    """Return the columns of a table; people are spared those of which nothing is known."""
    if by == "trial":
        names = ["trial", "state", "worker", "machine", "device", "devices", "seconds"]
    else:
        names = [*(["worker", "machine"] if by == "worker" else ["state"]), "trials", "seconds"]
    names += ["device_s", "energy_j", "stored_bytes", "money"]
    names += ["interrupted", "pruned"] if by == "worker" else []
    empty = {name for name in names if all(row.get(name) is None for row in costs["rows"])}
    if by == "trial" and all(row["devices"] == 1 for row in costs["rows"]):
        empty |= {"devices", "seconds"}  # these are the device seconds
    return [name for name in names if not for_people or (name != "machine" and name not in empty)]


def _entry(trial: FrozenTrial, latest_price: float | None, stored: dict[int, int] | None) -> Entry:
    result, worker = result_of(trial), Worker.from_attrs(trial.user_attrs) or Worker()
    over = trial.state.is_finished()
    device_s = device_seconds_of(trial) if over else 0.0
    price = price_of(trial) if price_of(trial) is not None else latest_price
    seconds = result.wall_s if result.wall_s is not None else GivenUp.from_attrs(trial.user_attrs).lost_s
    return Entry(
        trial=trial.number,
        state=state_of(trial),
        worker=worker.name,
        machine=worker.machine,
        device=result.device,
        devices=devices_of(trial),
        seconds=float(seconds or 0.0) if over else 0.0,
        device_s=device_s,
        energy_j=result.energy_j,
        stored_bytes=None if stored is None else stored.get(trial.number, 0),
        money=None if price is None else device_s * price / 3600,
    )


def _whole(attempt: Entry) -> dict[str, Any]:
    return {
        **vars(attempt),
        "seconds": round(attempt.seconds, 3),
        "device_s": round(attempt.device_s, 3),
        "money": None if attempt.money is None else round(attempt.money, 6),
    }


def _sum(group: Sequence[Entry]) -> dict[str, Any]:
    """Return the sums of a group, and which shares of its device seconds went to attempts that were cut short."""
    device_s = sum(attempt.device_s for attempt in group)
    energy, money = _sum_known(attempt.energy_j for attempt in group), _sum_known(attempt.money for attempt in group)
    share = {
        state: sum(attempt.device_s for attempt in group if attempt.state == state) / device_s if device_s else 0.0
        for state in ("interrupted", "pruned")
    }
    return {
        "trials": len(group),
        "seconds": round(sum(attempt.seconds for attempt in group), 3),
        "device_s": round(device_s, 3),
        "energy_j": None if energy is None else round(energy, 1),
        "stored_bytes": _sum_known(attempt.stored_bytes for attempt in group),
        "money": None if money is None else round(money, 4),
        **{state: round(value, 4) for state, value in share.items()},
    }


def _sum_known(values: Iterable[Any]) -> Any:
    """Return the sum of the known values; None without any."""
    present = [value for value in values if value is not None]
    return sum(present) if present else None


def _notes(ledger: Ledger) -> list[str]:
    unheard = sum(
        GivenUp.from_attrs(trial.user_attrs).lost_s is None and figure_of(trial, "device_s") is None
        for trial in ledger.by_state["interrupted"]
    )
    unpriced = sum(device_seconds_of(trial) > 0 and price_of(trial) is None for trial in ledger.settled)
    running = ledger.count("running")
    return [
        *([SHARED] if ledger.energy_j is not None else []),
        *([UNHEARD.format(unheard)] if unheard else []),
        *([UNPRICED.format(unpriced)] if unpriced and ledger.price is not None else []),
        *([RUNNING.format(running)] if running else []),
    ]


def _shown(column: str, value: Any) -> str:
    if column == "money":
        return "" if value is None else amount(value)
    form = ".0%" if column in ("interrupted", "pruned") else ".1f" if isinstance(value, float) else ""
    return number(value, form)
