"""The `report` verb: a page with a study's figures."""

from kirigami.search.command.options import NoOptions
from kirigami.search.command.verb import Call, open_study

Options = NoOptions


def run(call: Call, _options: NoOptions) -> int:
    """Write an HTML page with the study's figures."""
    from kirigami.search.report.page import write_report

    named = call.named()
    print(write_report(open_study(named), named.folder))
    return 0
