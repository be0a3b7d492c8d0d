"""What must be learnt: data, splits, metrics."""

from tasks import imbalance
from tasks.batches import Batches
from tasks.metrics import METRICS, Metric, direction
from tasks.registry import TASKS, build
from tasks.task import Parts, Split, Task

# Another distribution may install a package of this name; the check at start reads this marker.
KIRIGAMI = True

__all__ = [
    "KIRIGAMI",
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
