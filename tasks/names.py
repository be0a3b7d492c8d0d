"""Say which name was meant when a wrong one was given."""

import difflib
from collections.abc import Iterable


def nearest(name: object, allowed: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the allowed name closest to `name`, or nothing where none is close."""
    close = difflib.get_close_matches(str(name), list(allowed), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


def check_name(where: str, name: object, allowed: Iterable[str]) -> None:
    """Raise `ValueError` unless `name` is one of `allowed`; `where` is the dotted path it stands at."""
    names = tuple(allowed)
    if name not in names:
        listed = ", ".join(names[:30]) + (", ..." if len(names) > 30 else "")
        raise ValueError(f"{where} must be one of ({listed}), but got {name!r}.{nearest(name, names)}")
