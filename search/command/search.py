"""The `search` verb: check what can be checked without torch, then let workers run, resume or join the study."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from optuna.exceptions import StorageInternalError
from optuna.study import Study
from rich.console import Console
from sqlalchemy.exc import SQLAlchemyError

from kirigami.search import storage
from kirigami.search.config.study import checked
from kirigami.search.errors import StudyStopped
from kirigami.search.report import results
from kirigami.search.report.progress import Progress
from kirigami.search.report.wording import counted
from kirigami.search.study import study as studies
from kirigami.search.study.ledger import Ledger
from kirigami.search.study.spending import ended_by
from kirigami.search.study.watching import counter, reader
from kirigami.search.workers import launchers
from kirigami.search.workers.supervisor import SUBMITTED, Supervisor
from kirigami.spaces import Budget


def run_study(raw: dict[str, Any], config_dirs: Sequence[Path]) -> int:
    """Run a composed config; return the exit code.

    Raises:
        InputError: for what is wrong with the config, the data or the store.
        StudyStopped: where the study cannot go on.
    """
    settings = checked(raw)
    config, budget, name = settings.config, settings.config.budget, settings.config.name
    console = Console(soft_wrap=True)
    read = reader(config.storage, name)
    console.print(f"study {name}  store {storage.shown(config.storage.url)}", highlight=False)
    for line in storage.warnings_of(config.storage):
        console.print(line, highlight=False, markup=False)
    found = read()
    if found is not None:
        study, ledger = found
        studies.check_same(study, config.identity)
        if is_met(budget, ledger):
            met = ended_by(budget, ledger) or "budget.trials"
            console.print(f"the budget is met. Raise {met} to go on.", highlight=False)
            results.print_table(study, 3, console)
            return 0
        console.print(f"resuming: {counted(ledger)}", highlight=False)
    folder = storage.folder_of(config.storage.url, name)
    with Progress(console, budget) as progress:
        paths = [Path.cwd(), *(one.resolve() for one in config_dirs)]  # where a user's own modules may lie
        launcher = launchers.build(settings, folder, paths, counter(read))
        reason = Supervisor(launcher, read, progress).run()
    if reason == SUBMITTED:
        return 0
    found = read()
    if found is not None:
        leave_note(found[0])
        results.print_table(found[0], 3, console)
    if reason == "stopped" or found is None:
        console.print("stopped; the same command resumes it", highlight=False)
        return 1
    console.print(f"{reason}. Its files are in {folder}.", highlight=False)
    if not found[1].count("complete", "over"):
        raise StudyStopped(f"no trial of study {name} is complete; `kirigami results` and the logs in {folder} say why")
    return 0


def leave_note(study: Study) -> None:
    """Leave the study's note and figures in the store for any dashboard; a store that refuses them costs nothing."""
    from kirigami.search.report.dashboard import note

    with suppress(StorageInternalError, SQLAlchemyError, storage.StoreAway):
        note.leave(study)


def is_met(budget: Budget, ledger: Ledger) -> bool:
    """Return whether nothing is left to do, not even for a dead worker's trial."""
    if ledger.open or ledger.unretried():
        return False
    return ended_by(budget, ledger) is not None or (budget.trials is not None and ledger.finished >= budget.trials)
