"""Loading torch and Lightning in half the time: who trains waits for it, and does nothing else meanwhile."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

SIGNAL = "scipy.signal"


@contextmanager
def quickly() -> Iterator[None]:
    """Load Lightning, and then what the block imports, with no search for garbage among what is there at the end.

    A search goes through all that lives, and loading, which makes much and drops little, sets off one after another.
    """
    gc.disable()
    try:
        _load_lightning()
        yield
    finally:
        gc.freeze()
        gc.enable()


def _load_lightning() -> None:
    """Load Lightning without `scipy.signal`, a third of its time.

    Torchmetrics, which Lightning loads, takes it only to give it back a name that SciPy has dropped. Where that name
    seems to be there, nothing is looked for; whoever needs the module afterwards loads it as ever.
    """
    if SIGNAL in sys.modules or "torchmetrics" in sys.modules:
        import lightning.pytorch

        return
    stand_in = ModuleType(SIGNAL)
    stand_in.hamming = None  # type: ignore[attr-defined]
    sys.modules[SIGNAL] = stand_in
    try:
        import lightning.pytorch  # noqa: F401
    finally:
        del sys.modules[SIGNAL]
