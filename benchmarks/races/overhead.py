"""What the platform costs beside the training: outside `fit`, in `fit` against a bare loop, and at the prompt.

(a) Two studies through the command, 60 trials of digits, and 40 trials on a small table that fit for .4 s each: seconds
    outside `Trainer.fit`, of the trials' seconds and of the whole process (start-up and imports included).
(b) `fit` against a bare torch loop and against a Trainer with a DataLoader, over the same network, batches,
    optimiser, schedule and one validation an epoch, on one thread; medians of paired runs.
(c) Seconds of `kirigami --help`, `results`, `studies`, of a search of one trial of one epoch, and of the prediction of
    one row by both files of its export; wall seconds, and the CPU's, which are less moved by who else is at work.
(d) Seconds from the command to the moment at which the first trial begins.
"""

import json
import resource
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
REPEATS = 7
NETWORKS = {
    "mlp": {"name": "mlp", "width": 128, "depth": 2},
    "convnet": {"name": "convnet", "width": 16, "depth": 3},
}
STUDIES = {
    "digits": ("study=digits",),
    "breast_cancer": ("study=breast_cancer", "trainer.epochs=45", "pruner=none", "budget.trials=40"),
}
PROMPT = (["--help"], ["results", "study=breast_cancer"], ["studies"])
ONE_TRIAL = ("search", "study=breast_cancer", "name=one", "trainer.epochs=1", "budget.trials=1")


def measure() -> dict[str, Any]:
    """Run the four parts and return their figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        begins = [first_trial_s() for _ in range(REPEATS)]
        print(f"first trial after {spread(begins)['median']:.2f} s")
        studies = {study: outside_fit(folder, study, *words) for study, words in STUDIES.items()}
        command.run(folder, "export", "study=breast_cancer", "twin=false")
        prompt = {call[0]: command_seconds(call, folder) for call in PROMPT}
        prompt["search"] = one_trial()
        for file in ("model.onnx", "model.kgm"):
            prompt[f"predict {file}"] = command_seconds(
                ["predict", f"studies/breast_cancer/export/{file}", one_row(folder)], folder
            )
    fits = {name: fit_ratios(network) for name, network in NETWORKS.items()}
    for name, row in fits.items():
        print(
            f"fit, {name:<8} bare {row['bare_s']['median']:.3f} s   ours {row['ratio_ours']['median']:.2f}x   "
            f"Trainer + DataLoader {row['ratio_dataloader']['median']:.2f}x"
        )
    figures = {"first_trial_s": spread(begins), "studies": studies, "fit": fits, "prompt": prompt}
    return {**figures, "prose": prose(figures)}


def prose(figures: dict[str, Any]) -> str:
    """Return the figures as a line."""
    shares = (
        f"{row['trials']} trials of {study} that fit for {row['fit_s'] / row['trials']:.2f} s: "
        f"{100 * row['outside_of_trials']:.1f} % of the trials' seconds and "
        f"{100 * row['outside_of_process']:.1f} % of the process' seconds lie outside Trainer.fit"
        for study, row in figures["studies"].items()
    )
    ratios = (f"{row['ratio_ours']['median']:.2f}x a bare loop ({name})" for name, row in figures["fit"].items())
    seconds = (
        f"{name} {row['wall_s']['median']:.2f} s ({row['cpu_s']['median']:.2f} s of CPU)"
        for name, row in figures["prompt"].items()
    )
    return (
        f"The first trial begins {figures['first_trial_s']['median']:.2f} s after the command; {'; '.join(shares)}; "
        f"fit takes {', '.join(ratios)}; kirigami {', '.join(seconds)}."
    )


def first_trial_s() -> float:
    """Return the seconds from the command to the begin of its first trial, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.time()
        command.run(folder, *ONE_TRIAL)
        return float(command.trials(folder, "one")[0].datetime_start.timestamp() - began)


def one_trial() -> dict[str, Any]:
    """Time a search of one trial of one epoch as a process, several times, each in a folder of its own."""
    rows = []
    for _ in range(REPEATS):
        with tempfile.TemporaryDirectory() as folder:
            rows.append(seconds_of(list(ONE_TRIAL), Path(folder)))
    return spreads(rows, "search")


def one_row(folder: Path) -> str:
    """Write a row of a table as the exported network of the bundled one takes it; return the name of its file."""
    from kirigami import tasks

    task = tasks.build({"name": "breast_cancer"}, seed=0)
    task.setup("test")
    numbers = task.raw_test()[0].tolist()
    columns = ",".join(f"measure {place}" for place in range(len(numbers)))
    (folder / "row.csv").write_text(f"{columns}\n{json.dumps(numbers)[1:-1]}\n")
    return "row.csv"


def outside_fit(folder: Path, study: str, *words: str) -> dict[str, Any]:
    """Run a study in a folder without it and compare the seconds in `fit` with all the others."""
    process = seconds_of(["search", *words], folder)
    results = command.as_json(folder, "results", f"study={study}")
    fit = sum(result_of(trial).fit_s or 0.0 for trial in command.trials(folder, study))
    trials = results["cost"]["wall_s"]
    row = {
        "trials": sum(results["trials"][state] for state in ("complete", "over", "pruned", "failed")),
        "fit_s": round(fit, 2),
        "trials_s": round(trials, 2),
        "process_s": round(process[0], 2),
        "process_cpu_s": round(process[1], 2),
        "outside_of_trials": round(1 - fit / trials, 4),
        "outside_of_process": round(1 - fit / process[0], 4),
    }
    print(f"{row['trials']} trials of {study}: fit {fit:.1f} s of {trials:.1f} s in trials, {process[0]:.1f} s in all")
    return row


def command_seconds(arguments: list[str], folder: Path) -> dict[str, Any]:
    """Time a verb as a process, several times."""
    return spreads([seconds_of(arguments, folder) for _ in range(REPEATS)], arguments[0])


def spreads(rows: list[tuple[float, float]], name: str) -> dict[str, Any]:
    """Return the spreads of wall seconds and of CPU seconds; print their medians."""
    wall, cpu = (spread(list(column)) for column in zip(*rows, strict=True))
    print(f"kirigami {name:<8} {wall['median']:.2f} s, {cpu['median']:.2f} s of CPU")
    return {"wall_s": wall, "cpu_s": cpu}


def seconds_of(arguments: list[str], folder: Path) -> tuple[float, float]:
    """Return the wall seconds of a verb as a process, and the CPU seconds of it and of those that it starts."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command.run(folder, *arguments)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


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
