"""The `ledger` verb: the cost of a study."""

from typing import Annotated, Literal

from annotated_types import doc

from kirigami.search.command.verb import Call, open_study
from kirigami.search.schema import Group


class Options(Group):
    """How costs are summed and shown."""

    by: Annotated[Literal["worker", "trial", "state"], doc("worker, trial, or state")] = "worker"
    format: Annotated[Literal["table", "json", "csv"], doc("table, json, or csv")] = "table"


def run(call: Call, options: Options) -> int:
    """Print the cost of a study."""
    from kirigami.search.report import accounts

    named = call.named()
    accounts.print_account(open_study(named), named.folder, options.by, options.format)
    return 0
