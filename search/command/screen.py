"""What the command runs for `screen`, and how it shows what it found."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from kirigami.search.comparing.asked import check_format
from kirigami.search.comparing.screening import smoothness
from kirigami.search.comparing.screening.screen import Asked
from kirigami.search.comparing.screening.screen import screen as screening
from kirigami.search.config import own_code
from kirigami.search.files import as_json
from kirigami.search.report.tables import narrow, number, settings
from kirigami.search.training import devices
from kirigami.search.training import trainer as trainers
from kirigami.search.training.job import Interrupted

WIDTH = 120


def screen(overrides: list[str], config_dirs: list[Path], options: Mapping[str, Any]) -> int:
    """Train draws of a study's space for an epoch and queue the best; return the exit code."""
    check_format(options["format"])
    asked = Asked(options["draws"], options["top"], options["epochs"], options["by"])
    own_code.add_folders([Path.cwd(), *config_dirs])
    trainers.quiet()
    train = partial(smoothness.train, threads=devices.threads_per_worker(1))
    progress = Console(stderr=True, soft_wrap=True)
    try:
        result = screening(overrides, config_dirs, asked, train, progress)
    except Interrupted:
        progress.print("stopped; the same command resumes it", highlight=False)
        return 1
    if options["format"] == "json":
        print(as_json(result))
        return 0
    console = Console(soft_wrap=True)
    Console(width=max(WIDTH, console.width)).print(table(result))
    for line in said(result):
        console.print(line, highlight=False, markup=False)
    return 0


def table(result: Mapping[str, Any]) -> Table:
    """Return the draws, best first, each with what the search made of it."""
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


def said(result: Mapping[str, Any]) -> list[str]:
    """Return in sentences what was queued, and how well the screen foretold what is trained by now."""
    queued, waiting = result["queued"], sum(row["state"] == "waiting" for row in result["draws"])
    lines = [
        f"{result['seconds']:.1f} s of training. {len(queued)} draws queued; {waiting} wait for `kirigami search`."
    ]
    best = [row for row in result["draws"] if row["score"] is not None][: result["top"]]
    left = sum(row["trial"] is None for row in best)
    if left:
        lines.append(f"{left} of the best {len(best)} found no room: raise budget.trials and give the command again.")
    ended = max(found["n"] for found in result["correlation"].values())
    if ended:
        told = ", ".join(f"{name} {_correlation(found)}" for name, found in result["correlation"].items())
        lines.append(
            f"Rank correlation with the final {result['metric']} (better is higher), n = {ended}: {told}. "
            "They were chosen by the screen, so it says little of the others."
        )
    return [*lines, f"Written to {result['file']}."]


def _correlation(found: Mapping[str, Any]) -> str:
    if found["rho"] is None:
        return "(too few)"
    return f"{found['rho']:+.2f} [{found['low']:+.2f}, {found['high']:+.2f}]"
