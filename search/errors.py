"""What can go wrong, by whose doing: the user's input (exit code 2) or the run (exit code 1)."""

import re
from typing import Any

from kirigami.errors import none_of


class InputError(ValueError):
    """The user's input is wrong: one line with the name, the value received, the values allowed, what to do."""


class StudyStopped(RuntimeError):
    """The study cannot go on: one line with the reason."""


def one_line(error: BaseException) -> str:
    """Return the first sentence-like line of an error, or its type where it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def masked(text: str) -> str:
    """Return a text with the passwords of the URLs in it replaced by `***`."""
    text = re.sub(r"(://[^\s:@/]*):\S*@", r"\1:***@", text)
    text = re.sub(r"(?<!:)(//[^\s:@/]*):\S*@", r"\1:***@", text)  # a URL written wrong still has its password
    text = re.sub(r":[^\s:@/]*@", ":***@", text)
    return re.sub(r"([?&](?:ssl)?password=)[^\s&'\"]*", r"\1***", text)


def one_of(path: str, value: Any, allowed: Any) -> InputError:
    """Build the error for a value outside a list of allowed ones."""
    return InputError(f"{path} {none_of(value, allowed)}")
