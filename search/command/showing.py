"""Run a verb that trains in this process, and show its result: as JSON, or as a table and sentences."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from kirigami.search.command.verb import Call
from kirigami.search.config import own_code
from kirigami.search.files import as_json
from kirigami.search.report.tables import plain_console
from kirigami.search.training import trainer
from kirigami.search.training.job import Interrupted

WIDTH = 120  # what a table may take: better a line too long than a verdict cut off
Result = Mapping[str, Any]


def prepare(call: Call) -> None:
    """Let a user's own modules be found, and keep Lightning silent."""
    own_code.add_folders(call.folders())
    trainer.quiet()


def run(
    compute: Callable[[Console], Result],
    form: str,
    table: Callable[[Result], Table],
    sentences: Callable[[Result], Sequence[str]],
) -> int:
    """Compute a result that the same command resumes, and show it; return the exit code, 1 where it was stopped.

    Args:
        compute: is given the console on which it shows how far it is; its result names its `file`.
        form: "table" or "json".
        table: of the result.
        sentences: about it.
    """
    progress = plain_console(stderr=True, soft_wrap=True)
    try:
        result = compute(progress)
    except Interrupted:
        progress.print("stopped; the same command resumes it", highlight=False)
        return 1
    show(result, form, table(result), [*sentences(result), f"Written to {result['file']}."])
    return 0


def show(result: Result, form: str, table: Table, lines: Sequence[str]) -> None:
    """Print a result as JSON, or the table and the lines that are made of it."""
    if form == "json":
        print(as_json(result))
        return
    console = plain_console(soft_wrap=True)
    plain_console(width=max(WIDTH, console.width)).print(table)
    for line in lines:
        console.print(line, highlight=False, markup=False)
