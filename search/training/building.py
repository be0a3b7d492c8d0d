"""What a trial is made of, from its config: its task on its device, its network, and what trains it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lightning.pytorch import LightningModule
from torch import Tensor, nn

from kirigami import models, tasks
from kirigami.errors import at, did_you_mean
from kirigami.models.regimes import Regime
from kirigami.models.technique import Technique
from kirigami.search.errors import InputError
from kirigami.search.training import devices, kept, techniques
from kirigami.search.training.job import Metrics

OUTPUT_KEYS = ("loss", "smoothing", "calibration", "threshold")


def open_task(config: Mapping[str, Any], split: int | None = None, test_split: int | None = None) -> tasks.Task:
    """Build the task on the trial's device and read its training and validation rows.

    Args:
        config: the trial's.
        split: seed of the split, where it is not that of the weights and batches.
        test_split: seed of the test rows, where it is not that of the split.
    """
    with at("task"):
        task = tasks.build(config["task"], seed=config["seed"] if split is None else split, test_seed=test_split)
    task.shuffle_seed = config["seed"]
    task.device = devices.pick(config["trainer"]["device"])[0]
    task.batch_size = config["trainer"]["batch_size"]
    with at("imbalance"):
        task.imbalance = tasks.imbalance.build(config["imbalance"])
    with at("task"):
        task.setup("fit")
    return task


def build_module(config: Mapping[str, Any], task: tasks.Task) -> LightningModule:
    """Build what Lightning trains: a user's own LightningModule as it is, any other network inside a `Learner`."""
    network = build_network(config, task)
    output = check_output(config, task)
    with at("regime"):
        regime = models.regimes.build(config["regime"])
    if not isinstance(network, LightningModule):
        loss, schedule = build_loss(config, task), config["schedule"]
        return models.Learner(network, loss, task.evaluate, config["optimizer"], schedule, regime)
    check_regime(regime, network)
    for key, value in (("output.calibration", output["calibration"]), ("output.threshold", output["threshold"])):
        if value != "none":
            raise InputError(f"{key} must be none for a LightningModule, whose outputs are its own, but got {value!r}.")
    if task.class_weights is not None:
        raise InputError("imbalance.method must not be weights for a LightningModule, whose loss is its own.")
    return network


def check_regime(regime: Regime | None, network: nn.Module, techniques: Sequence[Technique] = ()) -> None:
    """Check that a regime suits the network and its techniques.

    Raises:
        ValueError: saying what does not go with it.
    """
    if regime is not None:
        with at("regime", otherwise=("name", "backprop")):
            regime.check(network, techniques)


def build_network(config: Mapping[str, Any], task: tasks.Task) -> nn.Module:
    """Build the network for the shapes of a task."""
    with at("network"):
        return models.build_network(config["network"], **kept.shapes_of(task))


def build_loss(config: Mapping[str, Any], task: tasks.Task) -> Callable[[Tensor, Tensor], Tensor]:
    """Build the loss that `output:` names, with the task's class weights."""
    output = config["output"]
    named = {"smoothing": output["smoothing"], "weights": task.class_weights}
    with at("output"):
        return models.outputs.loss(output["loss"], task.kind, task.classes, **named)


def check_output(config: Mapping[str, Any], task: tasks.Task) -> Mapping[str, Any]:
    """Check `output:` and return it.

    Raises:
        InputError: for an unknown key.
        ValueError: for what does not suit the task.
    """
    output: Mapping[str, Any] = config["output"]
    for key in output:
        if key not in OUTPUT_KEYS:
            names = ", ".join(OUTPUT_KEYS)
            raise InputError(f"output.{key}: no such key.{did_you_mean(key, OUTPUT_KEYS)} Keys: {names}.")
    classes = len(task.classes) if task.classes else None
    with at("output"):
        models.calibration.check(task.kind, classes, calibration=output["calibration"], threshold=output["threshold"])
    return output


def check_untrained(config: Mapping[str, Any]) -> None:
    """Check that a trial of no epochs asks for nothing that only training brings.

    Raises:
        InputError: saying what does.
    """
    if config["trainer"]["epochs"] or config["trainer"]["steps"] is not None:
        return
    if config["init"]["name"] == "default":
        raise InputError("trainer.epochs must be at least 1 with init=default, but got 0. Set init=closed_form.")
    asked = {group: config[group]["method"] for group in techniques.ROOMS} | {"regime": config["regime"]["name"]}
    for group, value in asked.items():
        if value not in ("none", "backprop"):
            raise InputError(
                f"trainer.epochs must be at least 1 with {group}={value}, which needs training, but got 0."
            )


def calibrate(network: nn.Module, config: Mapping[str, Any], task: tasks.Task) -> tuple[dict[str, float], Metrics]:
    """Choose temperature and threshold on validation rows and fold them into the network.

    Returns:
        What was chosen, with calibration errors before and after, and the metrics of the validation rows after it;
        nothing of either where neither is asked for.
    """
    output = config["output"]
    if output["calibration"] == output["threshold"] == "none":
        return {}, {}
    asked = {"calibration": output["calibration"], "threshold": output["threshold"]}
    with at("output"):
        figures, outputs, targets = models.calibration.finish(network, task.val_dataloader(), task.kind, **asked)
    metrics = task.evaluate(outputs, targets)
    if output["loss"] in ("auto", "cross_entropy"):  # others are of outputs as they were trained, not of logits
        metrics |= {"loss": float(build_loss(config, task)(outputs, targets))}
    return figures, metrics
