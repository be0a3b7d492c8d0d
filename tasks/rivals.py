"""Simple models to stand beside a network: logistic or ridge regression, and gradient boosting, by scikit-learn.

This lies in `tasks`, the room that scikit-learn belongs to: a rival needs rows, targets and scores, and nothing of a
search. Only `offer` and `judge` need torch, so that a process that fits rivals loads none.

The settings of a rival are chosen by the score of a quarter of the train rows, which it is not fitted on; then it is
fitted on all of them. Rows that judge choose nothing.
"""

import pickle
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from kirigami.tasks.task import Split, Task

MOST_ROWS = 20_000
MOST_FEATURES = 1_024  # more are pictures, of which these models make little
MOST_JUDGED = 50_000_000  # numbers
MOST_WORK = 5_000_000  # rows x features x outputs of boosted trees: about 20 s of a core
SMALL_WORK = 200_000  # up to which several settings of boosted trees are tried
TINY = 1e-12

Numbers = NDArray[Any]


@dataclass(frozen=True)
class Table:
    """Rows to fit rivals on, and rows to judge them by.

    Attributes:
        kind: classes or values, as of a task.
        outputs: number of outputs: classes, or values of a row.
        inputs: train rows (N, F), as the network sees them.
        targets: class numbers (N,), or values (N, outputs) as the network learns them.
        judged: inputs (M, F) of the rows that judge.
        train_rows: number that there are; N is less where they are too many.
    """

    kind: str
    outputs: int
    inputs: Numbers
    targets: Numbers
    judged: Numbers
    train_rows: int

    @property
    def held(self) -> NDArray[np.bool_]:
        """The quarter of the train rows that chooses settings, (N,): each fourth in the order of the targets."""
        mask = np.zeros(len(self.inputs), bool)
        mask[spread_out(self.targets, len(self.inputs))[::4]] = True
        return mask


class Choice(NamedTuple):
    """Settings in words, and what builds the model."""

    settings: str
    build: Callable[[], Any]


class Fitted(NamedTuple):
    """A rival under some settings: outputs for the rows that choose and those that judge, and what it took.

    `chooses` (H, C) is None where there was nothing to choose. Outputs of classes are logarithms of probabilities.
    """

    name: str
    settings: str
    chooses: Numbers | None
    outputs: Numbers
    seconds: float
    bytes: int


@dataclass(frozen=True)
class Rival:
    """A rival and its scores.

    Attributes:
        outputs: (M, C) for the rows that judged.
        seconds: of one core, for all of its settings.
        bytes: its weights in float32; of trees the pickled model.
        fitted_on: number of train rows.
        train_rows: number that there are.
    """

    name: str
    settings: str
    metrics: dict[str, float]
    outputs: Numbers
    seconds: float
    bytes: int
    fitted_on: int
    train_rows: int


def offer(task: "Task", judges: "Split") -> Table | None:
    """Return the rows for rivals of a task; None where it is none of rows of numbers with classes or values.

    Args:
        task: set up; its train rows, prepared, are fitted on.
        judges: prepared rows to judge by.
    """
    from torch import Tensor, cat

    inputs, targets = task.train
    if task.kind not in ("classes", "values") or not isinstance(inputs, Tensor) or not isinstance(targets, Tensor):
        return None
    features = inputs[0].numel() if len(inputs) else 0
    flat = inputs.dim() == 2 or features <= MOST_FEATURES
    if not flat or not features or not inputs.is_floating_point() or len(judges.inputs) * features > MOST_JUDGED:
        return None
    rows = spread_out(targets.numpy(), MOST_ROWS)
    some = type(judges)(inputs[rows], targets[rows])
    seen, judged = (
        cat([batch.flatten(1).cpu() for batch, _ in task.in_order(split)]).float().numpy() for split in (some, judges)
    )
    outputs = task.out_features if task.kind == "classes" else targets[0].numel()
    return Table(task.kind, outputs, seen, some.targets.numpy(), judged, len(inputs))


def spread_out(targets: Numbers, most: int) -> NDArray[np.int64]:
    """Return at most so many rows, evenly over the order of their targets, and in that order."""
    drawn = np.random.default_rng(0).permutation(len(targets))
    ordered = drawn[np.argsort(targets.reshape(len(targets), -1)[drawn, 0], kind="stable")]
    return ordered[np.linspace(0, len(ordered) - 1, min(most, len(ordered))).round().astype(np.int64)]


def fit(table: Table) -> Iterator[Fitted]:
    """Yield each rival under each of its settings; one that the rows do not suit is left out."""
    held = table.held
    for name, choices in _choices(table).items():
        for settings, build in choices:
            began = time.process_time()
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # some settings do not converge, and are not chosen
                    several = len(choices) > 1 and not held.all()
                    first = _fitted(build(), table, ~held) if several else None
                    chooses = None if first is None else _outputs(first, table, table.inputs[held])
                    model = _fitted(build(), table, np.ones_like(held))
                    outputs = _outputs(model, table, table.judged)
            except (ValueError, ArithmeticError, MemoryError):
                continue
            yield Fitted(name, settings, chooses, outputs, time.process_time() - began, _bytes(model))


