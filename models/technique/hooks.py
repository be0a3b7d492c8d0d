"""Methods that do nothing by default, for subclasses to define."""

from collections.abc import Callable
from typing import Any, TypeVar

Method = TypeVar("Method", bound=Callable[..., Any])


def hook(method: Method) -> Method:
    """Mark a method that does nothing by default, for at most one subclass in a line to define."""
    method.is_hook = True  # type: ignore[attr-defined]
    return method
