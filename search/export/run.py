"""The `export` verb: a trial's network, cut for the last time, as files that are checked before they are kept."""

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from torch import nn

from kirigami import tasks
from kirigami.models import compact, graph
from kirigami.models.loading import about
from kirigami.models.technique import stored_parameters
from kirigami.search.config.identity import leaves
from kirigami.search.config.resolve import unlimited
from kirigami.search.errors import InputError, StudyStopped, one_line
from kirigami.search.export import card as cards
from kirigami.search.export import contents, parity
from kirigami.search.export.finish import Finished, Judge, finish, metrics_of
from kirigami.search.export.folder import replaced
from kirigami.search.storage.artifacts import Artifacts
from kirigami.search.study import provenance, ranking
from kirigami.search.study import study as studies
from kirigami.search.study.ledger import Ledger
from kirigami.search.study.record import Origin, result_of
from kirigami.search.training import alone as trial
from kirigami.search.training import building, kept
from kirigami.search.training import trainer as trainers
from kirigami.search.training.job import Job
from kirigami.search.training.networks import Networks
from kirigami.tasks.serving import Preparation, Unit

GROUPS = ("growth", "sharing", "sparsity", "bits")
REACHED = ("density", "bits", "shared", "stored_bits")  # what techniques report that a card tells


@dataclass(frozen=True)
class Options:
    """What the user asked for.

    Attributes:
        trial: "best", "front" or a number.
        tolerance: share of the validation score that the last cuts may cost.
        twin: whether the same network is trained without techniques, to stand beside.
        path: where the data lie now; None is where the trial read them.
    """

    trial: str = "best"
    tolerance: float = 0.005
    twin: bool = True
    path: str | None = None

    @classmethod
    def read(cls, given: Mapping[str, str]) -> "Options":
        """Read the options of the command.

        Raises:
            InputError: where one is out of its range.
        """
        try:
            tolerance = float(given["tolerance"])
        except ValueError:
            tolerance = -1.0
        if not 0 <= tolerance <= 1:
            raise InputError(f"tolerance must be a number from 0 to 1, but got {given['tolerance']!r}.")
        if given["twin"] not in ("true", "false"):
            raise InputError(f"twin must be true or false, but got {given['twin']!r}.")
        return cls(given["trial"], tolerance, given["twin"] == "true", given.get("path") or None)


def export_study(
    study: Study, folder: Path, options: Options, console: Console, artifacts: Artifacts | None = None
) -> Path:
    """Export the trials asked for into `folder`/export and return that folder.

    Args:
        study: its study.
        folder: the study's.
        options: what the user asked for.
        console: where to say what is done.
        artifacts: where workers on other machines have put the networks of the best trials.

    Raises:
        InputError: where there is no such trial.
        StudyStopped: where the forms of the network do not agree; then what was there stays.
    """
    chosen = choose(study, options.trial)
    target = folder / "export"
    with replaced(target) as unfinished:
        for one in chosen:
            into = unfinished if len(chosen) == 1 else unfinished / f"trial-{one.number:05d}"
            into.mkdir(exist_ok=True)
            Networks(folder / "networks", study.study_name, artifacts).fetch(one.number)
            card = export_trial(study, one, folder, into, options, console)
            console.print(said(card), highlight=False)
    return target


def choose(study: Study, asked: str) -> list[FrozenTrial]:
    """Return the trials meant by "best", "front" or a number.

    Raises:
        InputError: where there are none.
    """
    if asked == "front" and len(study.directions) == 1:
        raise InputError("trial=front needs a study of several objectives. Set trial=best, or trial=NUMBER.")
    if asked in ("best", "front"):
        best = ranking.best_trial(study)
        found = ranking.front(study) if asked == "front" else [best] if best else []
        if not found:
            raise InputError(f"study={study.study_name} has no complete trial within its budget yet. Search on.")
        return found
    if not asked.isdigit():
        raise InputError(f"trial must be best, front or a trial's number, but got {asked!r}.")
    known = study.get_trials(deepcopy=False)
    if int(asked) >= len(known) or known[int(asked)].state is not TrialState.COMPLETE:
        state = known[int(asked)].state.name.lower() if int(asked) < len(known) else "not there"
        raise InputError(f"trial={asked} of study={study.study_name} is {state}, and only complete ones are exported.")
    return [known[int(asked)]]


