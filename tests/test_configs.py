"""Every file of conf/ composes and builds what it stands for; a new file is found by listing the folder."""

import copy
import functools
import itertools
import os
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from kirigami import models, tasks
from kirigami.search.config.compose import compose
from kirigami.search.config.groups import KEYS, TECHNIQUES
from kirigami.search.config.identity import leaves
from kirigami.search.config.resolve import resolve
from kirigami.search.config.settings import Proposal, StudyConfig
from kirigami.search.config.study import StudySettings
from kirigami.search.config.trainer import TrainerConfig
from kirigami.search.proposal import pruners, samplers
from kirigami.search.rehearsal import building as rehearsal
from kirigami.search.rehearsal.objectives import check_objectives, directions
from kirigami.search.training import trainer as trainers
from kirigami.search.training.checkpoints.callback import CheckpointCallback
from kirigami.search.training.job import Job
from kirigami.search.training.reports import Reports
from kirigami.spaces import Space
from kirigami.tasks import metrics

CONF = Path(__file__).parents[1] / "conf"
OPTIONS = [(file.parent.name, file.stem) for file in sorted(CONF.glob("*/*.yaml"))]

# What each task would say of its data, so that a study can be built where the data are not.
IMAGES = ((3, 32, 32), 10, None)
SHAPES: dict[str, tuple[tuple[int, ...], int, int | None]] = {
    "classes": IMAGES,
    "values": ((20,), 1, None),
    "pixels": ((2, 12, 12), 1, None),
    "characters": ((64,), 65, 65),
}
KINDS = {"text": "characters", "paths": "pixels"}
IN_SHAPES = {"digits": (1, 8, 8), "breast_cancer": (30,), "table": (20,)}


@pytest.fixture(autouse=True)
def _data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KIRIGAMI_DATA", str(tmp_path))


def options(group: str) -> list[str]:
    return [option for owner, option in OPTIONS if owner == group]


def proposed(**settings: dict[str, Any]) -> Proposal:
    return Proposal.read(settings)


@functools.cache
def bare() -> dict[str, Any]:
    """Compose the defaults without a space."""
    return compose(["space=[]"])


def chosen(group: str, option: str) -> dict[str, Any]:
    """Compose one option of a group without a space, with placeholders for what the user must name."""
    return copy.deepcopy(composed(group, option))


@functools.cache
def composed(group: str, option: str) -> dict[str, Any]:
    raw = compose(["study=breast_cancer", f"{group}={option}", "space=[]"])
    filled = {path: "placeholder" for path, value in leaves(raw[group]) if value == "???"}
    return with_folder(resolve({**raw, group: {**raw[group], **filled}})[group])


@functools.cache
def _studied(study: str) -> dict[str, Any]:
    return compose([f"study={study}"])


def studied(study: str) -> dict[str, Any]:
    """Compose a study, once for all tests."""
    return copy.deepcopy(_studied(study))


def with_folder(config: dict[str, Any]) -> dict[str, Any]:
    """Make the folder where a task looks for its data, empty."""
    if "path" not in config:
        return config
    folder = Path(config["path"] or os.environ["KIRIGAMI_DATA"])
    folder.mkdir(parents=True, exist_ok=True)
    return {**config, "path": str(folder)}


def stand_in(config: StudyConfig) -> Any:
    """Return what the loop asks of a task before it trains, without the task's data."""
    name = config.task["name"]
    tasks.build(with_folder(dict(config.task)), seed=0)
    kind = KINDS.get(name, "classes")
    in_shape, out_features, vocabulary = SHAPES[kind]
    names = None if kind != "classes" else ("0", "1") if name in ("table", "breast_cancer") else tuple("0123456789")
    return SimpleNamespace(
        kind=kind,
        in_shape=IN_SHAPES.get(name, in_shape),
        out_features=len(names) if names else out_features,
        vocabulary=vocabulary,
        classes=names,
        metrics=metrics.available(kind, len(names or ())),
        evaluate=lambda outputs, targets: {},
        class_weights=None,
        device=torch.device("cpu"),
        check_test_part=lambda: None,
        notices=(),
        train_dataloader=lambda: [(torch.zeros(8, *IN_SHAPES.get(name, in_shape)), torch.arange(8) % 2)],
    )


