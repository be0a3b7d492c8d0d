"""A study from its config to its results: checked without torch, then run, resumed or joined by workers."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from optuna.exceptions import StorageInternalError
from optuna.study import Study
from rich.console import Console
from sqlalchemy.exc import SQLAlchemyError

from kirigami.search import storage
from kirigami.search.config.settings import StudyConfig
from kirigami.search.config.study import checked
from kirigami.search.errors import StudyStopped
from kirigami.search.report import results
from kirigami.search.report.progress import Progress
from kirigami.search.report.tables import plain_console
from kirigami.search.report.wording import counted
from kirigami.search.study import study as studies
from kirigami.search.study.ledger import Ledger
from kirigami.search.study.spending import ended_by
from kirigami.search.study.watching import counter, reader
from kirigami.search.workers import launchers
from kirigami.search.workers.supervisor import SUBMITTED, Supervisor
from kirigami.spaces import Budget


def run_study(raw: dict[str, Any], folders: Sequence[Path]) -> int:
    """Run a composed config; return the exit code.

    Args:
        folders: where a user's own modules may lie.

    Raises:
        InputError: for what is wrong with the config, the data or the store.
        StudyStopped: where the study cannot go on.
    """
    settings = checked(raw)
    config, console = settings.config, plain_console(soft_wrap=True)
    read = reader(config.storage, config.name)
    console.print(f"study {config.name}  store {storage.shown(config.storage.url)}", highlight=False)
    for line in storage.warnings_of(config.storage):
        console.print(line, highlight=False, markup=False)
    before = read()
    if before is not None and _needs_nothing(config, *before, console):
        return 0
    folder = storage.folder_of(config.storage.url, config.name)
    with Progress(console, config.budget) as progress:
        launcher = launchers.build(settings, folder, list(folders), counter(read))
        reason = Supervisor(launcher, read, progress).run()
    return 0 if reason == SUBMITTED else _ended(reason, read(), config.name, folder, console)


def _needs_nothing(config: StudyConfig, study: Study, ledger: Ledger, console: Console) -> bool:
    """Say how far a study is that was begun before; return whether its budget is met.

    Raises:
        InputError: where it was begun with another config.
    """
    studies.check_same(study, config.identity)
    if not is_met(config.budget, ledger):
        console.print(f"resuming: {counted(ledger)}", highlight=False)
        return False
    met = ended_by(config.budget, ledger) or "budget.trials"
    console.print(f"the budget is met. Raise {met} to go on.", highlight=False)
    results.print_table(study, 3, console)
    return True


def _ended(reason: str, state: tuple[Study, Ledger] | None, name: str, folder: Path, console: Console) -> int:
    """Print the result of a study and why it ended; return the exit code.

    Raises:
        StudyStopped: where not one trial is complete.
    """
    if state is not None:
        leave_note(state[0])
        results.print_table(state[0], 3, console)
    if reason == "stopped" or state is None:
        console.print("stopped; the same command resumes it", highlight=False)
        return 1
    console.print(f"{reason}. Its files are in {folder}.", highlight=False)
    if not state[1].count("complete", "over"):
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
