"""How a learning-rate range test is shown: the rates as a table, the curve as a page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from rich.table import Table

from kirigami.search.files import write_text
from kirigami.search.report.tables import narrow
from kirigami.search.report.template import render


def table(result: Mapping[str, Any]) -> Table:
    """Return the rates that were found as a table."""
    by = f" by {result['optimizer']}" if result["optimizer"] else ""
    rates = result["asked"]
    span = f"{rates['steps']} rates from {rates['lowest']:g} to {rates['highest']:g}"
    shown = narrow(f"{result['study']}: range test{by}, {span}")
    for column in ("rate", "what it is"):
        shown.add_column(column, no_wrap=True)
    for key, meaning in (
        ("steepest", "steepest: the loss falls fastest here"),
        ("suggestion", "suggestion: a tenth of the highest"),
        ("highest", "highest: the loss is lowest here, and about to rise"),
    ):
        rate = result[key]
        shown.add_row("none" if rate is None else f"{rate:.2g}", meaning)
    return shown


def write_page(result: Mapping[str, Any], path: Path) -> Path:
    """Write the curve as one HTML page that opens anywhere; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    title = f"{result['study']}: learning-rate range test"
    write_text(path, render(title, result["said"], [("", figure(result))]))
    return path


def figure(result: Mapping[str, Any]) -> go.Figure:
    """Draw the losses over the rates, and what was found on their curve."""
    drawn = go.Figure(layout={"xaxis_title": "learning rate", "yaxis_title": "loss of the batch"})
    for name, losses, line in (
        ("each batch", result["losses"], {"color": "#bbbbbb", "width": 1}),
        ("mean of neighbours", result["smoothed"], {"color": "#1f6fb4", "width": 2}),
    ):
        drawn.add_scatter(x=result["rates"], y=losses, mode="lines", line=line, name=name)
    drawn.update_xaxes(type="log", exponentformat="power")
    marked = {key: result[key] for key in ("suggestion", "steepest", "highest") if result[key] is not None}
    drawn.add_scatter(
        x=list(marked.values()),
        y=np.interp(np.log(list(marked.values())), np.log(result["rates"]), result["smoothed"]).tolist(),
        text=[f"{key} {rate:.2g}" for key, rate in marked.items()],
        mode="markers+text",
        textposition="top right",
        marker={"color": "#1f6fb4", "size": 10},
        showlegend=False,
    )
    return drawn
