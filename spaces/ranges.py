"""Read one dimension and check it: its range or its choices, and the belief about it."""

import json
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from math import isfinite, isnan
from typing import Any

from kirigami.errors import did_you_mean
from kirigami.spaces.condition import is_number, read_conditions
from kirigami.spaces.dimension import Dimension, encode
from kirigami.spaces.paths import copied, listed
from kirigami.spaces.prior import Prior

KEYS = ("low", "high", "log", "step", "choices", "when", "prior")
PRIOR_KEYS = ("value", "weight", "spread")


def read_dimension(path: str, node: Mapping[str, Any]) -> Dimension:
    """Build the dimension at `path` from a mapping whose keys are among `KEYS`.

    Raises:
        ValueError: the range, the choices, the conditions or the belief make no sense, in one line.
    """
    where = f"space.{path}"
    settings = {key: value for key, value in node.items() if value is not None or key in ("low", "high", "choices")}
    when = read_conditions(f"{where}.when", settings.get("when"))
    if "choices" in settings:
        dimension = Dimension(path, choices=_read_choices(where, settings), when=when)
    else:
        dimension = Dimension(path, **_read_range(where, settings), when=when)
    if "prior" not in settings:
        return dimension
    return replace(dimension, prior=_read_prior(f"{where}.prior", settings["prior"], dimension))


def _read_choices(where: str, node: Mapping[str, Any]) -> tuple[Any, ...]:
    other = [key for key in ("low", "high", "log", "step") if node.get(key) is not None and node[key] is not False]
    if other:
        raise ValueError(f"{where} has choices and also {', '.join(other)}. Give a range or choices, not both.")
    choices = node["choices"]
    if not isinstance(choices, list | tuple):
        raise ValueError(f"{where}.choices must be a list, but got {choices!r}. Write [a, b].")
    if not choices:
        raise ValueError(f"{where}.choices must hold at least one value, but got []. List the values to try.")
    seen: list[Any] = []
    for choice in choices:
        code = _checked_code(where, choice)
        if code in seen:
            same = choices[seen.index(code)]
            raise ValueError(f"{where}.choices holds {choice!r} twice (equal to {same!r}). Remove one of them.")
        seen.append(code)
    return tuple(copied(choice) for choice in choices)


def _checked_code(where: str, choice: Any) -> Any:
    """Return the stored form of a choice; refuse values that no store can hold, such as NaN."""
    try:
        json.dumps(choice, allow_nan=isinstance(choice, float) and not isnan(choice))
        return encode(choice)
    except (TypeError, ValueError):
        allowed = "numbers, text, true, false, null, and lists or mappings of these"
        raise ValueError(f"{where}.choices takes {allowed}, but got {choice!r}. Write it as text.") from None


def _read_range(where: str, node: Mapping[str, Any]) -> dict[str, Any]:
    missing = [key for key in ("low", "high") if key not in node]
    if missing:
        raise ValueError(
            f"{where} has no {' and no '.join(missing)}; a range takes both low and high. Add it, or give choices."
        )
    low, high, step, log = _number(where, node, "low"), _number(where, node, "high"), node.get("step"), node.get("log")
    if isinstance(low, int) != isinstance(high, int):
        low, high = float(low), float(high)  # people write 0 for 0.0
    if low >= high:
        fix = f"To fix a value use ~{where} {where.removeprefix('space.')}={high}."
        raise ValueError(f"{where}: low must be less than high, but got low={low!r} and high={high!r}. {fix}")
    if log is not None and not isinstance(log, bool):
        raise ValueError(f"{where}.log must be true or false, but got {log!r}.")
    if log and low <= 0:
        raise ValueError(f"{where}: log needs low above 0, but got low={low!r}. Raise low or remove log.")
    if log and step is not None:
        raise ValueError(f"{where} has both log and step={step!r}. Remove one of them, or list the values as choices.")
    if step is not None:
        _check_step(where, low, high, _number(where, node, "step"))
    return {"low": low, "high": high, "step": step, "log": bool(log)}


def _number(where: str, node: Mapping[str, Any], key: str) -> Any:
    value = node[key]
    if not is_number(value):
        raise ValueError(f"{where}.{key} must be a number, but got {value!r}. Write it plainly, such as 1 or 1.0e-4.")
    if not isfinite(value):
        raise ValueError(f"{where}.{key} must be a finite number, but got {value!r}. Give an end that can be reached.")
    return value


def _check_step(where: str, low: float, high: float, step: float) -> None:
    if step <= 0:
        raise ValueError(f"{where}.step must be above 0, but got {step!r}. Remove it for no step.")
    if isinstance(low, int) and not isinstance(step, int):
        raise ValueError(
            f"{where}.step must be a whole number between whole ends, but got {step!r}. Write low: {low}.0."
        )
    # In decimals, as people write them: 0.1 does divide 0.3.
    start, end, stride = (Decimal(str(number)) for number in (low, high, step))
    if (end - start) % stride:
        last = (end - start) // stride * stride + start
        fits = f"Set high to {last} or {last + stride}." if last > start else f"Set high to {last + stride}."
        raise ValueError(f"{where}.step must divide the range from {low!r} to {high!r}, but got {step!r}. {fits}")


def _read_prior(where: str, node: Any, dimension: Dimension) -> Prior:
    if not isinstance(node, Mapping) or (dimension.choices is not None and node in dimension.choices):
        return Prior(_believed(where, node, dimension))
    for key in node:
        if key not in PRIOR_KEYS:
            raise ValueError(
                f"{where} has the unknown key {key!r}; it takes {listed(PRIOR_KEYS)}.{did_you_mean(key, PRIOR_KEYS)}"
            )
    if "value" not in node:
        raise ValueError(f"{where} has no value; a belief needs one. Write {{value: v, weight: 0.5}}.")
    weight, spread = node.get("weight", Prior.weight), node.get("spread", Prior.spread)
    if not is_number(weight) or not 0 <= weight <= 1:
        raise ValueError(f"{where}.weight must be a number from 0 to 1, but got {weight!r}.")
    if not is_number(spread) or not isfinite(spread) or spread <= 0:
        raise ValueError(f"{where}.spread must be a fraction of the range above 0, but got {spread!r}.")
    return Prior(_believed(f"{where}.value", node["value"], dimension), float(weight), float(spread))


def _believed(where: str, value: Any, dimension: Dimension) -> Any:
    if dimension.choices is not None:
        if value in dimension.choices:
            return dimension.choices[dimension.choices.index(value)]
        advice = did_you_mean(value, dimension.choices)
        raise ValueError(f"{where} must be one of {listed(dimension.choices)}, but got {value!r}.{advice}")
    if dimension.contains(value):
        return value if dimension.integer else float(value)
    grid = f" in steps of {dimension.step!r}" if dimension.step else ""
    kind = "a whole number" if dimension.integer else "a number"
    raise ValueError(f"{where} must be {kind} from {dimension.low!r} to {dimension.high!r}{grid}, but got {value!r}.")
