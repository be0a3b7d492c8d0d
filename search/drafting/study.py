"""The text of a study: what differs from the defaults, each with a word why."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from kirigami.search.config.resolve import literal
from kirigami.search.drafting.looking import Look
from kirigami.search.drafting.sizes import FORMS, Sizes, objective_of

MOST_CLASSES = 8
FEW_ROWS, FOLDS = 1_000, 5


def summary(data: Path, look: Look) -> str:
    """Say in a line what the data are."""
    counts, task = look.counts(), look.task
    rows = len(task.train.targets) + len(task.validation.targets)
    known = f"{data}: {rows:,} rows to train and to choose by"
    if counts:
        classes = ", ".join(f"{name} {count:,}" for name, count in list(counts.items())[:MOST_CLASSES])
        return f"{known}, {len(counts)} classes ({classes}{', …' if len(counts) > MOST_CLASSES else ''})."
    what = {"values": "a value to learn", "characters": f"windows of text, {task.vocabulary} characters"}
    return f"{known}, {what.get(task.kind, task.kind)}."


def text_of(data: Path, look: Look, sizes: Sizes) -> str:
    """Return the YAML of a study for data."""
    form = FORMS[look.name]
    activation = ", activation" if look.name != "text" else ""
    share = {} if sizes.fraction == 1 else {"fraction": sizes.fraction}
    lines = [
        "# @package _global_",
        f"# {' '.join(summary(data, look).split())}",
        "defaults:",
        f"  - override /task: {look.name}",
        f"  - override /network: {form.network}",
        "  - override /optimizer: adamw",
        f"  - override /space: [adaptive{activation}]",
        "  - override /pruner: median",
        "",
        f"objective: {objective_of(look)}",
        "task:",
        *(f"  {_pair(key, value)}" for key, value in ({**look.knobs, **share}).items()),
        *_hint(look),
        f"trainer: {_flow({'epochs': sizes.epochs, 'batch_size': sizes.batch_size})}",
        f"# the first {sizes.startup} trials are trained in full, later ones while they are no worse than the median",
        f"pruner: {_flow({'n_startup_trials': sizes.startup, 'n_warmup_steps': sizes.warmup})}",
        "# bytes: of the whole file; a network that cannot get below is not trained",
        f"budget: {_flow({'trials': sizes.trials, 'bytes': sizes.bytes})}",
        "space:",
        "  network:",
        *(f"    {_pair(key, value)}" for key, value in form.space.items()),
    ]
    return "\n".join(lines) + "\n"


def _hint(look: Look) -> list[str]:
    """Return a line on folds where few rows would judge."""
    rows = len(look.task.train.targets) + len(look.task.validation.targets)
    if rows >= FEW_ROWS or look.name not in ("table", "images"):
        return []
    return [f"  # or validation: {{folds: {FOLDS}}}, so that every row judges once: {FOLDS} networks a trial"]


def _pair(key: str, value: Any) -> str:
    return f"{key}: {_flow(value)}"


def _flow(value: Any) -> str:
    """Return a value as YAML in one line; a text is no interpolation."""
    text: str = yaml.safe_dump(_plain(value), default_flow_style=True, allow_unicode=True, width=10**9, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(child) for child in value]
    return literal(value) if isinstance(value, str) else value
