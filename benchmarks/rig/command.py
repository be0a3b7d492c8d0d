"""The `kirigami` command as benchmarks run it: as a process, in a folder of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# A study lies in a store of the folder's own, whatever store the user has set.
ENV = {name: value for name, value in os.environ.items() if name != "KIRIGAMI_STORAGE"}
COMMAND = [sys.executable, "-c", "from kirigami.search.command.cli import entry; entry()"]


def run(folder: str | Path, *arguments: str) -> None:
    """Run a verb in a folder without its output.

    Raises:
        subprocess.CalledProcessError: where it does not end well.
    """
    subprocess.run([*COMMAND, *arguments], cwd=folder, env=ENV, check=True, stdout=subprocess.DEVNULL)


def as_json(folder: str | Path, *arguments: str) -> dict[str, Any]:
    """Return what a verb that knows `format=json`, such as `results`, prints in a folder."""
    printed = subprocess.check_output([*COMMAND, *arguments, "format=json"], cwd=folder, env=ENV)
    return dict(json.loads(printed))


def trials(folder: str | Path, study: str) -> Sequence[Any]:
    """Return the trials (`optuna.trial.FrozenTrial`) of a study in a folder's own store, in order of their numbers."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    store = optuna.storages.RDBStorage(f"sqlite:///{folder}/studies.db")
    try:
        return optuna.load_study(study_name=study, storage=store).get_trials()
    finally:
        store.engine.dispose()
