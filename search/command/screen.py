"""The `screen` verb: which draws of a study's space its search is to train first."""

from kirigami.search.command.options import Format
from kirigami.search.command.verb import Call
from kirigami.search.comparing.screening.question import Question
from kirigami.search.training.loading import quickly


class Options(Question):
    """What is drawn, trained and queued, and how it is shown."""

    format: Format = "table"


def run(call: Call, options: Options) -> int:
    """Train draws of a study's space for an epoch and queue the best for its search."""
    from functools import partial

    with quickly():
        from kirigami.search.command import showing
        from kirigami.search.comparing.screening import smoothness
        from kirigami.search.comparing.screening.screen import screen
        from kirigami.search.report import screened
        from kirigami.search.training import devices

    showing.prepare(call)
    train = partial(smoothness.train, threads=devices.threads_per_worker(1))
    return showing.run(
        lambda console: screen(call.overrides, call.config_dirs, options, train, console),
        options.format,
        screened.table,
        screened.sentences,
    )