def export_trial(
    study: Study, one: FrozenTrial, folder: Path, into: Path, options: Options, console: Console
) -> dict[str, Any]:
    """Write the files of one trial and return its card."""
    trainers.quiet()
    with console.status(f"trial {one.number}: reading its network"):
        network, config, recipes = obtain(study, one, folder, console, options.path)
    config = {**config, "trainer": {**config["trainer"], "device": "cpu"}}
    try:
        task = building.open_task(config)
    except ValueError as error:
        raise InputError(f"{one_line(error)} Or say where the data lie now: path=FOLDER.") from error
    check_data(study, task)
    judge = Judge(task, judged_by(study, config, task), options.tolerance)
    with console.status(f"trial {one.number}: last cuts, judged on validation rows"):
        done = finish(network, config, judge)
    try:
        files = written(done, config, recipes, task)
    except ValueError as error:
        raise StudyStopped(f"trial {one.number} cannot be exported: {one_line(error)}") from error
    task.setup("test")  # nothing is chosen any more
    with console.status(f"trial {one.number}: comparing all forms on the test rows"):
        agreed = compare(done.network, files, task)
    twin = dense_twin(config, task, judge.metric, console) if options.twin and has_techniques(config) else None
    found = card_of(study, one, done, files, task, judge, agreed, twin, config)
    for name, data in files.items():
        (into / name).write_bytes(data)
    (into / "card.json").write_text(cards.as_json(found))
    (into / "card.md").write_text(cards.as_markdown(found))
    return found


def said(card: Mapping[str, Any]) -> str:
    """Return the card in a line or two."""
    test, twin, size = card["test"], card["dense_twin"], card["bytes"]
    beside = ""
    if twin:
        beside = (
            f"; its dense twin {twin['test']:.4f} in {twin['float32_bytes']:,} bytes of float32 "
            f"({twin['float32_bytes'] / size['model.kgm']:.0f}x)"
        )
    return (
        f"trial {card['trial']}: test {test['metric']} {test['value']:.4f} ({test['interval'][0]:.4f} to "
        f"{test['interval'][1]:.4f}), model.kgm {size['model.kgm']:,} bytes, model.onnx {size['model.onnx']:,}{beside}"
    )


