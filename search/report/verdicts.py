"""How a comparison is shown: its arms as a table, each verdict as a sentence."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from kirigami.search.report.tables import narrow, number


def table(result: Mapping[str, Any]) -> Table:
    """Return the verdicts as a table."""
    shown = narrow(f"{result['study']}: {result['metric']}, {len(result['seeds'])} paired repeats, {result['from']}")
    level = f"{100 * result['level']:.0f} % interval"
    for column in (result["over"].rpartition(".")[2], "mean ± sd", "median\ndiff.", level, "p\n(Holm)", "Cliff\nδ"):
        shown.add_column(column, no_wrap=True)
    for column in ("time", "verdict"):
        shown.add_column(column, no_wrap=True)
    for row in result["arms"]:
        name, score = row["arm"], scored(row)
        if "verdict" not in row:
            shown.add_row(name, score, "", "", "", "", f"{row['seconds']:.1f} s", "reference")
            continue
        shown.add_row(
            name,
            score,
            number(row["difference"], "+.3f"),
            ", ".join(number(end, "+.3f") for end in row["interval"] if end is not None),
            number(row["p_holm"], ".2g"),
            number(row["cliffs_delta"], "+.2f"),
            "" if row["seconds_ratio"] is None else f"{100 * (row['seconds_ratio'] - 1):+.0f} %",
            row["verdict"],
        )
    return shown


def scored(row: Mapping[str, Any]) -> str:
    """Return mean and deviation of an arm, and how often it failed."""
    failed = f"{row['failed']} failed"
    if not row["runs"]:
        return failed
    return f"{number(row['mean'], '.3f')} ± {number(row['sd'], '.3f')}" + (f", {failed}" if row["failed"] else "")


def sentences(result: Mapping[str, Any]) -> list[str]:
    """Return each verdict as a sentence."""
    unit = f"{result['metric']}, margin ±{result['margin']:g}"
    return [
        f"{result['over']}={row['arm']} is {row['verdict']} "
        f"{'to' if row['verdict'] == 'equivalent' else 'against' if row['verdict'] == 'undecided' else 'than'} "
        f"{result['reference']} ({unit}); {_saved(row)}"
        for row in result["arms"]
        if "verdict" in row
    ]


def _saved(row: Mapping[str, Any]) -> str:
    if row["seconds_ratio"] is None:
        return "no seconds to compare"
    share = 100 * (1 - row["seconds_ratio"])
    words = "fewer" if share >= 0 else "more"
    return f"{abs(share):.0f} % {words} seconds of training"
