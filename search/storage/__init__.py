"""The store: opening it, and keeping a study whole while its database comes and goes."""

from search.storage.address import absolute_sqlite, folder_of, shown
from search.storage.opening import check, exists, open_storage, warnings_of
from search.storage.outage import StoreAway
from search.storage.store import Store

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
