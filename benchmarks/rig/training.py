"""What benchmarks train with: a task, a learner, one run of one-cycle SGD, and a metric of chosen rows."""

from collections.abc import Sequence
from typing import Any

SGD = {"name": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
ONECYCLE = {"name": "onecycle"}


def open_task(config: dict[str, Any], seed: int, *, batch_size: int = 64) -> Any:
    """Build a task from its config, such as {"name": "digits"}, on one thread; its training rows are open."""
    import torch

    from kirigami import tasks

    torch.set_num_threads(1)
    task = tasks.build(config, seed=seed)
    task.batch_size = batch_size
    task.setup("fit")
    return task


def build(config: dict[str, Any], task: Any, seed: int) -> Any:
    """Build a network for a task, with initial weights of the seed, in a learner."""
    import torch

    from kirigami import models

    torch.manual_seed(seed)
    dense = task.kind == "pixels"
    network = models.build_network(config, in_shape=task.in_shape, out_features=task.out_features, dense=dense)
    return learner(network, task)


def learner(network: Any, task: Any) -> Any:
    """Return the module that trains a network on a task by the task's usual loss; `fit` gives it its optimiser."""
    from kirigami import models

    return models.Learner(
        network, models.outputs.loss("auto", task.kind, task.classes, weights=task.class_weights), task.evaluate, {}, {}
    )


def fit(
    module: Any,
    task: Any,
    callbacks: Sequence[Any] = (),
    *,
    epochs: int,
    lr: float = 0.1,
    optimizer: dict[str, Any] | None = None,
    schedule: dict[str, Any] | None = None,
) -> None:
    """Train a module for some epochs on the CPU, without looking at validation rows.

    Args:
        module: a learner, in whatever state it is.
        task: whose training rows are used.
        callbacks: techniques and the like.
        epochs: passes over the training rows.
        lr: the rate, for one-cycle its peak; an optimiser's own `lr` is overruled.
        optimizer: config of the optimiser, `SGD` by default.
        schedule: config of the schedule, `ONECYCLE` by default.
    """
    from lightning.pytorch import Trainer

    from kirigami.search.training.trainer import quiet

    quiet()
    module.train()  # `score` leaves it in evaluation, and a Trainer leaves it as it is
    module.optimizer_config = {**(SGD if optimizer is None else optimizer), "lr": lr}
    module.schedule_config = dict(ONECYCLE if schedule is None else schedule)
    Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
    ).fit(module, task.train_dataloader())


def score(module: Any, task: Any, rows: str, metric: str) -> float:
    """Return a metric, such as `accuracy`, of the rows named: "test", or else "validation"."""
    import torch

    task.setup("test" if rows == "test" else "fit")
    batches = list(task.test_dataloader() if rows == "test" else task.val_dataloader())
    module.eval()
    with torch.no_grad():
        outputs = torch.cat([module(inputs) for inputs, _ in batches])
    return float(task.evaluate(outputs, torch.cat([targets for _, targets in batches]))[metric])


def parameters(module: Any) -> int:
    """Return the number of parameters of a module's network; one that is shared counts once."""
    from kirigami import models

    return models.cost.parameters(module.network)
