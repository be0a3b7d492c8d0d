"""The `new` verb: a study for a user's own data."""

import shlex
from pathlib import Path
from typing import Annotated, Any

from annotated_types import doc

from kirigami.search.command.verb import Call
from kirigami.search.errors import InputError
from kirigami.search.schema import Group


class Options(Group):
    """What is learnt, and where the study is written."""

    target: Annotated[str, doc("the column to learn, of a table")] = ""
    name: Annotated[str, doc("of the study; by default the file's")] = ""
    to: Annotated[Path | None, doc("the folder for --config-dir; by default that, else conf")] = None


def run(call: Call, options: Options) -> int:
    """Look at data, write a study for them, and print the commands that follow."""
    from kirigami.search.drafting.looking import look
    from kirigami.search.drafting.sizes import sizes_of
    from kirigami.search.drafting.study import summary, text_of
    from kirigami.search.files import write_text

    (data,) = call.files
    folder = options.to or next(iter(call.config_dirs), Path("conf"))
    name = options.name or data.resolve().name.partition(".")[0] or "mine"
    file = folder / "study" / f"{name}.yaml"
    _check_place(file, name)
    seen = look(data, options.target, dict(knob(override) for override in call.overrides))
    print(summary(data, seen))
    for line in seen.remarks:
        print(line)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, text_of(data, seen, sizes_of(seen)))
    try:
        _check_study(folder, name)
    except BaseException:
        file.unlink()
        raise
    print(f"{file} is written: change it as you like.\n\nNext:")
    for line in commands(folder, name, data):
        print(f"  {line}")
    return 0


def knob(override: str) -> tuple[str, Any]:
    """Return a knob of the task that was set on the command line, and its value."""
    from kirigami.search.config.overrides import value_of

    key, value = value_of(override)
    return key.removeprefix("task."), value


def commands(folder: Path, name: str, data: Path) -> list[str]:
    """Return the commands that follow, as a shell reads them."""
    study = f"--config-dir {shlex.quote(str(folder))} {shlex.quote(f'study={name}')}"
    file = shlex.quote(str(Path("studies") / name / "export" / "model.kgm"))
    return [
        f"kirigami search {study}",
        f"kirigami export {study}",
        f"kirigami predict {file} {shlex.quote(str(data))}",
    ]


def _check_place(file: Path, name: str) -> None:
    if file.exists():
        raise InputError(f"{file} is there already, and is not overwritten. Set name=OTHER, or remove it.")
    if any(sign in name for sign in "/\\\0") or name in (".", ".."):
        raise InputError(f"name must be a name that a file can have, but got {name!r}. Set name=NAME.")


def _check_study(folder: Path, name: str) -> None:
    """Compose the study and build it once, as the search does first of all.

    Raises:
        ValueError: where it does not suit the data.
    """
    from kirigami.search.config.compose import compose
    from kirigami.search.config.study import StudySettings
    from kirigami.search.rehearsal.building import rehearse
    from kirigami.search.training import trainer

    trainer.quiet()
    rehearse(StudySettings.from_raw(compose([f"study={name}"], [folder])))
