"""Which rates a range test tries."""

from typing import Annotated, Self

from annotated_types import doc
from pydantic import Field, model_validator

from kirigami.search.errors import InputError
from kirigami.search.schema import Group

RATE = "a rate above 0, such as 1e-3"


class Rates(Group):
    """Which rates a range test tries, each a constant factor above the one before."""

    lowest: Annotated[float, doc("the first rate")] = Field(1e-6, gt=0, description=RATE)
    highest: Annotated[float, doc("the last rate")] = Field(10.0, gt=0, description=RATE)
    steps: Annotated[int, doc("how many rates, each a step of training")] = Field(100, ge=10, examples=[100])

    @model_validator(mode="after")
    def _rise(self) -> Self:
        if self.lowest >= self.highest:
            raise InputError(
                f"lowest must be below highest={self.highest:g}, but got {self.lowest:g}. Set lowest=1e-6."
            )
        return self
