"""The `search` verb: check what can be checked without torch, then let workers run, resume or join the study."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from optuna.exceptions import StorageInternalError
from optuna.study import Study
from rich.console import Console
from sqlalchemy.exc import SQLAlchemyError

from kirigami.search import storage
from kirigami.search.config.identity import identity
from kirigami.search.config.resolve import resolve
from kirigami.search.errors import InputError, StudyStopped
from kirigami.search.proposal.judges import build_judge
from kirigami.search.proposal.samplers import sampler_factory
from kirigami.search.report import results
from kirigami.search.report.progress import Progress
from kirigami.search.storage import artifacts
from kirigami.search.storage.server.local import located
from kirigami.search.study import study as studies
from kirigami.search.study.ledger import ENDED, Ledger
from kirigami.search.study.spending import ended_by
from kirigami.search.training import checkpoints
from kirigami.search.workers import launchers
from kirigami.search.workers.supervisor import SUBMITTED, Supervisor, counter, reader
from kirigami.spaces import Budget, Space


def run_study(raw: dict[str, Any], config_dirs: Sequence[Path]) -> int:
    """Run a composed config; return the exit code.

    Raises:
        InputError: for what is wrong with the config, the data or the store.
        StudyStopped: where the study cannot go on.
    """
    config = check_config(raw)
    budget, name = Budget.from_config(config["budget"], config["cost"]), config["name"]
    console = Console(soft_wrap=True)
    read = reader(config["storage"], name)
    console.print(f"study {name}  store {storage.shown(config['storage']['url'])}", highlight=False)
    for line in storage.warnings_of(config["storage"]):
        console.print(line, highlight=False, markup=False)
    found = read()
    if found is not None:
        study, ledger = found
        studies.check_same(study, identity(config))
        if is_met(budget, ledger):
            console.print(
                f"the budget is met: {counted(ledger)}. Raise {ended_by(budget, ledger) or 'budget.trials'} to go on.",
                highlight=False,
            )
            results.print_table(study, 3, console)
            return 0
        console.print(f"resuming: {counted(ledger)}", highlight=False)
    folder = storage.folder_of(config["storage"]["url"], name)
    with Progress(console, budget) as progress:
        paths = [Path.cwd(), *(one.resolve() for one in config_dirs)]  # where a user's own modules may lie
        launcher = launchers.build(raw, config, folder, paths, counter(read))
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
    console.print(f"{reason}: {counted(found[1])}. Its files are in {folder}.", highlight=False)
    if not found[1].count("complete"):
        raise StudyStopped(f"no trial of study {name} is complete; `kirigami results` and the logs in {folder} say why")
    return 0


def leave_note(study: Study) -> None:
    """Leave the study's note and figures in the store for any dashboard; a store that refuses them costs nothing."""
    from kirigami.search.report.dashboard import note

    with suppress(StorageInternalError, SQLAlchemyError, storage.StoreAway):
        note.leave(study)


def check_config(raw: dict[str, Any]) -> dict[str, Any]:
    """Resolve the config and check, without torch, all that can be checked without it; make the store's path absolute.

    Raises:
        InputError: in one line.
    """
    config = resolve(raw)
    config["storage"]["url"] = raw["storage"]["url"] = located(config["storage"].get("url"))
    config["storage"]["artifacts"] = raw["storage"]["artifacts"] = artifacts.absolute(
        config["storage"].get("artifacts")
    )
    checkpoints.check(config["checkpoint"])
    seed = config.get("seed")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InputError(f"seed must be a whole number of at least 0, but got {seed!r}.")
    launchers.check(config)
    name = config["name"]
    if not isinstance(name, str) or not name or any(sign in name for sign in "/\\\0") or name in (".", ".."):
        raise InputError(f"name must be a name that a folder can have, but got {name!r}. Set name=NAME.")
    try:
        Budget.from_config(config["budget"], config["cost"])
        Space.from_config(raw.get("space") or {}, {key: part for key, part in config.items() if key != "space"})
    except ValueError as error:
        raise InputError(str(error)) from error
    sampler_factory(config["sampler"], config["seed"], objectives=len(_objectives(config)))
    build_judge(config["pruner"], objectives=len(_objectives(config)), fidelities=1)
    storage.check(config["storage"], create=True)
    return config


def is_met(budget: Budget, ledger: Ledger) -> bool:
    """Return whether nothing is left to do, not even for a dead worker's trial."""
    if ledger.open or ledger.unretried():
        return False
    return ended_by(budget, ledger) is not None or (budget.trials is not None and ledger.finished >= budget.trials)


def counted(ledger: Ledger) -> str:
    """Return `60 trials (8 complete, 52 pruned)`."""
    words = [f"{ledger.count(state)} {state}" for state in ENDED if ledger.count(state)]
    return f"{ledger.finished} trials ({', '.join(words)})" if words else "0 trials"


def _objectives(config: dict[str, Any]) -> list[Any]:
    setting = config["objective"]
    return list(setting) if isinstance(setting, Sequence | Mapping) and not isinstance(setting, str) else [setting]
