"""The `ledger` verb: what a study has cost, by worker, by trial or by state, as a table, JSON or CSV."""

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
from kirigami.search.report.tables import number
from kirigami.search.study.attempts import device_seconds_of, devices_of, price_of
from kirigami.search.study.ledger import Ledger
from kirigami.search.study.record import GivenUp, Worker, figure_of, result_of
from kirigami.search.study.states import state_of

BY = ("worker", "trial", "state")
FORMATS = ("table", "json", "csv")
HEADS = {"device_s": "device s", "energy_j": "joules", "stored_bytes": "bytes", "interrupted": "lost"}
OF_A_TRIAL = re.compile(r"trial-0*(\d+)")
SHARED = "energy is that of the whole package or device: of trials that shared one, each counts all of it"
UNHEARD = "nobody noted what {} interrupted attempts had spent: they count as 0 s"
UNPRICED = "{} attempts had no cost.per_device_hour: they count at the latest one"
RUNNING = "{} trials are running: they count when they end"


@dataclass(frozen=True)
class Entry:
    """What one attempt at a trial has cost; None where that is not known."""

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
    found: dict[int, int] = {}
    for file in folder.rglob("*"):
        match = OF_A_TRIAL.search(str(file.relative_to(folder)))
        if match and file.is_file():
            found[int(match[1])] = found.get(int(match[1]), 0) + file.stat().st_size
    return found


def account(study: Study, folder: Path, by: str) -> dict[str, Any]:
    """Return what a study has cost as plain data: rows, their total, the study's `cost` as `results` has it, notes."""
    ledger = Ledger().read(study)
    found = entries(ledger, stored_bytes(folder))
    return {
        "study": study.study_name,
        "by": by,
        "rows": rows(found, by),
        "total": _sum(found),
        "cost": cost_of(ledger),
        "notes": _notes(ledger),
    }


def rows(found: Sequence[Entry], by: str) -> list[dict[str, Any]]:
    """Return one row a trial, or a worker's or a state's entries summed, the costliest first."""
    if by == "trial":
        return [_whole(one) for one in found]
    groups: dict[tuple[str, ...], list[Entry]] = {}
    for one in found:
        groups.setdefault((one.worker, one.machine) if by == "worker" else (one.state,), []).append(one)
    names = ("worker", "machine") if by == "worker" else ("state",)
    summed = [{**dict(zip(names, key, strict=True)), **_sum(group)} for key, group in groups.items()]
    return sorted(summed, key=lambda row: -float(row["device_s"]))


def print_account(study: Study, folder: Path, by: str, form: str) -> None:
    """Print what a study has cost."""
    found = account(study, folder, by)
    if form == "json":
        print(json.dumps(found, indent=2))
    elif form == "csv":
        columns = _columns(found, by, for_people=False)
        writer = csv.DictWriter(sys.stdout, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(found["rows"])
    else:
        _print_table(found, by, Console())


def _print_table(found: dict[str, Any], by: str, console: Console) -> None:
    columns = _columns(found, by, for_people=True)
    currency = found["cost"].get("currency")
    table = Table(
        title=f"{found['study']}: what it has cost, by {by}", show_footer=by != "trial" or bool(found["rows"])
    )
    for column in columns:
        left = column in ("worker", "state", "device")
        total = "total" if column == columns[0] else _shown(column, found["total"].get(column))
        head = str(currency) if column == "money" and currency else HEADS.get(column, column)
        table.add_column(head, total, justify="left" if left else "right", no_wrap=True)
    for row in found["rows"]:
        table.add_row(*(_shown(column, row.get(column)) for column in columns))
    console.print(table)
    console.print(cost_line(found["cost"]), highlight=False)
    for note in found["notes"]:
        console.print(note, highlight=False)


def _columns(found: dict[str, Any], by: str, *, for_people: bool) -> list[str]:
    """Return the columns of a table; people are spared those of which nothing is known."""
    if by == "trial":
        names = ["trial", "state", "worker", "machine", "device", "devices", "seconds"]
    else:
        names = [*(["worker", "machine"] if by == "worker" else ["state"]), "trials", "seconds"]
    names += ["device_s", "energy_j", "stored_bytes", "money"]
    names += ["interrupted", "pruned"] if by == "worker" else []
    empty = {name for name in names if all(row.get(name) is None for row in found["rows"])}
    if by == "trial" and all(row["devices"] == 1 for row in found["rows"]):
        empty |= {"devices", "seconds"}  # these are the device seconds
    return [name for name in names if not for_people or (name != "machine" and name not in empty)]


def _entry(trial: FrozenTrial, latest_price: float | None, stored: dict[int, int] | None) -> Entry:
    result, worker = result_of(trial), Worker.from_attrs(trial.user_attrs) or Worker()
    over = trial.state.is_finished()
    device_s = device_seconds_of(trial) if over else 0.0
    price = price_of(trial) if price_of(trial) is not None else latest_price
    kept = None if stored is None else stored.get(trial.number, 0)
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
        stored_bytes=kept,
        money=None if price is None else device_s * price / 3600,
    )


def _whole(one: Entry) -> dict[str, Any]:
    return {
        **vars(one),
        "seconds": round(one.seconds, 3),
        "device_s": round(one.device_s, 3),
        "money": None if one.money is None else round(one.money, 6),
    }


def _sum(group: Sequence[Entry]) -> dict[str, Any]:
    """Return the sums of a group, and which shares of its device seconds went to attempts that were cut short."""
    device_s = sum(one.device_s for one in group)
    energy, money = _known(one.energy_j for one in group), _known(one.money for one in group)
    share = {
        state: sum(one.device_s for one in group if one.state == state) / device_s if device_s else 0.0
        for state in ("interrupted", "pruned")
    }
    return {
        "trials": len(group),
        "seconds": round(sum(one.seconds for one in group), 3),
        "device_s": round(device_s, 3),
        "energy_j": None if energy is None else round(energy, 1),
        "stored_bytes": _known(one.stored_bytes for one in group),
        "money": None if money is None else round(money, 4),
        **{state: round(value, 4) for state, value in share.items()},
    }


def _known(values: Iterable[Any]) -> Any:
    """Return the sum of what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _notes(ledger: Ledger) -> list[str]:
    unheard = sum(
        GivenUp.from_attrs(one.user_attrs).lost_s is None and figure_of(one, "device_s") is None
        for one in ledger.by_state["interrupted"]
    )
    unpriced = sum(device_seconds_of(one) > 0 and price_of(one) is None for one in ledger.settled)
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
