"""What must be learnt: data, splits, metrics. Torch is loaded with the first name that needs it."""

from typing import TYPE_CHECKING

from kirigami.on_demand import on_demand

if TYPE_CHECKING:
    from kirigami.tasks import imbalance, metrics
    from kirigami.tasks.batches import Batches
    from kirigami.tasks.metrics import METRICS, Metric, direction
    from kirigami.tasks.registry import TASKS, build
    from kirigami.tasks.task import Parts, Split, Task
else:
    __getattr__ = on_demand(
        __name__,
        {
            "batches": ("Batches",),
            "metrics": ("METRICS", "Metric", "direction"),
            "registry": ("TASKS", "build"),
            "task": ("Parts", "Split", "Task"),
        },
        modules=("imbalance", "metrics"),
    )

__all__ = [
    "METRICS",
    "TASKS",
    "Batches",
    "Metric",
    "Parts",
    "Split",
    "Task",
    "build",
    "direction",
    "imbalance",
    "metrics",
]
