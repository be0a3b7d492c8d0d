"""The `lr-range` verb: at which rates a study's network learns."""

from kirigami.search.command.options import Format
from kirigami.search.command.verb import Call
from kirigami.search.comparing.rates import Rates
from kirigami.search.training.loading import quickly


class Options(Rates):
    """Which rates are tried, and how they are shown."""

    format: Format = "table"


def run(call: Call, options: Options) -> int:
    """Find a study's learning rates by a range test, and draw its curve."""
    with quickly():
        from kirigami.search.command import showing
        from kirigami.search.comparing.range_test import range_of_rates
        from kirigami.search.report import rates

    showing.prepare(call)
    result, file = range_of_rates(call.overrides, call.config_dirs, options)
    page = rates.write_page(result, file.with_suffix(".html"))
    lines = [*result["said"], f"Drawn in {page}."]
    showing.show({**result, "file": str(page)}, options.format, rates.table(result), lines)
    return 0
