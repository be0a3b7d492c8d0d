"""What is wrong with an argument, in the words of whoever set it: by its name from Python, by its path in a config."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any, TypeVar

CLOSE = 0.5  # share of letters in common, from which on a name may have been meant
MOST_NAMES = 30
KNOB = "\x1a"  # stands before an argument's name in the midst of a sentence, and is never shown
Value = TypeVar("Value")


class ArgumentError(ValueError):
    """An argument has a value that is not allowed, or that does not suit what it is used with.

    The message names arguments as a caller from Python knows them, `penalty must be at least 0, but got -1.`; who has
    them from a config adds their path by `at`.

    Args:
        argument: its name; "" where the problem is that of all together.
        problem: the rest of the sentence, which may begin with `=` or a colon: the value, and which are allowed.
        advice: an argument and a value to set it to.
    """

    def __init__(self, argument: str, problem: str, advice: tuple[str, object] | None = None) -> None:
        super().__init__(argument, problem, advice)
        self.argument, self.problem, self.advice = argument, problem, advice

    def __str__(self) -> str:
        space = "" if not self.argument or self.problem[:1] in (":", "=") else " "
        line = shown(f"{self.argument}{space}{self.problem}")
        return line if self.advice is None else f"{line} Set {self.advice[0]}={self.advice[1]}."

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.argument, self.problem, self.advice)

    def move(self, path: str, otherwise: tuple[str, object] | None = None) -> None:
        """Put the arguments under a path; `otherwise` is advice for a problem of all together that has none."""
        if not self.argument:
            self.problem, self.advice = f": {self.problem}", self.advice or otherwise
        self.problem = self.problem.replace(KNOB, f"{KNOB}{path}.")
        self.argument = f"{path}.{self.argument}" if self.argument else path
        if self.advice is not None:
            self.advice = f"{path}.{self.advice[0]}", self.advice[1]


@contextmanager
def at(path: str, otherwise: tuple[str, object] | None = None) -> Iterator[None]:
    """Name arguments by their path in errors raised meanwhile: `sparsity.penalty must be at least 0, but got -1.`

    Args:
        path: of the part of a config that the arguments are from, such as "sparsity".
        otherwise: an advice where the problem is that of all arguments together, and has none.
    """
    try:
        yield
    except ArgumentError as error:
        error.move(path, otherwise)
        raise


def knob(argument: str) -> str:
    """Return an argument's name for the midst of a sentence, to which `at` adds the path too."""
    return f"{KNOB}{argument}"


def shown(sentence: str, path: str = "") -> str:
    """Return a sentence with its arguments' names, by their path in a config where there is one."""
    return sentence.replace(KNOB, f"{path}." if path else "")


def choose(argument: str, value: Any, allowed: Iterable[str]) -> str:
    """Return the value if it is one of the allowed names.

    Raises:
        ArgumentError: it is not; the message has the allowed names and the nearest one.
    """
    names = list(allowed)
    if value not in names:
        raise ArgumentError(argument, none_of(value, names))
    return str(value)


def none_of(value: object, allowed: Iterable[object]) -> str:
    """Say that a value is none of the allowed ones, and which was meant; of very many, the first are named."""
    values = list(allowed)
    names = ", ".join(str(name) for name in values[:MOST_NAMES]) + (", ..." if len(values) > MOST_NAMES else "")
    return f"must be one of ({names}), but got {value!r}.{did_you_mean(value, values)}"


def did_you_mean(name: object, allowed: Iterable[object]) -> str:
    """Return ` Did you mean 'x'?` for the allowed value that is most like a name, or nothing."""
    nearest = closest(name, allowed)
    return "" if nearest is None else f" Did you mean {nearest!r}?"


def closest(name: object, allowed: Iterable[Value]) -> Value | None:
    """Return the allowed value that is written most like a name; None where none is close."""
    values = {str(value): value for value in allowed}
    matches = get_close_matches(str(name), values, n=1, cutoff=CLOSE)
    return values[matches[0]] if matches else None
