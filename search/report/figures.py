"""Figures of ours that the report and the dashboard share: score against cost, and how alike layers have become."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from optuna.study import Study
from optuna.trial import FrozenTrial

from kirigami.search.report.tables import score
from kirigami.search.study.ledger import Ledger
from kirigami.search.study.ranking import best_trial, metric_names, sign_of, signs_of
from kirigami.search.study.record import figure_of, result_of
from kirigami.spaces.front import undominated

BLUE, GREY, RED = "#1f6fb4", "#bbbbbb", "#c0504d"
MOST_POINTS = 2000
TELLING = 0.95  # layers this alike may fold; where random pairs are, it tells nothing
Point = tuple[float, float, FrozenTrial]


def of_study(study: Study) -> dict[str, tuple[str, go.Figure]]:
    """Return the figures that the study has the trials for: a short name -> title and figure."""
    drawn = {"front": front_figure(study), "similarity": similarity_figure(study)}
    return {name: figure for name, figure in drawn.items() if figure is not None}


def front_figure(study: Study) -> tuple[str, go.Figure] | None:
    """Draw the complete trials by their first two objectives, or by the objective and the bytes of their files.

    The front is that of all objectives; with one objective, that of the value and the bytes. Trials over the budget
    are drawn apart and are on no front.
    """
    names = metric_names(study)
    several = len(names) > 1
    cost = names[1] if several else "bytes"
    ledger = Ledger().read(study)
    within, beyond = (_points(ledger.by_state[state], several) for state in ("complete", "over"))
    if not within and not beyond:
        return None
    best = _front(study, within)
    figure = go.Figure(layout={"xaxis_title": cost, "yaxis_title": names[0]})
    others = [point for point in within if point[2].number not in best]
    _scatter(figure, "complete", _thinned(others), {"color": GREY, "size": 7})
    if beyond:
        _scatter(figure, "over the budget", _thinned(beyond), {"color": RED, "size": 8, "symbol": "x-thin-open"})
    step = ("vh" if study.directions[1].name == "MAXIMIZE" else "hv") if several else "hv"
    line = {"shape": step, "width": 1, "color": BLUE} if len(names) < 3 else None
    _scatter(figure, "front", [point for point in within if point[2].number in best], {"color": BLUE, "size": 10}, line)
    return ("Pareto front" if several else f"{names[0].capitalize()} against bytes"), figure


def similarity_figure(study: Study) -> tuple[str, go.Figure] | None:
    """Draw the layer similarity matrix of the best trial, all banks in one; None where its layers do not share."""
    trial = best_trial(study)
    banks: Sequence[Mapping[str, Any]] = result_of(trial).similarity if trial is not None else []
    if trial is None or not banks:
        return None
    layers = [layer for bank in banks for layer in bank["layers"]]
    matrix: list[list[float | None]] = [[None] * len(layers) for _ in layers]
    begin = 0
    for bank in banks:
        for row, values in enumerate(bank["matrix"]):
            matrix[begin + row][begin : begin + len(values)] = values
        begin += len(bank["layers"])
    figure = go.Figure(layout={"yaxis": {"autorange": "reversed"}})
    figure.add_heatmap(
        z=matrix,
        x=layers,
        y=layers,
        zmin=0,
        zmax=1,
        colorscale="Blues",
        hovertemplate="%{y} and %{x}: %{z:.2f}<extra></extra>",
    )
    return f"Layer similarity of trial {trial.number} ({beside_chance(banks)})", figure


def beside_chance(banks: Sequence[Mapping[str, Any]]) -> str:
    """Return a sentence on the null band, and on the p-value of a trial's layer similarity.

    Args:
        banks: as `models.sharing.similarity.table` makes them. Without `p`, as of studies before it, `chance` is
            that of coefficients at the start, which are orthogonal to each other.
    """
    band = max(float(bank["chance"]) for bank in banks)
    if any("p" not in bank for bank in banks):
        return f"95 % of pairs at the start are below {band:.2f}"
    if band >= 1:
        return "it tells nothing: with one template all layers are alike"
    limit = f"95 % of random pairs are below {band:.2f}"
    if band >= TELLING:
        limit += ", so that with so few templates a pair tells nothing"
    return f"{_p_of(banks)}; {limit}"


def _p_of(banks: Sequence[Mapping[str, Any]]) -> str:
    """Return p of the whole matrix; of several banks the smallest, times their number (Bonferroni)."""
    p = min(1.0, len(banks) * min(float(bank["p"]) for bank in banks))
    return f"p = {p:.2g} for the whole matrix"


def _points(trials: Sequence[FrozenTrial], several: bool) -> list[Point]:
    """Return (cost, value, trial) of the trials whose cost is known."""
    costs = [trial.values[1] if several else figure_of(trial, "bytes") for trial in trials]
    return [(cost, trial.values[0], trial) for cost, trial in zip(costs, trials, strict=True) if cost is not None]


def _front(study: Study, points: Sequence[Point]) -> set[int]:
    """Return the numbers of the trials that no other one dominates: by all objectives, or by the one and the cost."""
    if len(study.directions) > 1:
        values = np.array([trial.values for _, _, trial in points]).reshape(len(points), -1) * signs_of(study)
    else:
        values = np.array([(sign_of(study) * value, cost) for cost, value, _ in points]).reshape(len(points), 2)
    return {trial.number for (_, _, trial), is_best in zip(points, undominated(values), strict=True) if is_best}


def _thinned(points: Sequence[Point]) -> Sequence[Point]:
    """Leave out points beyond so many, evenly over the study: they lie on each other, and make the page slow."""
    return points[:: 1 + len(points) // MOST_POINTS]


def _scatter(
    figure: go.Figure, label: str, points: Sequence[Point], marker: dict[str, Any], line: dict[str, Any] | None = None
) -> None:
    ordered = sorted(points, key=lambda point: point[0])
    figure.add_scatter(
        x=[x for x, _, _ in ordered],
        y=[y for _, y, _ in ordered],
        text=[f"trial {trial.number}: {', '.join(map(score, trial.values))}" for _, _, trial in ordered],
        hoverinfo="text+x",
        mode="markers" if line is None else "lines+markers",
        line=line,
        marker=marker,
        name=label,
    )
