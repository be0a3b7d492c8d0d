"""The `compare` verb: whether a choice matters."""

from kirigami.search.command.options import Format
from kirigami.search.command.verb import Call
from kirigami.search.comparing.question import Question
from kirigami.search.training.loading import quickly


class Options(Question):
    """What is compared, and how the verdicts are shown."""

    format: Format = "table"


def run(call: Call, options: Options) -> int:
    """Compare the values of one dimension by paired repeats."""
    from functools import partial

    with quickly():
        from kirigami.search.command import showing
        from kirigami.search.comparing import training
        from kirigami.search.comparing.compare import compare
        from kirigami.search.report import verdicts
        from kirigami.search.training import devices

    showing.prepare(call)
    repeat = partial(training.repeat, threads=devices.threads_per_worker(1))
    return showing.run(
        lambda console: compare(call.overrides, call.config_dirs, options, repeat, console),
        options.format,
        verdicts.table,
        verdicts.sentences,
    )
