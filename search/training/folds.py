"""The networks of one trial that are judged by rows of their own, one after another, and what they come to together.

The first draw reports at every validation, as a trial of one network does. Each later one reports once, at its end: the
mean over the draws so far, at the fidelity that their epochs or steps add up to. So a pruner may stop a trial anywhere
in its first draw, and after each later one, and compares it there with trials that have seen the same rows.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any

import numpy as np

from kirigami import tasks
from kirigami.search.study.rows import Rows
from kirigami.search.training.job import Job
from kirigami.spaces.costs import COSTS

KEY = "folds_so_far"
OF_THE_TRIAL = ("fit_s", "devices", "saved_bytes")  # details that grow over all draws


@dataclass
class Folds:
    """What the draws that have ended came to.

    Attributes:
        done: of each its metrics, the figures of its network, and what its rows add to the objective; plain values.
        began: when this attempt's training began, by `time.perf_counter`; None before that.
        since: likewise by `time.monotonic`, for the seconds in checkpoints.
    """

    done: list[dict[str, Any]] = field(default_factory=list)
    began: float | None = None
    since: float | None = None

    @property
    def current(self) -> int:
        """The draw that is trained now."""
        return len(self.done)

    def add(self, job: Job, metrics: Mapping[str, float]) -> None:
        """Enter a draw that has ended, whose figures are in the job's details."""
        figures = {
            name: value
            for name, value in job.details.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and name not in OF_THE_TRIAL
        }
        self.done.append({"metrics": dict(metrics), "figures": figures, "rows": job.details.pop("rows", {})})
        job.details[KEY] = self.done

    def metrics(self) -> dict[str, float]:
        """Return the mean of each metric over the draws so far."""
        rows = [draw["metrics"] for draw in self.done]
        return {name: fmean(row[name] for row in rows) for name in rows[0] if all(name in row for row in rows)}

    def report(self, job: Job, length: int) -> None:
        """Report the mean so far, where a draw has ended and another follows.

        Raises:
            Stopped: where the trial has to end here.
        """
        if self.current > 1 and length:
            job.report(self.current * length, self.metrics())

    def finish(self, job: Job, length: int, task: tasks.Task) -> dict[str, float]:
        """Turn the details of the last draw into those of all, and return the metrics of the trial.

        A cost is the largest of the networks', so that a limit holds for each; any other figure is the mean.
        """
        metrics = self.metrics()
        if length:
            job.curve.append((self.current * length, metrics))
        for name in self.done[0]["figures"]:
            values = [draw["figures"][name] for draw in self.done if name in draw["figures"]]
            job.details[name] = max(values) if name in COSTS or name == "least_bytes" else fmean(values)
        if rows := joined([draw["rows"] for draw in self.done], task):
            job.details["rows"] = rows
        return metrics

    def close(self, job: Job, task: tasks.Task | None) -> None:
        """Leave in the job's details each draw's metrics, and the error of their mean, however the trial has ended."""
        job.details.pop(KEY, None)
        if not self.done or task is None:
            return
        names = [name for name in self.done[0]["metrics"] if all(name in draw["metrics"] for draw in self.done)]
        scores = {name: [draw["metrics"][name] for draw in self.done] for name in names}
        errors = {name: error_of_mean(values, task) for name, values in scores.items()}
        job.details["folds"] = {"scores": scores, "error": errors if self.current > 1 else {}}


def error_of_mean(values: Sequence[float], task: tasks.Task) -> float:
    """Return the standard error of the mean over draws.

    Draws that share rows are not independent: then it is larger, by Nadeau & Bengio, "Inference for the Generalization
    Error", Machine Learning 52, 2003. Folds share rows to train on only, which no estimate can make up for without bias
    (Bengio & Grandvalet, JMLR 5, 2004): of them it is the plain one.
    """
    if len(values) < 2:
        return 0.0
    places, share = task.places, 0.0
    if places is not None and not places.are_apart:
        share = len(places.rows) / (places.total - len(places.rows))
    return float(stdev(values) * (1 / len(values) + share) ** 0.5)


def joined(parts: Sequence[Mapping[str, Any]], task: tasks.Task) -> dict[str, Any]:
    """Return the figures of the rows of all draws as those of one: hits side by side, others as their mean."""
    if not all(parts) or task.places is None:
        return {}
    rows = [Rows.from_plain(part) for part in parts]
    of = hashlib.sha256("".join(each.of for each in rows).encode()).hexdigest()[:8]
    are_hits = all("hits" in part for part in parts) and task.places.are_apart
    if not are_hits and len({len(each.values) for each in rows}) > 1:
        return {}
    values = [each.values for each in rows]
    return Rows(rows[0].metric, of, np.concatenate(values) if are_hits else np.mean(values, axis=0)).to_plain()
