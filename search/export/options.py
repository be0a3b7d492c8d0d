"""What is exported of a study, and how far its network is cut."""

from typing import Annotated

from annotated_types import doc
from pydantic import Field

from kirigami.search.schema import Group


class Options(Group):
    """What is exported.

    Attributes:
        trial: chosen is the winner of `confirm`, else the smallest file not told apart from the best.
        path: where the data lie now; None is where the trial read them.
    """

    trial: Annotated[str, doc("chosen, best, front, or a trial's number")] = "chosen"
    tolerance: Annotated[float, doc("share of the validation score that the last cuts may cost")] = Field(
        0.005, ge=0, le=1, description="a number from 0 to 1"
    )
    twin: Annotated[bool, doc("train the same network without techniques, to stand beside it")] = True
    refit: Annotated[bool, doc("train it again on all rows but the test rows, as of folds it always is")] = False
    path: Annotated[str | None, doc("where the data lie now, if not where the trial read them")] = None
