"""What the user asks of `compare`, read from its key=value options."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from kirigami.search.comparing.statistics import LEAST_PAIRS
from kirigami.search.errors import InputError, one_of

SOURCES = ("auto", "best", "config")
FORMATS = ("table", "json")


@dataclass(frozen=True)
class Asked:
    """The options of `compare`.

    Attributes:
        over: dotted path of a leaf, a group of files, or "study".
        values: of that dimension; None for all choices that the space has.
        reference: what the others are compared with; None for the config's own value, or the largest fraction.
        against: the other study.
        repeats: how many seeds.
        margin: the largest difference that does not matter, in the metric's unit.
        source: "best" takes all other values from the best trial, "config" from the config, "auto" from the best
            trial where there is one.
        metric: of the validation rows; empty for the first objective.
    """

    over: str
    values: list[Any] | None
    reference: Any
    against: str
    repeats: int
    margin: float
    source: str
    metric: str

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> "Asked":
        """Read the options of the command.

        Raises:
            InputError: where one is missing or out of its range.
        """
        if not given["over"]:
            raise InputError("over= is missing: what to compare. Set over=task.fraction, over=optimizer or over=study.")
        check_repeats("repeats", given["repeats"])
        if given["from"] not in SOURCES:
            raise one_of("from", given["from"], SOURCES)
        values = read_value("values", given["values"]) if given["values"] else None
        if values is not None and not isinstance(values, list):
            raise InputError(f"values must be a list such as [A,B], but got {given['values']!r}.")
        return cls(
            over=given["over"],
            values=values,
            reference=read_value("reference", given["reference"]) if given["reference"] else None,
            against=given["against"],
            repeats=given["repeats"],
            margin=_margin(given["margin"]),
            source=given["from"],
            metric=given["metric"],
        )

    def all_values(self) -> list[Any]:
        """Return the values asked for and the reference, once each."""
        return _once([*(self.values or []), *([] if self.reference is None else [self.reference])])

    def arranged(self, own: Any, values: Sequence[Any]) -> tuple[Any, list[Any]]:
        """Return the reference and all values, itself among them, once each.

        Raises:
            InputError: where fewer than two are left.
        """
        found = _once(values)
        reference = self.reference
        if reference is None:
            is_fraction = self.over.rpartition(".")[2] == "fraction" and all(
                isinstance(one, int | float) for one in found
            )
            reference = max(found, default=None) if is_fraction else own if own in found else next(iter(found), None)
        found = _once([*found, reference])
        if len(found) < 2:
            raise InputError(f"over={self.over} needs at least two values, but got {found!r}. Set values=[A,B].")
        return reference, found


def check_repeats(name: str, value: Any) -> None:
    """Raise `InputError` where there are too few repeats for any verdict."""
    if value < LEAST_PAIRS:
        raise InputError(f"{name} must be at least {LEAST_PAIRS}, but got {value}. Set {name}=20.")


def check_format(value: str) -> None:
    """Raise `InputError` for an unknown format."""
    if value not in FORMATS:
        raise one_of("format", value, FORMATS)


def read_value(name: str, text: str) -> Any:
    """Return a value written as in a config: 1e-3, relu, [0.5, 1.0].

    Raises:
        InputError: where it cannot be read.
    """
    try:
        read: Any = OmegaConf.to_container(OmegaConf.create(f"value: {text}"))
    except (YAMLError, OmegaConfBaseException, ValueError) as error:
        raise InputError(f"{name}={text} cannot be read. Write {name}=[0.5,1.0], for example.") from error
    if not isinstance(read, dict) or "value" not in read:
        raise InputError(f"{name}={text} cannot be read. Write {name}=[0.5,1.0], for example.")
    return read["value"]


def _margin(text: Any) -> float:
    try:
        margin = float(text)
    except ValueError:
        margin = -1.0
    if not 0 < margin < float("inf"):
        raise InputError(f"margin must be a number above 0, in the metric's unit, but got {text!r}.")
    return margin


def _once(values: Sequence[Any]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found
