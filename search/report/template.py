"""The one template of our HTML pages: title, sentences, figures and a table, all inside one file."""

from collections.abc import Iterable, Sequence
from functools import cache

import plotly.graph_objects as go
import plotly.io
from jinja2 import Environment, PackageLoader, Template, select_autoescape
from markupsafe import Markup


def render(
    title: str,
    sentences: Sequence[str],
    figures: Iterable[tuple[str, go.Figure]],
    head: Sequence[str] = (),
    rows: Sequence[Sequence[str]] = (),
) -> str:
    """Return a page that needs no other file.

    Args:
        sentences: a paragraph each.
        figures: title, empty for none, and figure.
        head: names of the table's columns; without any there is no table.
        rows: cells of the table; the last column stands at the left.
    """
    drawn: list[tuple[str, Markup]] = []
    for name, figure in figures:  # plotly's code goes into the page once
        drawn.append((name, Markup(plotly.io.to_html(figure, include_plotlyjs=not drawn, full_html=False))))
    return _page().render(title=title, sentences=sentences, figures=drawn, head=head, rows=rows)


@cache
def _page() -> Template:
    loader = PackageLoader("kirigami.search.report", "")
    return Environment(loader=loader, autoescape=select_autoescape()).get_template("page.html")