@pytest.mark.parametrize("option", [option for option in options("task") if option != "own"])
def test_task_builds(option: str) -> None:
    task = tasks.build(chosen("task", option), seed=0)

    assert isinstance(task, tasks.Task)
    assert task.fraction == 1.0


@pytest.mark.parametrize("option", [option for option in options("network") if option != "own"])
def test_network_builds_on_meta_and_serves_a_kind_of_task(option: str) -> None:
    config, built, said = chosen("network", option), [], []
    for kind, in_shape in [*((kind, SHAPES[kind][0]) for kind in SHAPES), ("classes", (20,))]:
        _, out_features, vocabulary = SHAPES[kind]
        shapes = {"in_shape": in_shape, "out_features": out_features, "vocabulary": vocabulary}
        with torch.device("meta"):
            try:
                network = models.build_network(config, **shapes, dense=kind == "pixels")
            except ValueError as error:
                said.append(str(error))
                continue
            batch = torch.zeros((4, *in_shape), dtype=torch.long if vocabulary else torch.float32)
            outputs = network.eval()(batch)
        built.append(kind)
        tail = {"pixels": in_shape[1:], "characters": (*in_shape, 65)}.get(kind, (out_features,))
        assert outputs.shape == (4, *tail)
    assert built
    assert all(line.startswith("name must be one of") for line in said)


OPTIMIZERS, SCHEDULES = ([name for name in options(group) if name != "own"] for group in ("optimizer", "schedule"))


@pytest.mark.parametrize("option", OPTIMIZERS)
def test_optimizer_takes_a_step(option: str) -> None:
    layer = nn.Linear(3, 2)
    before = layer.weight.detach().clone()
    optimizer = models.optimizers.build_optimizer(layer, chosen("optimizer", option))

    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()

    assert not torch.equal(before, layer.weight)


@pytest.mark.parametrize(("option", "optimizer"), itertools.product(SCHEDULES, OPTIMIZERS))
def test_schedule_fits_every_optimizer(option: str, optimizer: str) -> None:
    built = models.optimizers.build_optimizer(nn.Linear(3, 2), chosen("optimizer", optimizer))
    schedule = models.schedules.build_schedule(built, chosen("schedule", option), total_steps=20, steps_per_epoch=5)

    for _ in range(20):
        built.step()
        schedule.step()

    assert all(0 <= group["lr"] < 1 for group in built.param_groups)


@pytest.mark.parametrize("option", options("sampler"))
def test_sampler_builds(option: str) -> None:
    build = samplers.sampler_factory(proposed(sampler=chosen("sampler", option)).sampler, seed=0)

    assert build(1) is not build(2)


@pytest.mark.parametrize("option", options("pruner"))
def test_pruner_builds_and_its_rungs_lie_in_a_trial(option: str) -> None:
    pruner = proposed(pruner=chosen("pruner", option)).pruner
    rungs = pruners.rungs(pruner, 27)

    assert pruners.build_pruner(pruner, fidelities=27) is not None
    assert rungs is None or (option == "none") == (not rungs)
    assert all(1 <= rung <= 27 for rung in rungs or ())


@pytest.mark.parametrize("option", options("trainer"))
def test_trainer_builds(option: str) -> None:
    config = TrainerConfig.read({**chosen("trainer", option), "device": "cpu"}, "trainer")
    job = Job(0, {}, lambda fidelity, metrics: None)
    trainer = trainers.build_trainer(config, [Reports(job, "epoch", CheckpointCallback(job))])

    assert trainer.max_epochs == config.fidelities == config.epochs


