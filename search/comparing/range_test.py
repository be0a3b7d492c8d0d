"""The `lr-range` verb: a learning-rate range test on a study's own data, network, optimiser and loss."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from lightning.pytorch import LightningModule
from rich.console import Console
from rich.table import Table
from torch.optim import Optimizer

from kirigami import models
from kirigami.errors import at
from kirigami.models.schedules import RangeTest, range_test
from kirigami.search.config import own_code
from kirigami.search.config.compose import compose
from kirigami.search.config.resolve import unlimited
from kirigami.search.config.settings import TrialConfig
from kirigami.search.config.study import checked
from kirigami.search.errors import InputError, StudyStopped, one_line, one_of
from kirigami.search.files import as_json, stored, write_json, write_text
from kirigami.search.report.tables import narrow
from kirigami.search.report.template import render
from kirigami.search.storage import folder_of
from kirigami.search.training import devices
from kirigami.search.training import trainer as trainers
from kirigami.search.training.building import assemble

FORMATS = ("table", "json")
FILE = "lr-range"


@dataclass(frozen=True)
class Asked:
    """The options of the verb: the first rate, the last, and how many there are."""

    lowest: float
    highest: float
    steps: int

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> "Asked":
        """Read the options of the command.

        Raises:
            InputError: where one is out of its range.
        """
        if given["format"] not in FORMATS:
            raise one_of("format", given["format"], FORMATS)
        lowest, highest = _rate("lowest", given["lowest"]), _rate("highest", given["highest"])
        if lowest >= highest:
            raise InputError(f"lowest must be below highest={highest:g}, but got {lowest:g}. Set lowest=1e-6.")
        if given["steps"] < 10:
            raise InputError(f"steps must be at least 10, but got {given['steps']}. Set steps=100.")
        return cls(lowest, highest, given["steps"])


def _rate(name: str, text: Any) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0 < rate < inf:
        raise InputError(f"{name} must be a rate above 0, such as 1e-3, but got {text!r}.")
    return rate


def lr_range(overrides: Sequence[str], config_dirs: Sequence[Path], options: Mapping[str, Any]) -> int:
    """Run the test, write `studies/<name>/lr-range.html` and `.json`, say what was found; return the exit code."""
    asked = Asked.read(options)
    raw = compose(overrides, config_dirs)
    study = checked(raw).config
    config = TrialConfig.from_resolved(unlimited(study.plain))
    own_code.add_folders([Path.cwd(), *config_dirs])
    found, own = tested(config, asked)
    result = described(config, asked, found, own="lr" in ((raw.get("space") or {}).get("optimizer") or {}), fixed=own)
    folder = folder_of(study.storage.url, study.name)
    write_json(folder / f"{FILE}.json", result)
    page = write_page(result, folder / f"{FILE}.html")
    if options["format"] == "json":
        print(as_json({**result, "file": str(page)}))
        return 0
    console = Console(soft_wrap=True)
    console.print(table(result))
    for line in (*result["said"], f"Drawn in {page}."):
        console.print(line, highlight=False, markup=False)
    return 0


def tested(config: TrialConfig, asked: Asked) -> tuple[RangeTest, bool]:
    """Return what the test found, and whether the optimiser is a user's own.

    Nothing is kept: the network is made for the test. Techniques, a first fit in closed form and another regime than
    backpropagation are left out, and so are the trainer's precision and clipping.

    Raises:
        InputError: where data, network or optimiser cannot be had.
        StudyStopped: where the network cannot be trained.
    """
    trainers.quiet()
    try:
        assembly = assemble(config.without_techniques(), threads=devices.threads_per_worker(1))
        module, task = assembly.module.to(assembly.task.device), assembly.task
        optimizer = _optimizer(module, config)
    except (ValueError, TypeError, OSError, ImportError) as error:
        raise InputError(" ".join(str(error).split()) or type(error).__name__) from error
    try:
        found = range_test(
            module, task.train_dataloader(), asked.lowest, asked.highest, asked.steps, optimizer=optimizer
        )
    except Exception as error:  # of the user's own network
        raise StudyStopped(f"the network cannot be trained: {type(error).__name__}: {one_line(error)}") from error
    return found, not isinstance(module, models.Learner)


def _optimizer(module: LightningModule, config: TrialConfig) -> Optimizer:
    """Build the optimiser of the config, or the only one that a user's LightningModule configures."""
    if isinstance(module, models.Learner):
        with at("optimizer"):
            return models.optimizers.build_optimizer(module.network, config.optimizer)
    try:
        found: Any = module.configure_optimizers()
    except Exception as error:  # of the user's own code
        raise InputError(f"configure_optimizers cannot be called by itself: {one_line(error)}") from error
    if isinstance(found, dict):
        found = found.get("optimizer")
    while isinstance(found, list | tuple) and found:
        found = found[0] if len(found) == 1 or not isinstance(found[0], Optimizer) else None
    if not isinstance(found, Optimizer):
        raise InputError(
            f"configure_optimizers must give one optimiser, but gave {type(found).__name__}: the range test turns one "
            "rate. Return one."
        )
    return found


