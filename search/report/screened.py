"""The report of a screen: a table of its draws, and sentences on the search's results for them."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from kirigami.search.report.tables import narrow, number, settings


def table(result: Mapping[str, Any]) -> Table:
    """Return the draws, best first, each with its result in the search."""
    epochs = "1 epoch" if result["epochs"] == 1 else f"{result['epochs']} epochs"
    shown = narrow(f"{result['study']}: {len(result['draws'])} draws after {epochs}, by {result['by']}")
    for column in ("draw", result["metric"], "Kz/‖W‖", "seconds", "trial", "final"):
        shown.add_column(column, justify="right", no_wrap=True)
    shown.add_column("settings", overflow="fold")
    for row in result["draws"]:
        drawn = settings({path.rpartition(".")[2]: value for path, value in row["params"].items()})
        shown.add_row(
            str(row["draw"]),
            number(row["score"], ".4f"),
            number(row["smoothness"], ".3g"),
            number(row["seconds"] or None, ".2f"),
            "" if row["trial"] is None else str(row["trial"]),
            row["state"] if row["final"] is None else number(row["final"], ".4f"),
            row["reason"] or drawn,
        )
    return shown


def sentences(result: Mapping[str, Any]) -> list[str]:
    """Return sentences on the queued trials, and on how well the screen predicted the trials trained so far."""
    queued, waiting = result["queued"], sum(row["state"] == "waiting" for row in result["draws"])
    lines = [
        f"{result['seconds']:.1f} s of training. {len(queued)} draws queued; {waiting} wait for `kirigami search`."
    ]
    best = [row for row in result["draws"] if row["score"] is not None][: result["top"]]
    left = sum(row["trial"] is None for row in best)
    if left:
        lines.append(f"{left} of the best {len(best)} found no room: raise budget.trials and give the command again.")
    ended = max(value["n"] for value in result["correlation"].values())
    if ended:
        correlations = ", ".join(f"{name} {_correlation(value)}" for name, value in result["correlation"].items())
        lines.append(
            f"Rank correlation with the final {result['metric']} (better is higher), n = {ended}: {correlations}. "
            "They were chosen by the screen, so it says little of the others."
        )
    return lines


def _correlation(value: Mapping[str, Any]) -> str:
    if value["rho"] is None:
        return "(too few)"
    return f"{value['rho']:+.2f} [{value['low']:+.2f}, {value['high']:+.2f}]"
