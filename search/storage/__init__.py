"""The store: opening it, and keeping a study consistent during outages of its database.

Optuna and SQLAlchemy are loaded with the first of these names, so that what only needs a server's address is quick.
"""

from typing import TYPE_CHECKING

from kirigami.on_demand import on_demand

if TYPE_CHECKING:
    from kirigami.search.storage.address import Settings, absolute_sqlite, folder_of, shown
    from kirigami.search.storage.opening import check, exists, open_storage, warnings_of
    from kirigami.search.storage.outage import StoreAway
    from kirigami.search.storage.store import Store
else:
    __getattr__ = on_demand(
        __name__,
        {
            "address": ("Settings", "absolute_sqlite", "folder_of", "shown"),
            "opening": ("check", "exists", "open_storage", "warnings_of"),
            "outage": ("StoreAway",),
            "store": ("Store",),
        },
    )

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
