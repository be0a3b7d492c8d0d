"""A learning-rate range test on a study's own data, network, optimiser and loss."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import LightningModule
from torch.optim import Optimizer

from kirigami import models
from kirigami.errors import at
from kirigami.models.schedules import RangeTest, range_test
from kirigami.search.comparing.rates import Rates
from kirigami.search.config.compose import compose
from kirigami.search.config.resolve import unlimited
from kirigami.search.config.settings import TrialConfig
from kirigami.search.config.study import checked
from kirigami.search.errors import InputError, StudyStopped, one_line
from kirigami.search.files import stored, write_json
from kirigami.search.storage import folder_of
from kirigami.search.training import devices
from kirigami.search.training import trainer as trainers
from kirigami.search.training.building import assemble

FILE = "lr-range"


def range_of_rates(overrides: Sequence[str], config_dirs: Sequence[Path], rates: Rates) -> tuple[dict[str, Any], Path]:
    """Run the test and write `studies/<name>/lr-range.json`; return what is in it, and its path.

    Raises:
        InputError: in one line.
        StudyStopped: where the network cannot be trained.
    """
    raw = compose(overrides, config_dirs)
    study = checked(raw).config
    config = TrialConfig.from_resolved(unlimited(study.plain))
    test, is_fixed = tested(config, rates)
    is_searched = "lr" in ((raw.get("space") or {}).get("optimizer") or {})
    result = described(config, rates, test, searched=is_searched, fixed=is_fixed)
    file = folder_of(study.storage.url, study.name) / f"{FILE}.json"
    write_json(file, result)
    return result, file


def tested(config: TrialConfig, rates: Rates) -> tuple[RangeTest, bool]:
    """Return what the test found, and whether the optimiser is a user's own.

    The network is built for the test alone. Techniques, a first fit in closed form and another regime than
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
        test = range_test(
            module, task.train_dataloader(), rates.lowest, rates.highest, rates.steps, optimizer=optimizer
        )
    except Exception as error:  # of the user's own network
        raise StudyStopped(f"the network cannot be trained: {type(error).__name__}: {one_line(error)}") from error
    return test, not isinstance(module, models.Learner)


def _optimizer(module: LightningModule, config: TrialConfig) -> Optimizer:
    """Build the optimiser of the config, or the only one that a user's LightningModule configures."""
    if isinstance(module, models.Learner):
        with at("optimizer"):
            return models.optimizers.build_optimizer(module.network, config.optimizer)
    try:
        configured: Any = module.configure_optimizers()
    except Exception as error:  # of the user's own code
        raise InputError(f"configure_optimizers cannot be called by itself: {one_line(error)}") from error
    if isinstance(configured, dict):
        configured = configured.get("optimizer")
    while isinstance(configured, list | tuple) and configured:
        configured = configured[0] if len(configured) == 1 or not isinstance(configured[0], Optimizer) else None
    if not isinstance(configured, Optimizer):
        raise InputError(
            f"configure_optimizers must give one optimiser, but gave {type(configured).__name__}: the range test turns "
            "one rate. Return one."
        )
    return configured


def described(
    config: TrialConfig, rates: Rates, test: RangeTest, *, searched: bool = False, fixed: bool = False
) -> dict[str, Any]:
    """Return the result as plain data, with sentences on its use.

    Args:
        searched: whether the study's space has the rate.
        fixed: whether the rate is in the user's own code, where no override reaches it.
    """
    others = {"init": models.initial.build, "regime": models.regimes.build}
    changed = [group for group, build in others.items() if build(getattr(config, group)) is not None]
    left_out = [*config.methods, *changed]
    return stored(
        {
            "study": config.plain["name"],
            "optimizer": None if fixed else config.optimizer.get("name") or config.optimizer["_target_"],
            "asked": rates.model_dump(include=set(Rates.model_fields)),
            "steepest": steepest(test),
            "suggestion": test.suggestion,
            "highest": test.highest,
            "stopped_early": len(test.rates) < rates.steps,
            "left_out": left_out,
            "said": sentences(rates, test, left_out=left_out, searched=searched, fixed=fixed),
            "rates": test.rates,
            "losses": test.losses,
            "smoothed": test.smoothed,
        }
    )


def steepest(test: RangeTest) -> float | None:
    """Return the rate below the lowest point at which the smoothed loss falls most for a factor; None without one."""
    if test.highest is None:
        return None
    slopes = np.gradient(np.asarray(test.smoothed[: test.rates.index(test.highest) + 1]))
    return test.rates[int(slopes.argmin())]


def sentences(rates: Rates, test: RangeTest, *, left_out: Sequence[str], searched: bool, fixed: bool) -> list[str]:
    """Return sentences on the use of the rates, and their caveats."""
    lines = []
    if test.highest is None or test.suggestion is None:
        lines.append(
            f"The loss is nowhere below that of the first rate. Begin lower (lowest={rates.lowest / 100:g}), "
            f"or give it time (steps={2 * rates.steps})."
        )
    else:
        setting = "lr=" if fixed else "optimizer.lr="
        lines.append(
            f"For a constant rate {setting}{test.suggestion:.2g}; as the top of one-cycle, which holds it only "
            f"briefly, up to {setting}{test.highest:.2g}."
        )
        if searched:
            lines.append(f"A search need not look beyond: space.optimizer.lr.high={test.highest:.2g}.")
        if test.rates.index(test.highest) >= rates.steps - 1 - max(1, rates.steps // 20):
            lines.append(f"The loss falls up to the last rate. Go on: highest={rates.highest * 100:g}.")
    if left_out:
        lines.append(f"Trained without what {', '.join(left_out)} would add, which may bear smaller rates only.")
    return lines