def judge(task: "Task", metric: str, table: Table, models: Sequence[Fitted], targets: Any) -> list[Rival]:
    """Return each rival once, under the settings that the metric chose, with every metric of the task.

    Args:
        targets: tensor of the rows that judge, prepared.
    """
    from torch import from_numpy

    sign = 1 if task.direction(metric) == "maximize" else -1
    chooses = from_numpy(table.targets[table.held])

    def chosen_by(model: Fitted) -> float:
        return 0.0 if model.chooses is None else sign * task.evaluate(from_numpy(model.chooses), chooses)[metric]

    rivals = []
    for name in dict.fromkeys(model.name for model in models):
        tried = [model for model in models if model.name == name]
        best, seconds = max(tried, key=chosen_by), sum(model.seconds for model in tried)
        metrics = task.evaluate(from_numpy(best.outputs), targets.cpu())
        size, rows = best.bytes, len(table.inputs)
        rivals.append(
            Rival(name, best.settings, metrics, best.outputs, round(seconds, 3), size, rows, table.train_rows)
        )
    return rivals


def _choices(table: Table) -> dict[str, list[Choice]]:
    """Return the settings of each rival, the usual ones first: of equals the first is taken."""
    weights = _weights(table)
    if table.kind == "values":
        linear = [Choice(f"alpha={alpha:g}", partial(_ridge, alpha)) for alpha in (1, 0.1, 10, 100, 1000)]
        return {"ridge regression": linear, **_boosting(table, weights)}
    linear = [
        Choice(_words(f"C={c:g}", weight), partial(_logistic, c, weight))
        for weight in weights
        for c in (1, 0.1, 0.01, 10)
    ]
    return {"logistic regression": linear, **_boosting(table, weights)}


def _boosting(table: Table, weights: Sequence[str | None]) -> dict[str, list[Choice]]:
    """Return several settings of a small table, one of a larger one; none where it would take minutes."""
    work = table.inputs.size * (1 if table.outputs == 2 else table.outputs)
    if work > MOST_WORK or (table.kind == "values" and table.outputs > 1):
        return {}
    tried = [((leaves, rate), weight) for leaves, rate in ((31, 0.1), (7, 0.05)) for weight in weights]
    return {
        "gradient boosting": [
            Choice(_words(f"leaves={leaves} rate={rate:g}", weight), partial(_trees, table.kind, leaves, rate, weight))
            for (leaves, rate), weight in (tried if work <= SMALL_WORK else tried[:1])
        ]
    }


def _ridge(alpha: float) -> Any:
    from sklearn.linear_model import Ridge

    return _scaled(Ridge(alpha=alpha))


def _logistic(c: float, weight: str | None) -> Any:
    from sklearn.linear_model import LogisticRegression

    return _scaled(LogisticRegression(C=c, class_weight=weight, max_iter=500))


def _scaled(model: Any) -> Any:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), model)


def _trees(kind: str, leaves: int, rate: float, weight: str | None) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    shape = {"max_leaf_nodes": leaves, "learning_rate": rate, "random_state": 0}
    if kind == "values":
        return HistGradientBoostingRegressor(**shape)
    return HistGradientBoostingClassifier(**shape, class_weight=weight)


def _weights(table: Table) -> list[str | None]:
    """Return the weights of classes to try: balanced ones too where the classes differ in size."""
    if table.kind == "values":
        return [None]
    counts = np.bincount(table.targets)
    present = counts[counts > 0]
    return [None, "balanced"] if present.max() > 1.5 * present.min() else [None]


def _words(settings: str, weight: str | None) -> str:
    return settings if weight is None else f"{settings} classes={weight}"


def _fitted(model: Any, table: Table, rows: NDArray[np.bool_]) -> Any:
    targets = table.targets[rows]
    return model.fit(table.inputs[rows], targets.ravel() if table.outputs == 1 else targets)


def _outputs(model: Any, table: Table, inputs: Numbers) -> Numbers:
    """Return float32 (M, C): values, or logarithms of probabilities of all classes, seen in training or not."""
    if table.kind == "values":
        values: Numbers = model.predict(inputs).reshape(len(inputs), -1).astype(np.float32)
        return values
    outputs = np.full((len(inputs), table.outputs), np.log(TINY), np.float32)
    outputs[:, model.classes_] = np.log(np.maximum(model.predict_proba(inputs), TINY))
    return outputs


def _bytes(model: Any) -> int:
    """Return the bytes of the weights of a linear model in float32, the scaling folded in; else of the pickled one."""
    linear = model[-1] if hasattr(model, "steps") else None
    return len(pickle.dumps(model)) if linear is None else 4 * (linear.coef_.size + np.size(linear.intercept_))
