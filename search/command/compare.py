"""What the command runs for `compare` and `confirm`, and how they show what they found."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from kirigami.search import storage
from kirigami.search.comparing import compare as comparing
from kirigami.search.comparing import confirm as confirming
from kirigami.search.comparing import training
from kirigami.search.comparing.asked import Asked, check_format, check_repeats
from kirigami.search.config import own_code
from kirigami.search.config.reading import named
from kirigami.search.files import as_json
from kirigami.search.report.tables import narrow, number
from kirigami.search.study import study as studies
from kirigami.search.training import devices
from kirigami.search.training import trainer as trainers
from kirigami.search.training.job import Interrupted

WIDTH = 120  # what a table may take: better a line too long than a verdict cut off


def compare(overrides: list[str], config_dirs: list[Path], options: Mapping[str, Any]) -> int:
    """Compare the values of one dimension by paired repeats; return the exit code."""
    check_format(options["format"])
    asked = Asked.read(options)
    _prepare(config_dirs)
    repeat = partial(training.repeat, threads=devices.threads_per_worker(1))
    try:
        result = comparing.compare(overrides, config_dirs, asked, repeat, _progress())
    except Interrupted:
        return _stopped()
    if options["format"] == "json":
        print(as_json(result))
        return 0
    _show(comparing.table(result), [*comparing.said(result), f"Written to {result['file']}."])
    return 0


def confirm(overrides: list[str], config_dirs: list[Path], options: Mapping[str, Any]) -> int:
    """Train a study's leaders under new seeds and tell the winner; return the exit code."""
    check_format(options["format"])
    check_repeats("seeds", options["seeds"])
    meant = named(overrides, config_dirs)
    study = studies.known(storage.open_storage(meant.storage, create=False), meant.name)
    _prepare(config_dirs)
    retrain = partial(training.retrain, threads=devices.threads_per_worker(1))
    try:
        result = confirming.confirm(
            study, meant.folder, top=options["top"], seeds=options["seeds"], console=_progress(), retrain=retrain
        )
    except Interrupted:
        return _stopped()
    if options["format"] == "json":
        print(as_json(result))
        return 0
    _show(leaders_table(result), [*winner_said(result), f"Written to {result['file']}."])
    return 0


def leaders_table(result: Mapping[str, Any]) -> Table:
    """Return the leaders, best first, each tested against the first."""
    title = f"{result['study']}: {result['metric']}, {len(result['trials'])} leaders, {len(result['seeds'])} new seeds"
    shown = narrow(title)
    for column in (
        "trial",
        "mean ± sd",
        "median\ndiff.",
        "p\n(Holm)",
        "Cliff's\nδ",
        "bytes",
        "seconds",
        "against best",
    ):
        shown.add_column(column, no_wrap=True)
    for row in result["trials"]:
        tested = "verdict" in row
        shown.add_row(
            str(row["trial"]),
            comparing.scored(row),
            number(row["difference"], "+.3f") if tested else "",
            number(row["p_holm"], ".2g") if tested else "",
            number(row["cliffs_delta"], "+.2f") if tested else "",
            f"{row['bytes']['median']:,.0f}" if "bytes" in row else "",
            f"{row['seconds']:.1f} s",
            {"undecided": "not told apart"}.get(row["verdict"], row["verdict"]) if tested else "",
        )
    return shown


def winner_said(result: Mapping[str, Any]) -> list[str]:
    """Return in sentences who won, what the test rows say, and what speaks against it."""
    first, tied = result["winner"], result["not_told_apart"]
    if tied:
        others = ", ".join(str(one) for one in tied)
        said = [f"Trial {first} has the best mean, but is not told apart from {others}."]
    else:
        said = [f"Trial {first} wins."]
    test = result["test"]
    names = [result["metric"]] if result["metric"] in test else list(test)
    scores = ", ".join(f"{name} {test[name]['mean']:.4f} ± {test[name]['sd']:.4f}" for name in names)
    said.append(f"On the test rows: {scores} over {len(result['seeds'])} networks.")
    for name, limit in result["budget"].items():
        most = result["trials"][0].get(name, {}).get("most", 0)
        if most > limit:
            said.append(f"Its largest network has {most:,.0f} {name}, over budget.{name}={limit:,}.")
    if result["opened_before"]:
        times = "1 time" if result["opened_before"] == 1 else f"{result['opened_before']} times"
        said.append(f"The test rows had been opened {times} before: they are no longer unseen.")
    return said


def _prepare(config_dirs: Sequence[Path]) -> None:
    """Let a user's own modules be found, and keep Lightning silent."""
    own_code.add_folders([Path.cwd(), *config_dirs])
    trainers.quiet()


def _progress() -> Console:
    return Console(stderr=True, soft_wrap=True)


def _show(table: Table, lines: Sequence[str]) -> None:
    console = Console(soft_wrap=True)
    Console(width=max(WIDTH, console.width)).print(table)
    for line in lines:
        console.print(line, highlight=False, markup=False)


def _stopped() -> int:
    _progress().print("stopped; the same command resumes it", highlight=False)
    return 1