def described(
    config: TrialConfig, asked: Asked, found: RangeTest, *, own: bool = False, fixed: bool = False
) -> dict[str, Any]:
    """Return the result as plain data, with sentences that say how to use it.

    Args:
        own: whether the study's space has the rate.
        fixed: whether the rate is in the user's own code, where no override reaches it.
    """
    others = {"init": models.initial.build, "regime": models.regimes.build}
    changed = [group for group, build in others.items() if build(getattr(config, group)) is not None]
    left_out = [*config.methods, *changed]
    return stored(
        {
            "study": config.plain["name"],
            "optimizer": None if fixed else config.optimizer["name"],
            "asked": asdict(asked),
            "steepest": steepest(found),
            "suggestion": found.suggestion,
            "highest": found.highest,
            "stopped_early": len(found.rates) < asked.steps,
            "left_out": left_out,
            "said": sentences(asked, found, left_out=left_out, own=own, fixed=fixed),
            "rates": found.rates,
            "losses": found.losses,
            "smoothed": found.smoothed,
        }
    )


def steepest(found: RangeTest) -> float | None:
    """Return the rate below the lowest point at which the smoothed loss falls most for a factor; None without one."""
    if found.highest is None:
        return None
    slopes = np.gradient(np.asarray(found.smoothed[: found.rates.index(found.highest) + 1]))
    return found.rates[int(slopes.argmin())]


def sentences(asked: Asked, found: RangeTest, *, left_out: Sequence[str], own: bool, fixed: bool) -> list[str]:
    """Say how to use the rates that were found, and what to mind."""
    said = []
    if found.highest is None or found.suggestion is None:
        said.append(
            f"The loss is nowhere below that of the first rate. Begin lower (lowest={asked.lowest / 100:g}), "
            f"or give it time (steps={2 * asked.steps})."
        )
    else:
        setting = "lr=" if fixed else "optimizer.lr="
        said.append(
            f"For a constant rate {setting}{found.suggestion:.2g}; as the top of one-cycle, which holds it only "
            f"briefly, up to {setting}{found.highest:.2g}."
        )
        if own:
            said.append(f"A search need not look beyond: space.optimizer.lr.high={found.highest:.2g}.")
        if found.rates.index(found.highest) >= asked.steps - 1 - max(1, asked.steps // 20):
            said.append(f"The loss falls up to the last rate. Go on: highest={asked.highest * 100:g}.")
    if left_out:
        said.append(f"Trained without what {', '.join(left_out)} would add, which may bear smaller rates only.")
    return said


def table(result: Mapping[str, Any]) -> Table:
    """Return the rates that were found as a table."""
    by = f" by {result['optimizer']}" if result["optimizer"] else ""
    asked = result["asked"]
    span = f"{asked['steps']} rates from {asked['lowest']:g} to {asked['highest']:g}"
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
    found = {key: result[key] for key in ("suggestion", "steepest", "highest") if result[key] is not None}
    drawn.add_scatter(
        x=list(found.values()),
        y=np.interp(np.log(list(found.values())), np.log(result["rates"]), result["smoothed"]).tolist(),
        text=[f"{key} {rate:.2g}" for key, rate in found.items()],
        mode="markers+text",
        textposition="top right",
        marker={"color": "#1f6fb4", "size": 10},
        showlegend=False,
    )
    return drawn
