"""The `dashboard` verb: Optuna's dashboard on the store, with our own page."""

from typing import Annotated, Literal

from annotated_types import doc
from pydantic import Field

from kirigami.search.command.verb import Call, open_store
from kirigami.search.schema import Group


class Options(Group):
    """How the dashboard is served."""

    host: Annotated[
        str, doc("the address it listens on; 0.0.0.0: all of this machine's, for anybody, without a login")
    ] = "127.0.0.1"
    port: Annotated[int, doc("the first to try; one other than 8080 must be free")] = Field(
        8080, ge=1, le=65535, description="a whole number from 1 to 65535"
    )
    change: Annotated[
        Literal["notes", "all"], doc("what a visitor may change: notes, or all (rename and delete studies)")
    ] = "notes"


def run(call: Call, options: Options) -> int:
    """Serve the Optuna dashboard on the store."""
    from kirigami.search import storage
    from kirigami.search.report.dashboard.serving import serve
    from kirigami.search.storage.optuna_private import study_id_of
    from kirigami.search.study import study as studies

    named = call.named()
    store = open_store(named)
    print(f"store {storage.shown(named.storage.url)}")
    is_one_meant = any(override.startswith(("study=", "name=")) for override in call.overrides)
    study = study_id_of(studies.existing(store, named.name)) if is_one_meant else None
    serve(store, options.host, options.port, options.change, study)
    return 0
