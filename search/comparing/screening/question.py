"""What a screen draws, trains and queues."""

from typing import Annotated, Literal, Self

from annotated_types import doc
from pydantic import Field, model_validator

from kirigami.search.errors import InputError
from kirigami.search.schema import Group


class Question(Group):
    """What a screen draws, trains and queues.

    Attributes:
        by: "score" of the validation rows; "smoothness", the largest Kz/‖W‖ first, as the published scripts rank
            networks; "flatness", the smallest first, as the formula reads: it bounds a curvature.
    """

    draws: Annotated[int, doc("how many configurations are drawn and trained")] = Field(30, ge=1)
    top: Annotated[int, doc("how many of them the next `kirigami search` trains first")] = Field(10, ge=1)
    epochs: Annotated[int, doc("for which each is trained")] = Field(1, ge=1)
    by: Annotated[
        Literal["score", "smoothness", "flatness"],
        doc("score, smoothness (largest Kz/|W| first, as published), or flatness (smallest first)"),
    ] = "score"

    @model_validator(mode="after")
    def _queues_no_more_than_it_draws(self) -> Self:
        if self.top > self.draws:
            raise InputError(f"top must be at most draws={self.draws}, but got {self.top}. Set top={self.draws}.")
        return self
