"""The store: opening it, and keeping a study consistent during outages of its database.

Optuna and SQLAlchemy are loaded with the first of these names, so that what only needs a server's address is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kirigami.search.storage.address import Settings, absolute_sqlite, folder_of, shown
    from kirigami.search.storage.opening import check, exists, open_storage, warnings_of
    from kirigami.search.storage.outage import StoreAway
    from kirigami.search.storage.store import Store

__all__ = [
    "Settings",
    "Store",
    "StoreAway",
    "absolute_sqlite",
    "check",
    "exists",
    "folder_of",
    "open_storage",
    "shown",
    "warnings_of",
]

_MODULES = {
    **dict.fromkeys(("Settings", "absolute_sqlite", "folder_of", "shown"), "address"),
    **dict.fromkeys(("check", "exists", "open_storage", "warnings_of"), "opening"),
    "Store": "store",
    "StoreAway": "outage",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