def obtain(
    study: Study, one: FrozenTrial, folder: Path, console: Console, data: str | None = None
) -> tuple[nn.Module, dict[str, Any], list[dict[str, Any]]]:
    """Return a trial's network, config and recipes: as it was kept, or trained again from its record.

    Args:
        study: its study.
        one: the trial.
        folder: the study's.
        console: where to say that it is trained again.
        data: where the data lie now; None is where the trial read them.
    """
    path = Networks(folder / "networks", study.study_name).path(one.number)
    if path.exists():
        network, config = kept.load(path)
        return network, _moved(config, data), kept.about_file(path)["recipes"]
    origin = Origin.from_attrs(one.user_attrs)
    assert origin is not None, "a trial that has ended was begun"
    config = _moved(dict(origin.config), data)
    console.print(f"trial {one.number}: its weights were not kept; training it again", highlight=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        outcome = trial.train(Job(one.number, config, lambda fidelity, metrics: None))
    except ValueError as error:
        raise InputError(f"trial {one.number} cannot be trained again: {one_line(error)}") from error
    assert outcome.save is not None, "a trial without pruner and budget is complete"
    outcome.save(path)
    return obtain(study, one, folder, console, data)


def _moved(config: dict[str, Any], data: str | None) -> dict[str, Any]:
    return config if data is None else {**config, "task": {**config["task"], "path": data}}


def check_data(study: Study, task: tasks.Task) -> None:
    """Refuse data that differ from the study's.

    Raises:
        InputError: where the fingerprints differ.
    """
    studies.check_data(study, task.fingerprint())


def judged_by(study: Study, config: Mapping[str, Any], task: tasks.Task) -> str:
    """Return the first objective that is one of the task's metrics."""
    names = [name for name in ranking.metric_names(study) if name in task.metrics]
    return names[0] if names else task.default_metric


def has_techniques(config: Mapping[str, Any]) -> bool:
    """Return whether the trial used any technique that a dense twin would do without."""
    return any(config[group]["method"] != "none" for group in GROUPS)


def written(
    done: Finished, config: Mapping[str, Any], recipes: list[dict[str, Any]], task: tasks.Task
) -> dict[str, bytes]:
    """Return the files' bytes by name."""
    model = to_onnx(done.network, task)
    shapes = trial.kept.shapes_of(task)
    extra = {"graph": graph.cut(model, done.network), "about": about(config["network"], shapes, recipes)}
    small = compact.encode(done.network, extra=extra)
    return {"model.onnx": model, "model.kgm": small}


def to_onnx(network: nn.Module, task: tasks.Task) -> bytes:
    """Return a network as an ONNX that takes the task's raw rows and gives outputs in their own unit."""
    preparation = task.preparation()
    return graph.to_onnx(
        network,
        sample(task),
        preprocessing=Preparation(preparation),
        postprocessing=Unit(preparation["values"]) if "values" in preparation else None,  # type: ignore[arg-type]
        classes=task.classes or (),
        metadata=metadata(task, preparation),
        dequantise=False,  # ONNX Runtime dequantises at every call; casts it does once, when it loads the file
    )


def sample(task: tasks.Task) -> torch.Tensor:
    """Return two zero rows of the shape and type of raw inputs; no test row is opened."""
    rules = task.preparation()
    if task.vocabulary:
        return torch.zeros(2, *task.in_shape, dtype=torch.int64)
    if "columns" in rules:
        return torch.zeros(2, task.in_shape[0] - len(rules["indicators"]))  # type: ignore[arg-type]
    kind = (
        torch.uint8 if isinstance(task.train.inputs, torch.Tensor) and task.train.inputs.dtype == torch.uint8 else None
    )
    return torch.zeros(2, *task.in_shape, dtype=kind)


def metadata(task: tasks.Task, preparation: Mapping[str, Any]) -> dict[str, str]:
    """Return what a reader of raw data needs beyond the graph: the kind, and the columns of a table."""
    import json

    told = {"kind": task.kind} if task.kind != "classes" else {}
    columns = {key: preparation[key] for key in ("columns", "categories", "characters") if preparation.get(key)}
    return {**told, **({"preparation": json.dumps(columns, separators=(",", ":"))} if columns else {})}


def compare(network: nn.Module, files: Mapping[str, bytes], task: tasks.Task) -> parity.Parity:
    """Compare all forms on the test rows.

    Raises:
        StudyStopped: where one of them disagrees.
    """
    found = compact.read(files["model.kgm"])
    if graph.fill(found.extra["graph"], found) != files["model.onnx"]:
        raise StudyStopped("export: model.kgm does not decode to the bytes of model.onnx. Nothing was written.")
    raw, rules = task.raw_test(), task.preparation()
    prepared = torch.cat([inputs.cpu() for inputs, _ in task.test_dataloader()])
    finish_values = Unit(rules["values"]) if "values" in rules else nn.Identity()  # type: ignore[arg-type]
    decoded = compact.decode(files["model.kgm"], compact.plain(network))
    forms = {
        "model.kgm as a torch module": parity.torch_outputs(nn.Sequential(decoded, finish_values), prepared),
        "model.onnx": parity.onnx_outputs(files["model.onnx"], raw, optimised=True),
        "model.onnx without optimisations": parity.onnx_outputs(files["model.onnx"], raw, optimised=False),
    }
    return parity.check(task.kind, parity.torch_outputs(nn.Sequential(network, finish_values), prepared), forms)


def dense_twin(config: Mapping[str, Any], task: tasks.Task, metric: str, console: Console) -> dict[str, Any]:
    """Train the same network without techniques under the same seed, and return what it scores and weighs."""
    plain = {**unlimited(config), **{group: {"method": "none"} for group in GROUPS}}
    with console.status("training the dense twin"):
        outcome = trial.train(Job(0, plain, lambda fidelity, metrics: None))
    assert isinstance(outcome.save, partial), "a trial without pruner and budget is complete"
    network = outcome.save.keywords["network"].cpu().eval()
    model = to_onnx(network, task)
    return {
        "what": "the same network and settings, trained under the same seed without any technique",
        "validation": outcome.metrics[metric],
        "test": metrics_of(network, task, "test")[metric],
        "parameters": stored_parameters(network),
        "float32_bytes": 4 * stored_parameters(network),
        "onnx_bytes": len(model),
        "macs": outcome.metrics.get("macs"),
        "latency_ms": timed(model, task),
    }


def timed(model: bytes, task: tasks.Task) -> float:
    """Return the median milliseconds of one sample in ONNX Runtime, on one thread."""
    session = parity.onnx_session(model)
    feed = {session.get_inputs()[0].name: sample(task)[:1].numpy()}
    return parity.latency_ms(lambda: session.run(None, feed))


def card_of(
    study: Study,
    one: FrozenTrial,
    done: Finished,
    files: Mapping[str, bytes],
    task: tasks.Task,
    judge: Judge,
    agreed: parity.Parity,
    twin: dict[str, Any] | None,
    config: Mapping[str, Any],
) -> dict[str, Any]:
    """Return everything that is known of an export."""
    result, ledger = result_of(one), Ledger().read(study)
    outputs, targets = tested(done.network, task)
    value = task.evaluate(outputs, targets)[judge.metric]
    found = compact.read(files["model.kgm"])
    session = parity.onnx_session(files["model.onnx"])
    given = session.get_inputs()[0]
    figures = {name: value for name, value in result.figures.items() if name in REACHED}
    return {
        "study": study.study_name,
        "trial": one.number,
        "test": {
            "metric": judge.metric,
            "value": value,
            "interval": list(cards.interval(judge.metric, task, outputs, targets, value)),
            "rows": agreed.rows,
            "all": task.evaluate(outputs, targets),
            "baselines": task.baselines(targets),
        },
        "validation": {"value": done.score, "before_last_cuts": done.before, "tolerance": judge.tolerance},
        "dense_twin": twin,
        "bytes": {name: len(data) for name, data in files.items()},
        "tensors": contents.table(found, compact.costs(done.network)),
        "parameters": stored_parameters(done.network),
        "macs": result.figures.get("macs"),
        "latency_ms": timed(files["model.onnx"], task),
        "techniques": figures,
        "notes": done.notes,
        "parity": agreed.differences,
        "input": {
            "name": given.name,
            "shape": [one if isinstance(one, int) else None for one in given.shape],
            "type": str(sample(task).numpy().dtype),
            "what": f"raw rows of {tuple(sample(task).shape[1:])}, as the data have them",
        },
        "output": {
            "kind": task.kind,
            "what": f"{task.kind}" + (f" in the order ({', '.join(task.classes)})" if task.classes else ""),
        },
        "search": {
            "trials": ledger.finished,
            "wall_s": round(ledger.wall_seconds(), 1),
            "device_s": round(ledger.device_seconds(), 1),
            "fit_s": result.fit_s or 0.0,
        },
        "config": dict(leaves(config)),
        "data": {"task": config["task"]["name"], "fingerprint": task.fingerprint()},
        "revision": provenance.revision(),
        "versions": provenance.versions(),
        "machine": f"{platform.machine()}, {platform.system()}",
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        "sha256_of_tensors": dict(found.digests),
    }


def tested(network: nn.Module, task: tasks.Task) -> tuple[torch.Tensor, torch.Tensor]:
    """Return outputs and targets of the test rows."""
    batches = list(task.test_dataloader())
    with torch.no_grad():
        outputs = torch.cat([network.cpu().eval()(inputs) for inputs, _ in batches])
    return outputs, torch.cat([targets for _, targets in batches])
