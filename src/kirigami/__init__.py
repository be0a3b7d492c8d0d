"""Hyperparameter and architecture search that ends with the smallest network that does the job."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kirigami.search.optimize import History, optimize

__all__ = ["History", "optimize"]


def __getattr__(name: str) -> Any:
    # Loaded on demand: `kirigami --help` should not wait for Optuna.
    if name in __all__:
        from kirigami.search import optimize

        return getattr(optimize, name)
    raise AttributeError(f"module 'kirigami' has no attribute {name!r}")
