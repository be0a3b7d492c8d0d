"""Say beside the answers what was done to the data."""

import sys


def say(line: str) -> None:
    """Print a line on standard error, where the answers are not."""
    print(line, file=sys.stderr)
