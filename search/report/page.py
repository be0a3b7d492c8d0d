"""One HTML page about a study that opens anywhere: figures by Optuna and plotly, everything inside the file."""

import html
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import plotly.graph_objects as go
import plotly.io
from optuna.study import Study

from kirigami.search.files import write_text
from kirigami.search.report import figures
from kirigami.search.report.results import front, summary
from kirigami.search.study.ledger import Ledger, outcome_of, state_of
from kirigami.search.study.study import leaders, metric_names

STYLE = "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:64rem;padding:0 1rem;color:#222}"
STYLE += "table{border-collapse:collapse}td,th{border-bottom:1px solid #ddd;padding:.25rem .75rem;text-align:right}"


def write_report(study: Study, folder: Path) -> Path:
    """Write `report.html` in the study's folder and return its path."""
    path = folder / "report.html"
    folder.mkdir(parents=True, exist_ok=True)
    write_text(path, page(study))
    return path


def page(study: Study) -> str:
    """Return the page, which needs no other file."""
    return "".join(_parts(study))


def _parts(study: Study) -> Iterator[str]:
    name = html.escape(study.study_name)
    yield f"<!doctype html><meta charset=utf-8><title>{name}</title><style>{STYLE}</style><h1>{name}</h1>"
    yield _facts(study)
    yield _table(study)
    script: bool | str = True  # plotly's code goes into the page once
    for title, figure in _figures(study):
        yield f"<h2>{title}</h2>" + plotly.io.to_html(figure, include_plotlyjs=script, full_html=False)
        script = False


def _facts(study: Study) -> str:
    found = summary(study)
    counts = ", ".join(f"{count} {state}" for state, count in found["trials"].items() if count)
    cost = found["cost"]
    best = found["best"]
    shown = "no complete trial yet" if best is None else f"{best['value']:.4g} in trial {best['number']}"
    return (
        f"<p>Best {html.escape(found['objective'][0])} on the validation rows: <b>{shown}</b>. Trials: {counts}. "
        f"{cost['wall_s']:.0f} s of work, {cost['device_s']:.0f} s of devices, {cost['trials_s']:.2f} trials a second."
    )


def _table(study: Study) -> str:
    names = metric_names(study)
    head = "".join(f"<th>{html.escape(name)}</th>" for name in ("trial", *names, "params", "seconds", "settings"))
    rows = ""
    for trial in front(study) if len(names) > 1 else leaders(study, 10):
        outcome = outcome_of(trial)
        settings = ", ".join(
            f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
            for name, value in trial.params.items()
        )
        cells = [
            trial.number,
            *(f"{v:.4g}" for v in trial.values),
            outcome.get("params", ""),
            f"{outcome.get('wall_s', 0):.2f}",
        ]
        rows += (
            "<tr>"
            + "".join(f"<td>{cell}</td>" for cell in cells)
            + f"<td style=text-align:left>{html.escape(settings)}"
        )
    return f"<table><tr>{head}{rows}</table>"


def _figures(study: Study) -> Iterator[tuple[str, go.Figure]]:
    """Yield the figures that the study has enough trials for."""
    complete = Ledger(study.get_trials(deepcopy=False)).count("complete")
    names = metric_names(study)
    first: dict[str, Any] = {"target": lambda trial: trial.values[0], "target_name": names[0]}
    several = first if len(names) > 1 else {"target_name": names[0]}
    yield from figures.of_study(study).values()
    if complete:
        yield "History", optuna.visualization.plot_optimization_history(study, **several)
    yield "Learning curves", _curves(study, names[0])
    if complete > 3:
        for title, draw in _by_parameter():
            try:
                yield title, draw(study, **several)
            except (ValueError, RuntimeError):
                continue  # too few trials in common
    yield "Timeline", optuna.visualization.plot_timeline(study)


def _by_parameter() -> list[tuple[str, Callable[..., go.Figure]]]:
    return [
        ("What mattered", _importances),
        ("Each parameter", optuna.visualization.plot_slice),
        ("Together", optuna.visualization.plot_parallel_coordinate),
    ]


def _importances(study: Study, **target: Any) -> go.Figure:
    """Draw which parameters matter for good values; of a target Optuna does not know whether high ones are good."""
    if "target" in target and study.directions[0].name == "MAXIMIZE":
        target = {**target, "target": lambda trial: -trial.values[0]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return optuna.visualization.plot_param_importances(study, **target)


def _curves(study: Study, metric: str) -> go.Figure:
    """Draw the metric of every trial over its fidelity, pruned ones faint."""
    figure = go.Figure(layout={"xaxis_title": "epochs or steps", "yaxis_title": metric, "showlegend": False})
    for trial in study.get_trials(deepcopy=False):
        points = [(at, metrics[metric]) for at, metrics in outcome_of(trial).get("curve", []) if metric in metrics]
        if points:
            faint = state_of(trial) != "complete"
            x, y = zip(*points, strict=True)
            line = {"color": "#bbbbbb" if faint else "#1f6fb4", "width": 1 if faint else 2}
            figure.add_scatter(x=x, y=y, mode="lines+markers", line=line, name=f"trial {trial.number}")
    return figure
