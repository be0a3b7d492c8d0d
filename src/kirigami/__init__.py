"""Hyperparameter and architecture search that ends with the smallest network that does the job."""

from typing import TYPE_CHECKING

from kirigami.on_demand import on_demand

if TYPE_CHECKING:
    from kirigami.search.optimize import History, optimize
else:
    __getattr__ = on_demand(__name__, {"search.optimize": ("History", "optimize")})

__all__ = ["History", "optimize"]
