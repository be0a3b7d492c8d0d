"""What must be learnt: data, splits, metrics."""

from kirigami.tasks import imbalance
from kirigami.tasks.batches import Batches
from kirigami.tasks.metrics import METRICS, Metric, direction
from kirigami.tasks.registry import TASKS, build
from kirigami.tasks.task import Parts, Split, Task

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
]
