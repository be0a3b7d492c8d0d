"""One HTML page about a study that opens anywhere: figures by Optuna and plotly, everything inside the file."""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import plotly.graph_objects as go
from optuna.study import Study
from optuna.trial import TrialState

from kirigami.search.files import write_text
from kirigami.search.report import beside, figures
from kirigami.search.report.results import choice_line, cost_of, folds_line
from kirigami.search.report.tables import number, score, settings
from kirigami.search.report.template import render
from kirigami.search.report.wording import counted
from kirigami.search.study.ledger import Ledger
from kirigami.search.study.ranking import best_trial, metric_names, winners
from kirigami.search.study.record import figure_of, result_of
from kirigami.search.study.states import state_of


def write_report(study: Study, folder: Path) -> Path:
    """Write `report.html` in the study's folder and return its path."""
    path = folder / "report.html"
    folder.mkdir(parents=True, exist_ok=True)
    write_text(path, page(study))
    return path


def page(study: Study) -> str:
    """Return the page, which needs no other file."""
    ledger = Ledger().read(study)
    return render(study.study_name, _sentences(study, ledger), _figures(study), _head(study), _rows(study, ledger))


def _sentences(study: Study, ledger: Ledger) -> list[str]:
    return [_facts(study, ledger), *(f"{line}." for line in beside.lines(study, best_trial(study, ledger)))]


def _facts(study: Study, ledger: Ledger) -> str:
    cost, best = cost_of(ledger), best_trial(study, ledger)
    first = "no complete trial yet" if best is None else f"{score(best.values[0])} in trial {best.number}"
    more = (choice_line(study, ledger), folds_line(study, ledger))
    lines = [f"{line[0].upper()}{line[1:]}. " for line in more if line is not None]
    return (
        f"Best {metric_names(study)[0]} on the validation rows: {first}. {''.join(lines)}{counted(ledger)}. "
        f"{cost['wall_s']:.0f} s of work, {cost['device_s']:.0f} s of devices, {cost['trials_s']:.2f} trials a second."
    )


def _head(study: Study) -> list[str]:
    return ["trial", *metric_names(study), "params", "seconds", "settings"]


def _rows(study: Study, ledger: Ledger) -> list[list[str]]:
    best = winners(study, ledger, 10)
    return [
        [
            str(trial.number),
            *(score(value) for value in trial.values),
            number(figure_of(trial, "params")),
            number(result_of(trial).wall_s, ".2f"),
            settings(trial.params, ", "),
        ]
        for trial in best
    ]


def _figures(study: Study) -> Iterator[tuple[str, go.Figure]]:
    """Yield the figures that the study has enough trials for."""
    complete = Ledger().read(study).count("complete", "over")
    names = metric_names(study)
    first: dict[str, Any] = {"target": lambda trial: trial.values[0], "target_name": names[0]}
    several = first if len(names) > 1 else {"target_name": names[0]}
    yield from figures.of_study(study).values()
    if complete:
        named = {"target_name": names[0], **several}
        yield "History", optuna.visualization.plot_optimization_history(_without_gaps(study), **named)
    yield "Learning curves", _curves(study, names[0])
    if complete > 3:
        for title, draw in _by_parameter():
            try:
                yield title, draw(study, **several)
            except (ValueError, RuntimeError):
                continue  # too few trials in common
    yield "Timeline", optuna.visualization.plot_timeline(study)


def _without_gaps(study: Study) -> Study:
    """Return a study in which waiting trials stand for deleted ones: Optuna draws the history by place."""
    trials = {trial.number: trial for trial in study.get_trials(deepcopy=False)}
    last = max(trials)
    if last < len(trials):
        return study
    whole = optuna.create_study(storage=optuna.storages.InMemoryStorage(), directions=study.directions)
    for place in range(last + 1):
        whole.add_trial(trials.get(place) or optuna.create_trial(state=TrialState.WAITING))
    return whole


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
        points = [(at, metrics[metric]) for at, metrics in result_of(trial).curve if metric in metrics]
        if points:
            faint = state_of(trial) not in ("complete", "over")
            x, y = zip(*points, strict=True)
            line = {"color": "#bbbbbb" if faint else "#1f6fb4", "width": 1 if faint else 2}
            figure.add_scatter(x=x, y=y, mode="lines+markers", line=line, name=f"trial {trial.number}")
    return figure
