"""The `results` verb: the results of a study."""

from typing import Annotated

from annotated_types import doc
from pydantic import Field

from kirigami.search.command.options import Format
from kirigami.search.command.verb import Call, open_study
from kirigami.search.schema import Group


class Options(Group):
    """How results are shown."""

    format: Format = "table"
    top: Annotated[int, doc("how many of the best trials")] = Field(10, ge=1)


def run(call: Call, options: Options) -> int:
    """Print the results of a study."""
    from kirigami.search.report import results
    from kirigami.search.report.tables import plain_console

    study = open_study(call.named())
    if options.format == "json":
        results.print_json(study, options.top)
    else:
        results.print_table(study, options.top, plain_console())
    return 0
