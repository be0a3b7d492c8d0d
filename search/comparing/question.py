"""What a comparison is to find out: which dimension, between which values, in how many repeats."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from annotated_types import doc
from pydantic import Field, model_validator

from kirigami.search.errors import InputError
from kirigami.search.schema import Group

LEAST_PAIRS = 5  # with fewer, no difference is beyond chance


class Question(Group):
    """What a comparison is to find out.

    Attributes:
        over: dotted path of a leaf, a group of files, or "study".
        values: of that dimension; None for all choices that the space has.
        reference: None for the config's own value, or the largest fraction.
        from_: "auto" takes all other values from the best trial where there is one, else from the config.
        metric: empty for the first objective.
    """

    over: Annotated[str, doc("what to compare: a leaf of the config, a group of files, or study")] = ""
    values: Annotated[
        list[Any] | None, doc("a list such as [0.5,1.0]; by default all choices of the study's space")
    ] = Field(None, description="a list such as [A,B]")
    reference: Annotated[Any | None, doc("what the others are compared with; by default the config's own value")] = None
    against: Annotated[str, doc("the other study, for over=study")] = ""
    repeats: Annotated[int, doc("seeds, which all values share")] = Field(20, ge=LEAST_PAIRS, examples=[20])
    margin: Annotated[float, doc("the largest difference that does not matter, in the metric's unit")] = Field(
        0.02, gt=0, description="a number above 0, in the metric's unit"
    )
    from_: Annotated[
        Literal["auto", "best", "config"], doc("where all else comes from: best (trial), config, or auto")
    ] = "auto"
    metric: Annotated[str, doc("of the validation rows; by default the first objective")] = ""

    @model_validator(mode="after")
    def _is_over_something(self) -> Self:
        if not self.over:
            raise InputError("over= is missing: what to compare. Set over=task.fraction, over=optimizer or over=study.")
        return self

    def all_values(self) -> list[Any]:
        """Return the values and the reference, once each."""
        return _once([*(self.values or []), *([] if self.reference is None else [self.reference])])

    def arranged(self, own: Any, values: Sequence[Any]) -> tuple[Any, list[Any]]:
        """Return the reference and all values, itself among them, once each.

        Args:
            own: the config's own value.
            values: those that are compared.

        Raises:
            InputError: where fewer than two are left.
        """
        different = _once(values)
        reference = self._reference(own, different) if self.reference is None else self.reference
        different = _once([*different, reference])
        if len(different) < 2:
            raise InputError(f"over={self.over} needs at least two values, but got {different!r}. Set values=[A,B].")
        return reference, different

    def _reference(self, own: Any, values: list[Any]) -> Any:
        """Return what values are compared with by default: of fractions the largest, else the config's own."""
        is_number = all(isinstance(value, int | float) for value in values)
        if self.over.rpartition(".")[2] == "fraction" and is_number:
            return max(values, default=None)
        return own if own in values else next(iter(values), None)


def _once(values: Sequence[Any]) -> list[Any]:
    different: list[Any] = []
    for value in values:
        if value not in different:
            different.append(value)
    return different
