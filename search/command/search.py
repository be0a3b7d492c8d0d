"""The `search` verb: run, resume or join a study."""

from kirigami.search.command.options import NoOptions
from kirigami.search.command.verb import Call

Options = NoOptions


def run(call: Call, _options: NoOptions) -> int:
    """Run, resume or join a study."""
    from kirigami.search.command.searching import run_study

    return run_study(call.composed(), call.folders())
