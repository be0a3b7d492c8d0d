"""What the platform costs beside the training: outside `fit`, in `fit` against a bare loop, and at the prompt.

(a) A 60-trial digits study through the command: seconds outside `Trainer.fit`, of the trials' seconds and of the
    whole process (start-up and imports included).
(b) `fit` against a bare torch loop and against a Trainer with a DataLoader, over the same network, batches,
    optimiser, schedule and one validation an epoch, on one thread; medians of paired runs.
(c) Seconds of `kirigami --help`, `results` and `studies`.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.rig import command
from benchmarks.rig.record import spread
from kirigami.search.study.record import result_of

PAIRS = 9
EPOCHS = 20
NETWORKS = {
    "mlp": {"name": "mlp", "width": 128, "depth": 2},
    "convnet": {"name": "convnet", "width": 16, "depth": 3},
}


def measure() -> dict[str, Any]:
    """Run the three parts and return their figures."""
    with tempfile.TemporaryDirectory() as folder:
        study = outside_fit(Path(folder))
        prompt = {verb: command_seconds(verb.split(), Path(folder)) for verb in ("--help", "results", "studies")}
    fits = {name: fit_ratios(network) for name, network in NETWORKS.items()}
    for name, row in fits.items():
        print(
            f"fit, {name:<8} bare {row['bare_s']['median']:.3f} s   ours {row['ratio_ours']['median']:.2f}x   "
            f"Trainer + DataLoader {row['ratio_dataloader']['median']:.2f}x"
        )
    prose = (
        f"60-trial digits study: {100 * study['outside_of_trials']:.1f} % of the trials' seconds and "
        f"{100 * study['outside_of_process']:.1f} % of the process' seconds lie outside Trainer.fit; fit takes "
        + ", ".join(f"{row['ratio_ours']['median']:.2f}x a bare loop ({name})" for name, row in fits.items())
        + f"; kirigami --help {prompt['--help']['median']:.2f} s, results {prompt['results']['median']:.2f} s, "
        f"studies {prompt['studies']['median']:.2f} s."
    )
    return {"study": study, "fit": fits, "prompt": prompt, "prose": prose}


def outside_fit(folder: Path) -> dict[str, Any]:
    """Run the digits study in an empty folder and compare the seconds in `fit` with all the others."""
    began = time.perf_counter()
    command.run(folder, "search", "study=digits")
    process = time.perf_counter() - began
    results = command.as_json(folder, "results", "study=digits")
    fit = sum(result_of(trial).fit_s or 0.0 for trial in command.trials(folder, "digits"))
    trials = results["cost"]["wall_s"]
    row = {
        "trials": sum(results["trials"][state] for state in ("complete", "over", "pruned", "failed")),
        "fit_s": round(fit, 2),
        "trials_s": round(trials, 2),
        "process_s": round(process, 2),
        "outside_of_trials": round(1 - fit / trials, 4),
        "outside_of_process": round(1 - fit / process, 4),
    }
    print(f"study of {row['trials']} trials: fit {fit:.1f} s of {trials:.1f} s in trials, {process:.1f} s in all")
    return row


def command_seconds(arguments: list[str], folder: Path) -> dict[str, Any]:
    """Time a verb as a process, several times."""
    seconds = []
    for _ in range(7):
        began = time.perf_counter()
        command.run(folder, *arguments)
        seconds.append(time.perf_counter() - began)
    print(f"kirigami {arguments[0]:<8} {spread(seconds)['median']:.2f} s")
    return spread(seconds)


def fit_ratios(network: dict[str, Any]) -> dict[str, Any]:
    """Time ours, a bare loop and a Trainer with a DataLoader in turn, after one warm-up of each."""
    import torch

    torch.set_num_threads(1)
    rows: dict[str, list[float]] = {"bare": [], "ours": [], "dataloader": []}
    ways: dict[str, Callable[[dict[str, Any]], float]] = {"bare": _bare, "ours": _ours, "dataloader": _dataloader}
    for run in range(PAIRS + 1):
        for way, function in ways.items():
            seconds = function(network)
            if run > 0:
                rows[way].append(seconds)
    pairs = list(zip(rows["bare"], rows["ours"], rows["dataloader"], strict=True))
    return {
        "bare_s": spread(rows["bare"]),
        "ratio_ours": spread([ours / bare for bare, ours, _ in pairs]),
        "ratio_dataloader": spread([other / bare for bare, _, other in pairs]),
    }


def _parts(network: dict[str, Any]) -> tuple[Any, Any, Any]:
    import torch

    from kirigami.search.config.compose import compose
    from kirigami.search.config.resolve import resolve
    from kirigami.search.config.settings import TrialConfig
    from kirigami.search.training.building import build_network, open_task

    raw = compose(["study=digits", f"trainer.epochs={EPOCHS}", "trainer.device=cpu"])
    config = TrialConfig.from_resolved({**resolve(raw), "network": network})
    torch.manual_seed(0)
    task = open_task(config)
    return task, build_network(config, task), config


def _bare(network: dict[str, Any]) -> float:
    import torch
    import torch.nn.functional as F

    from kirigami import models

    task, net, config = _parts(network)
    train, validation = task.train_dataloader(), task.val_dataloader()
    optimizer = models.optimizers.build_optimizer(net, config.optimizer)
    schedule = models.schedules.build_schedule(optimizer, config.schedule, EPOCHS * len(train), len(train))
    began = time.perf_counter()
    for _ in range(EPOCHS):
        net.train()
        for inputs, targets in train:
            optimizer.zero_grad()
            F.cross_entropy(net(inputs), targets).backward()
            optimizer.step()
            schedule.step()
        net.eval()
        with torch.no_grad():
            for inputs, targets in validation:
                outputs = net(inputs)
                F.cross_entropy(outputs, targets).item()
                (outputs.argmax(1) == targets).float().mean().item()
    return time.perf_counter() - began


def _ours(network: dict[str, Any]) -> float:
    from kirigami.search.training.building import build_module
    from kirigami.search.training.checkpoints.callback import CheckpointCallback
    from kirigami.search.training.job import Job
    from kirigami.search.training.reports import Reports
    from kirigami.search.training.trainer import build_trainer

    task, _, config = _parts(network)
    module = build_module(config, task)
    job = Job(0, config.plain, lambda fidelity, metrics: None)
    began = time.perf_counter()
    trainer = build_trainer(config.trainer, [Reports(job, "epoch", CheckpointCallback(job))])
    trainer.fit(module, task.train_dataloader(), task.val_dataloader())
    return time.perf_counter() - began


def _dataloader(network: dict[str, Any]) -> float:
    """Train as tutorials do: a LightningModule that logs, DataLoaders, a Trainer without extras."""
    import torch.nn.functional as F
    from lightning.pytorch import LightningModule, Trainer
    from torch.utils.data import DataLoader, TensorDataset

    from kirigami import models
    from kirigami.search.training.trainer import quiet

    quiet()
    task, net, config = _parts(network)
    train = DataLoader(TensorDataset(*task.train), batch_size=64, shuffle=True)
    validation = DataLoader(TensorDataset(*task.validation), batch_size=64)

    class Tutorial(LightningModule):
        def training_step(self, batch: Any, _index: int) -> Any:
            loss = F.cross_entropy(net(batch[0]), batch[1])
            self.log("train_loss", loss)
            return loss

        def validation_step(self, batch: Any, _index: int) -> None:
            outputs = net(batch[0])
            self.log("val_loss", F.cross_entropy(outputs, batch[1]))
            self.log("val_accuracy", (outputs.argmax(1) == batch[1]).float().mean())

        def configure_optimizers(self) -> Any:
            optimizer = models.optimizers.build_optimizer(net, config.optimizer)
            schedule = models.schedules.build_schedule(optimizer, config.schedule, EPOCHS * len(train), len(train))
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    module = Tutorial()
    module.network = net
    began = time.perf_counter()
    trainer = Trainer(
        max_epochs=EPOCHS, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    trainer.fit(module, train, validation)
    return time.perf_counter() - began
