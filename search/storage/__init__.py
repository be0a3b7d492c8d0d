"""The store: opening it, and keeping a study whole while its database comes and goes."""

from kirigami.search.storage.address import absolute_sqlite, folder_of, shown
from kirigami.search.storage.opening import check, exists, open_storage, warnings_of
from kirigami.search.storage.outage import StoreAway
from kirigami.search.storage.store import Store

__all__ = [
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
