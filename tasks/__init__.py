"""What must be learnt: data, splits, metrics."""

from tasks.batches import Batches
from tasks.metrics import METRICS, Metric, direction
from tasks.registry import TASKS, build
from tasks.task import Parts, Split, Task

__all__ = ["METRICS", "TASKS", "Batches", "Metric", "Parts", "Split", "Task", "build", "direction"]
