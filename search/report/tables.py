"""How tables and numbers look to people."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table


def plain_console(**options: Any) -> Console:
    """Return a console on which names and paths stand as they are: brackets in them are no markup, colons no emoji."""
    return Console(markup=False, emoji=False, **options)


def narrow(title: str) -> Table:
    """Return a table without lines between columns."""
    return Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, title_justify="left")


def number(value: Any, form: str = "") -> str:
    """Return a value as people read it: four digits, whole numbers in full with commas; nothing where it is None.

    Args:
        form: a format of Python's, where a column has one of its own.
    """
    if value is None:
        return ""
    if form:
        return f"{value:{form}}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,.0f}" if isfinite(value) and value == round(value) else f"{value:,.4g}"


def score(value: float) -> str:
    """Return an objective's value with four decimals, for scores to stand under each other; a count as a number."""
    is_count = value == round(value) and abs(value) >= 1000 if isfinite(value) else False
    return number(value) if is_count or 0 < abs(value) < 1e-3 else f"{value:.4f}"


def settings(params: Mapping[str, Any], between: str = " ") -> str:
    """Return a trial's parameters as they would be given on the command line, reals in four digits."""
    return between.join(
        f"{name}={f'{value:.4g}' if isinstance(value, float) else value}" for name, value in params.items()
    )
