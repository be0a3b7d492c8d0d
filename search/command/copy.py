"""The `copy` verb: a study with all its trials in another store."""

from typing import TYPE_CHECKING, Annotated, Self

from annotated_types import doc
from pydantic import model_validator

from kirigami.search.command.verb import Call
from kirigami.search.errors import InputError
from kirigami.search.schema import Group

if TYPE_CHECKING:
    from kirigami.search.storage import Settings


class Options(Group):
    """Where the study goes."""

    to: Annotated[str, doc("the other store's URL, or `store` for the one that `kirigami store` started here")] = ""

    @model_validator(mode="after")
    def _goes_somewhere(self) -> Self:
        if not self.to:
            raise InputError(
                "copy needs to=URL: another store, such as to=postgresql://USER@HOST/DATABASE, or to=store."
            )
        return self


def run(call: Call, options: Options) -> int:
    """Copy a study to another store.

    Raises:
        InputError: where there is no such study, it is being searched, or the target cannot take it.
    """
    import optuna

    from kirigami.search import storage
    from kirigami.search.report.tables import plain_console
    from kirigami.search.study import copying
    from kirigami.search.study.ledger import Ledger

    optuna.logging.set_verbosity(optuna.logging.ERROR)  # our lines say what was made
    (name, settings), console = call.named(), plain_console(soft_wrap=True)
    target = _target(settings, options.to)
    source = copying.settled(settings, name)
    try:
        goal = storage.open_storage(target)
    except InputError as error:
        raise _renamed(error) from error
    copying.make_room(goal, name, storage.check(target, create=True))
    origin = storage.shown(settings.url)
    console.print(f"study {name}  from {origin}  to {storage.shown(target.url)}", highlight=False)
    trials = copying.copy_study(source, goal, name, origin, console)
    waiting = Ledger(trials).count("waiting")
    first = f", {waiting} of them to be run first" if waiting else ""
    files = copying.copy_files(storage.folder_of(settings.url, name), storage.folder_of(target.url, name))
    console.print(f"{len(trials)} trials copied{first}. {files}", highlight=False)
    console.print("The study stays where it was too: search it in one place only.", highlight=False)
    return 0


def _target(settings: "Settings", to: str) -> "Settings":
    """Return the target's settings, checked as far as that makes nothing."""
    from kirigami.search import storage
    from kirigami.search.storage.server.local import located

    try:
        target = storage.Settings.read({**settings.model_dump(), "url": located(to)})
        storage.check(target, create=True)
    except InputError as error:
        raise _renamed(error) from error
    if target.url == settings.url:
        raise InputError(f"to={storage.shown(target.url)} is the store that the study is in. Set to= to another.")
    return target


def _renamed(error: InputError) -> InputError:
    """Name the option that was given wrongly."""
    return InputError(str(error).replace("storage.url=", "to=").replace("storage.url", "to"))
