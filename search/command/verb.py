"""A verb of the command, its arguments, and the store that it opens."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from optuna.study import Study

    from kirigami.search.config.reading import Named
    from kirigami.search.schema import Group
    from kirigami.search.storage import Store


class Call(NamedTuple):
    """What stands on the command line beside a verb's options.

    Attributes:
        overrides: of the config.
        config_dirs: the user's own folders laid out like conf/.
        files: as many as the verb takes.
    """

    overrides: Sequence[str] = ()
    config_dirs: Sequence[Path] = ()
    files: Sequence[Path] = ()

    def composed(self) -> dict[str, Any]:
        """Return the whole config that is meant, its interpolations kept."""
        from kirigami.search.config.compose import compose

        return compose(self.overrides, self.config_dirs)

    def named(self) -> "Named":
        """Return the study that is meant, and where its store lies."""
        from kirigami.search.config.reading import named

        return named(self.overrides, self.config_dirs)

    def folders(self) -> list[Path]:
        """Return where a user's own modules may lie."""
        return [Path.cwd(), *(folder.resolve() for folder in self.config_dirs)]


class Verb(NamedTuple):
    """A verb of the command, whose options and function stand in the file of its name, loaded when it is asked for.

    Attributes:
        files: names of those that it takes; such a verb reads no config.
        configured: whether it reads the config; one that does not takes its own options alone.
        takes: what an override begins with that a verb with files takes; empty takes none.
        trains: whether it trains what a study says, so that it matters which study that is.
    """

    name: str
    summary: str
    files: tuple[str, ...] = ()
    configured: bool = True
    trains: bool = False
    takes: str = ""

    @property
    def module(self) -> ModuleType:
        """The file of the verb: `Options`, and `run(call, options)`, which returns the exit code."""
        return import_module(f"kirigami.search.command.{self.name.replace('-', '_')}")

    @property
    def options(self) -> "type[Group]":
        """The type of its options."""
        options: type[Group] = self.module.Options
        return options

    def run(self, call: Call, options: "Group") -> int:
        """Run the verb; return the exit code."""
        code: int = self.module.run(call, options)
        return code


def open_store(named: "Named") -> "Store":
    """Open the store of a study that must be there already."""
    from kirigami.search.storage import open_storage

    return open_storage(named.storage, create=False)


def open_study(named: "Named") -> "Study":
    """Open a study that must be there already.

    Raises:
        InputError: where its store has none of that name.
    """
    from kirigami.search.study import study as studies

    return studies.existing(open_store(named), named.name)
