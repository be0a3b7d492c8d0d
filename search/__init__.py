"""The loop that joins spaces, tasks and models into a search; nothing imports this package but its users."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kirigami.search.optimize import History, optimize

__all__ = ["History", "optimize"]


def __getattr__(name: str) -> Any:
    # Loaded on demand: `kirigami --help` should not wait for Optuna.
    if name in __all__:
        from kirigami.search import optimize as python_api

        return getattr(python_api, name)
    raise AttributeError(f"module 'search' has no attribute {name!r}")
