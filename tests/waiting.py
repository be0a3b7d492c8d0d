"""Wait for what a test is about: an event, never a time."""

import time
from collections.abc import Callable
from typing import TypeVar

# A guard against what hangs. No test passes or fails by how long anything takes: the machine may be busy.
GUARD_SECONDS = 600

T = TypeVar("T")


def wait_until(condition: Callable[[], T]) -> T:
    """Poll until a condition gives something true, and return that."""
    end = time.monotonic() + GUARD_SECONDS
    while not (value := condition()):
        assert time.monotonic() < end, "what was waited for did not come"
        time.sleep(0.03)
    return value
