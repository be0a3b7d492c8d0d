"""Groups of the config as frozen, typed objects, and what is wrong with one said in one line, by its full path.

pydantic checks types and ranges; a group declares them once, as annotations, from which the line is made too:
`trainer.epochs must be a whole number of at least 0, but got -1.`
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from kirigami.errors import did_you_mean
from kirigami.search.errors import InputError, one_of

KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


@dataclass(frozen=True)
class Unit:
    """What a number counts: `Annotated[int, Unit("seconds"), Field(ge=1)]`."""

    name: str


class Group(BaseModel):
    """A group of the config: frozen, and strict about types and keys.

    `Field(description=…)` says what a value must be where the annotation alone does not say it well, and
    `Field(examples=[…])` what to set instead.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def read(cls, values: Any, path: str = "") -> Self:
        """Check the values of a group.

        Args:
            values: key -> value, as the config holds them.
            path: of the group in the config; empty for the whole config.

        Raises:
            InputError: in one line, for the first value that makes no sense.
        """
        if not isinstance(values, Mapping):
            raise InputError(f"{path or 'the config'} must be a mapping, but got {values!r}.")
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            line = explained(cls, error.errors(include_url=False)[0], path)
        raise InputError(line)  # not from pydantic's error, which holds all that was read, passwords too


def explained(group: type[BaseModel], error: ErrorDetails, path: str = "") -> str:
    """Return one of pydantic's errors as our line.

    Args:
        group: the class that was read.
        error: what pydantic found.
        path: of the group in the config.
    """
    owner, field, names = _located(group, error["loc"])
    where = ".".join([path, *names] if path else names)
    context, value = error.get("ctx", {}), error["input"]
    match error["type"]:
        case "value_error":  # of a validator of ours, which says it all
            return str(context["error"])
        case "extra_forbidden":
            key, keys = str(error["loc"][-1]), list(owner.model_fields)
            where = f"{where}.{key}" if where else key
            return f"{where}: no such key.{did_you_mean(key, keys)} Keys: {', '.join(keys)}."
        case "missing":
            return f"{where} is not set. Set {where}=VALUE."
        case "union_tag_invalid" | "union_tag_not_found":
            chosen = value.get("name") if isinstance(value, Mapping) else value
            return str(one_of(f"{where}.name", chosen, names_of(*_groups(field.annotation))))
        case "model_type" | "model_attributes_type":
            return f"{where} must be a mapping, but got {value!r}."
    return refused(where, value, field)


def refused(where: str, value: Any, field: FieldInfo) -> str:
    """Return the line for a value that a field does not take."""
    words = field.description or allowed(field.annotation, field.metadata)
    near = did_you_mean(value, get_args(field.annotation)) if get_origin(field.annotation) is Literal else ""
    advice = f" Set {where}={field.examples[0]}." if field.examples else near
    return f"{where} must be {words}, but got {value!r}.{advice}"


def allowed(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """Return in words what an annotation allows: `null or a whole number of at least 1`."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *more = get_args(annotation)
        return allowed(inner, [*metadata, *_constraints(more)])
    if origin in (Union, UnionType):
        parts = sorted(get_args(annotation), key=lambda part: part is not NoneType)
        parts = [part for part in parts if part is not int or float not in parts]
        return " or ".join(dict.fromkeys(allowed(part, metadata) for part in parts))
    if annotation is NoneType:
        return "null"
    if origin is Literal:
        words = [str(word) for word in get_args(annotation)]
        return words[0] if len(words) == 1 else f"one of ({', '.join(words)})"
    if annotation in KINDS:
        return KINDS[annotation] + _range(metadata)
    kind = origin or annotation
    return "a mapping" if issubclass(kind, Mapping) else "a list" if issubclass(kind, Sequence) else kind.__name__


def _constraints(metadata: Iterable[Any]) -> list[Any]:
    """Return the constraints of an annotation, those that stand inside `Field(…)` too."""
    return [part for entry in metadata for part in (entry.metadata if isinstance(entry, FieldInfo) else [entry])]


def _range(metadata: Sequence[Any]) -> str:
    words = []
    for bound in sorted(metadata, key=lambda part: not isinstance(part, Unit)):
        if isinstance(bound, Unit):
            words.append(f"of {bound.name}")
        elif isinstance(bound, annotated_types.Ge):
            words.append(f"of at least {bound.ge}")
        elif isinstance(bound, annotated_types.Gt):
            words.append(f"above {bound.gt}")
        elif isinstance(bound, annotated_types.Le):
            words.append(f"{'and ' if words else 'of '}at most {bound.le}")
    return "".join(f" {word}" for word in words)


def _located(group: type[BaseModel], loc: Sequence[int | str]) -> tuple[type[BaseModel], FieldInfo, list[str]]:
    """Follow an error's location; return the innermost group, its field, and the keys on the way.

    A location also names the member of a union that was tried, which is no key of the config.
    """
    owner, field, names = group, FieldInfo(annotation=dict), list[str]()
    parts = list(loc)
    while parts and parts[0] in owner.model_fields:
        key = str(parts.pop(0))
        field = owner.model_fields[key]
        names.append(key)
        members = _groups(field.annotation)
        if len(members) > 1:
            members = [member for member in members if parts and parts[0] in names_of(member)]
            del parts[:1]
        if not members:
            break
        owner = members[0]
    return owner, field, names


def _groups(annotation: Any) -> list[type[BaseModel]]:
    """Return the groups that an annotation allows."""
    if isinstance(annotation, type) and not get_args(annotation):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [group for part in get_args(annotation) for group in _groups(part)]


def names_of(*groups: type[BaseModel]) -> list[str]:
    """Return the names by which groups are chosen where one of several can stand."""
    return [str(word) for group in groups for word in get_args(group.model_fields["name"].annotation)]