@pytest.mark.parametrize(("group", "option"), [one for one in OPTIONS if one[0] in TECHNIQUES])
def test_technique_builds(group: str, option: str) -> None:
    built = import_module(f"kirigami.models.{group}").build(chosen(group, option))

    assert (built is None) == (option == "none")


@pytest.mark.parametrize("option", options("space"))
def test_space_is_valid_against_some_choice_of_its_groups(option: str) -> None:
    space = OmegaConf.to_container(OmegaConf.load(CONF / "space" / f"{option}.yaml"))
    config = copy.deepcopy(bare())
    groups = [group for group in space if (CONF / group).is_dir()]
    said = set()
    for choice in itertools.product(*(options(group) for group in groups)):
        parts = {group: chosen(group, picked) for group, picked in zip(groups, choice, strict=True)}
        try:
            assert len(Space.from_config(space, {**config, **parts})) >= 1
            return
        except ValueError as error:
            said.add(str(error))
    pytest.fail(f"no choice of {groups} has what space={option} varies: {said}")


@pytest.mark.parametrize("study", options("study"))
def test_study_composes_and_every_value_of_its_space_builds(study: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = StudySettings.from_raw(studied(study))
    config = settings.config
    monkeypatch.setattr(rehearsal, "open_task", stand_in)

    task = rehearsal.rehearse(settings)

    assert config.name == study
    assert len(settings.space) >= 1
    assert config.budget.trials
    check_objectives(config, directions(config), task)


@pytest.mark.parametrize("study", options("study"))
def test_study_prunes_before_the_end_of_a_trial(study: str) -> None:
    config = StudyConfig.from_resolved(resolve(studied(study)))
    full = config.trainer.fidelities
    rungs = pruners.rungs(config.pruner, full)

    assert rungs is None or min(rungs) < full


def setting(group: str) -> list[str]:
    """Return the studies that set something of a group, and one that leaves it alone."""
    named = [one for one in options("study") if f"{group}:" in (CONF / "study" / f"{one}.yaml").read_text()]
    return named or ["breast_cancer"]


# Every study under none, and every pruner in place of one study's own.
UNDER = [*((study, "none") for study in setting("pruner")), *((setting("pruner")[0], one) for one in options("pruner"))]


@pytest.mark.parametrize(("study", "pruner"), dict.fromkeys(UNDER))
def test_study_runs_under_every_pruner(study: str, pruner: str) -> None:
    """What a study sets for its own pruner must not stand in the way of `pruner=none` on the command line."""
    config = StudyConfig.from_resolved(resolve(compose([f"study={study}", f"pruner={pruner}"])))

    assert pruners.build_pruner(config.pruner, fidelities=config.trainer.fidelities) is not None


@pytest.mark.parametrize(("study", "sampler"), itertools.product(setting("sampler"), options("sampler")))
def test_study_runs_under_every_sampler(study: str, sampler: str) -> None:
    config = resolve(compose([f"study={study}", f"sampler={sampler}"]))

    assert samplers.sampler_factory(proposed(sampler=config["sampler"]).sampler, seed=0)


GROUPED = {group: options(group) for group in sorted({group for group, _ in OPTIONS} - {"study", "space"})}


@pytest.mark.parametrize("turn", range(max(map(len, GROUPED.values()))))
def test_every_option_can_be_chosen_on_the_command_line(turn: int) -> None:
    """One option of each group at a time."""
    picked = {group: names[turn % len(names)] for group, names in GROUPED.items()}
    raw = compose([*(f"{group}={name}" for group, name in picked.items()), "space=[]"])

    assert set(raw) <= set(KEYS)
    assert raw["name"] == "digits"


def test_every_space_can_be_chosen_on_the_command_line() -> None:
    """All at once, so that a wrong one is named by Hydra's own line."""
    raw = compose([f"space=[{','.join(options('space'))}]"])

    assert raw["space"]


def test_every_folder_of_conf_is_a_group() -> None:
    assert {group for group, _ in OPTIONS} <= {*KEYS, "study"}
