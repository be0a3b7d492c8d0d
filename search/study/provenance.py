"""What a trial was made with: its config, versions and the revision of the code it ran from."""

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from optuna.trial import FrozenTrial

from kirigami.search.errors import InputError
from kirigami.search.study.record import Origin

PACKAGES = ("kirigami-search", "torch", "lightning", "optuna", "numpy")


def origin_of(trial: FrozenTrial) -> Origin:
    """Return what a trial was made from, as it was recorded.

    Raises:
        InputError: where nothing was: another program made it.
    """
    origin = Origin.from_attrs(trial.user_attrs)
    if origin is None:
        raise InputError(
            f"trial {trial.number} was not made by kirigami: its store has no config of it, from which to train it. "
            "`kirigami results`, `report`, `ledger` and `dashboard` read such a study."
        )
    return origin


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide a trial's numbers."""
    numbers = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            numbers[package] = version(package)
        except PackageNotFoundError:
            continue
    return numbers


@cache
def revision(folder: Path | None = None) -> str | None:
    """Return the git revision of the folder (by default where the command runs), `+` where it has changes."""
    folder = folder or Path.cwd()
    commit = _git(folder, "rev-parse", "--short=12", "HEAD")
    if commit is None:
        return None
    return commit + ("+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
