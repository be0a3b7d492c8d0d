"""Checks for combinations of settings that are impossible, before any training."""

from kirigami import models, tasks
from kirigami.errors import at
from kirigami.search.config.settings import TrialConfig
from kirigami.search.errors import InputError
from kirigami.search.training import devices


def check_output(config: TrialConfig, task: tasks.Task) -> None:
    """Check `output:`.

    Raises:
        ValueError: for what does not suit the task.
    """
    classes = len(task.classes) if task.classes else None
    chosen = {"calibration": config.output.calibration, "threshold": config.output.threshold}
    with at("output"):
        models.calibration.check(task.kind, classes, **chosen)


def check_inputs(config: TrialConfig, task: tasks.Task) -> None:
    """Refuse what is made for one input and one answer a row, where a task has other ones.

    Raises:
        InputError: naming it.
    """
    several = isinstance(task.in_shape, dict) or any(isinstance(shape, tuple) for shape in task.in_shape)
    chosen = {"regime.name": (config.regime["name"], "backprop"), "init.name": (config.init["name"], "default")}
    chosen |= {"growth.method": (config.methods.get("growth", "none"), "none")} if several else {}
    kinds = {"several inputs": several, "labels": task.kind == "labels"}
    kinds["classes of pixels"] = task.kind == "pixels" and bool(task.classes)
    what = next((words for words, is_so in kinds.items() if is_so), None)
    for path, (value, usual) in chosen.items():
        if what is not None and value != usual:
            raise InputError(f"{path} must be {usual} for a task of {what}, but got {value!r}.")


def check_untrained(config: TrialConfig) -> None:
    """Check that a trial of no epochs asks for nothing that only training brings.

    Raises:
        InputError: saying what does.
    """
    if not config.trainer.is_untrained:
        return
    if config.init["name"] == "default":
        raise InputError("trainer.epochs must be at least 1 with init=default, but got 0. Set init=closed_form.")
    regime = config.regime["name"]
    trained = config.methods | ({} if regime in ("none", "backprop") else {"regime": regime})
    for group, value in trained.items():
        raise InputError(f"trainer.epochs must be at least 1 with {group}={value}, which needs training, but got 0.")


def check_devices(config: TrialConfig) -> None:
    """Refuse what cannot be trained on several devices, and more devices than there are.

    Raises:
        InputError: naming it and saying why.
    """
    count, methods, regime = config.trainer.ranks, config.methods, config.regime["name"]
    if count == 1:
        return
    devices.of_ranks(config.trainer)
    apart = "each process would change its own copy of the network's shapes"
    refused = {"growth": apart} if "growth" in methods else {}
    if methods.get("sparsity") == "structured":
        refused["sparsity"] = apart
    if regime != "backprop":
        refused["regime"] = "its blocks go backward by themselves, out of DDP's sight"
    for group, reason in refused.items():
        value = (methods | {"regime": regime})[group]
        raise InputError(
            f"trainer.devices must be 1 with {group}={value}, since {reason}, but got {count}. Set trainer.devices=1."
        )
