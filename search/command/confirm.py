"""The `confirm` verb: which of a study's leaders wins under new seeds."""

from typing import Annotated

from annotated_types import doc
from pydantic import Field

from kirigami.search.command.options import Format
from kirigami.search.command.verb import Call, open_study
from kirigami.search.comparing.question import LEAST_PAIRS
from kirigami.search.schema import Group
from kirigami.search.training.loading import quickly


class Options(Group):
    """How many leaders, and under how many seeds."""

    top: Annotated[int, doc("how many leaders")] = Field(5, ge=1)
    seeds: Annotated[int, doc("how many new seeds")] = Field(10, ge=LEAST_PAIRS, examples=[20])
    format: Format = "table"


def run(call: Call, options: Options) -> int:
    """Train a study's leaders under new seeds and name the winner."""
    from functools import partial

    named = call.named()
    study = open_study(named)
    with quickly():
        from kirigami.search.command import showing  # torch comes with it: after what can be said without
        from kirigami.search.comparing import training
        from kirigami.search.comparing.confirm import confirm
        from kirigami.search.report import confirmed
        from kirigami.search.training import devices

    showing.prepare(call)
    retrain = partial(training.retrain, threads=devices.threads_per_worker(1))
    return showing.run(
        lambda console: confirm(
            study, named.folder, top=options.top, seeds=options.seeds, console=console, retrain=retrain
        ),
        options.format,
        confirmed.table,
        confirmed.sentences,
    )
