"""Every file of conf/ composes and builds what it stands for; a new file is found by listing the folder."""

import copy
import functools
import itertools
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

import models
import tasks
from search import rehearsal, samplers, techniques, trainers
from search.compose import KEYS, compose
from search.errors import InputError
from search.identity import difference, identity, leaves
from search.job import Job
from search.pruning import Reports
from search.resolve import resolve
from spaces import Budget, Space
from tasks import metrics

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


def chosen(group: str, option: str) -> dict[str, Any]:
    """Compose one option of a group without a space, with placeholders for what the user must name."""
    return copy.deepcopy(composed(group, option))


@functools.cache
def composed(group: str, option: str) -> dict[str, Any]:
    raw = compose(["study=breast_cancer", f"{group}={option}", "space=[]"])
    filled = {path: "placeholder" for path, value in leaves(raw[group]) if value == "???"}
    return with_folder(resolve({**raw, group: {**raw[group], **filled}})[group])


def with_folder(config: dict[str, Any]) -> dict[str, Any]:
    """Make the folder where a task looks for its data, empty."""
    if "path" not in config:
        return config
    folder = Path(config["path"] or os.environ["KIRIGAMI_DATA"])
    folder.mkdir(parents=True, exist_ok=True)
    return {**config, "path": str(folder)}


def stand_in(config: dict[str, Any]) -> Any:
    """Return what the loop asks of a task before it trains, without the task's data."""
    name = config["task"]["name"]
    tasks.build(with_folder(config["task"]), seed=0)
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
        train_dataloader=lambda: [(torch.zeros(8, *IN_SHAPES.get(name, in_shape)), torch.arange(8) % 2)],
    )


@pytest.mark.parametrize("option", options("task"))
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
    assert all(line.startswith("network.name must be one of") for line in said)


@pytest.mark.parametrize("option", options("optimizer"))
def test_optimizer_takes_a_step(option: str) -> None:
    layer = nn.Linear(3, 2)
    before = layer.weight.detach().clone()
    optimizer = models.optimizers.build_optimizer(layer, chosen("optimizer", option))

    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()

    assert not torch.equal(before, layer.weight)


@pytest.mark.parametrize(("option", "optimizer"), itertools.product(options("schedule"), options("optimizer")))
def test_schedule_fits_every_optimizer(option: str, optimizer: str) -> None:
    built = models.optimizers.build_optimizer(nn.Linear(3, 2), chosen("optimizer", optimizer))
    schedule = models.schedules.build_schedule(built, chosen("schedule", option), total_steps=20, steps_per_epoch=5)

    for _ in range(20):
        built.step()
        schedule.step()

    assert all(0 <= group["lr"] < 1 for group in built.param_groups)


@pytest.mark.parametrize("option", options("sampler"))
def test_sampler_builds(option: str) -> None:
    build = samplers.sampler_factory(chosen("sampler", option), seed=0)

    assert build(1) is not build(2)


@pytest.mark.parametrize("option", options("pruner"))
def test_pruner_builds_and_its_rungs_lie_in_a_trial(option: str) -> None:
    config = chosen("pruner", option)
    rungs = samplers.rungs(config, 27)

    assert samplers.build_pruner(config, fidelities=27) is not None
    assert rungs is None or (option == "none") == (not rungs)
    assert all(1 <= rung <= 27 for rung in rungs or ())


@pytest.mark.parametrize("option", options("trainer"))
def test_trainer_builds(option: str) -> None:
    config = {**chosen("trainer", option), "device": "cpu"}
    trainer = trainers.build_trainer(config, [Reports(Job(0, {}, lambda fidelity, metrics: None), "epoch")])

    assert trainer.max_epochs == config["epochs"]
    assert trainers.fidelities(config) == config["epochs"]


@pytest.mark.parametrize(("group", "option"), [one for one in OPTIONS if one[0] in techniques.ROOMS])
def test_technique_builds(group: str, option: str) -> None:
    built = techniques.ROOMS[group](chosen(group, option))

    assert (built is None) == (option == "none")


@pytest.mark.parametrize("option", options("space"))
def test_space_is_valid_against_some_choice_of_its_groups(option: str) -> None:
    space = OmegaConf.to_container(OmegaConf.load(CONF / "space" / f"{option}.yaml"))
    config = compose(["space=[]"])
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
    raw = compose([f"study={study}"])
    config = resolve(raw)
    space = Space.from_config(raw["space"], {key: part for key, part in config.items() if key != "space"})
    monkeypatch.setattr(rehearsal, "open_task", stand_in)

    rehearsed, task = rehearsal.rehearse(raw, space, resolve)

    assert rehearsed["name"] == study
    assert len(space) >= 1
    assert Budget.from_config(config["budget"]).trials
    rehearsal.check_objectives(config, {config["objective"]: tasks.direction(config["objective"])}, task)


@pytest.mark.parametrize("study", options("study"))
def test_study_prunes_before_the_end_of_a_trial(study: str) -> None:
    config = resolve(compose([f"study={study}"]))
    full = trainers.fidelities(config["trainer"])
    rungs = samplers.rungs(config["pruner"], full)

    assert rungs is None or min(rungs) < full


def setting(group: str) -> list[str]:
    """Return the studies that set something of a group, and one that leaves it alone."""
    named = [one for one in options("study") if f"{group}:" in (CONF / "study" / f"{one}.yaml").read_text()]
    return named or ["breast_cancer"]


@pytest.mark.parametrize(("study", "pruner"), itertools.product(setting("pruner"), options("pruner")))
def test_study_runs_under_every_pruner(study: str, pruner: str) -> None:
    """What a study sets for its own pruner must not stand in the way of `pruner=none` on the command line."""
    config = resolve(compose([f"study={study}", f"pruner={pruner}"]))

    assert samplers.build_pruner(config["pruner"], fidelities=trainers.fidelities(config["trainer"])) is not None


@pytest.mark.parametrize(("study", "sampler"), itertools.product(setting("sampler"), options("sampler")))
def test_study_runs_under_every_sampler(study: str, sampler: str) -> None:
    config = resolve(compose([f"study={study}", f"sampler={sampler}"]))

    assert samplers.sampler_factory(config["sampler"], seed=0)


GROUPED = {group: options(group) for group in sorted({group for group, _ in OPTIONS} - {"study", "space"})}


@pytest.mark.parametrize("turn", range(max(map(len, GROUPED.values()))))
def test_every_option_can_be_chosen_on_the_command_line(turn: int) -> None:
    """One option of each group at a time."""
    picked = {group: names[turn % len(names)] for group, names in GROUPED.items()}
    raw = compose([*(f"{group}={name}" for group, name in picked.items()), "space=[]"])

    assert set(raw) <= set(KEYS)
    assert raw["name"] == "digits"


@pytest.mark.parametrize("space", options("space"))
def test_every_space_can_be_chosen_on_the_command_line(space: str) -> None:
    assert compose([f"space=[{space}]"])["space"]


def test_every_folder_of_conf_is_a_group() -> None:
    assert {group for group, _ in OPTIONS} <= {*KEYS, "study"}


class TestCompose:
    """The command line has the last word."""

    def test_overrides_reach_leaves_and_lists(self) -> None:
        raw = compose(["optimizer.lr=0.3", "objective=[accuracy,params]", "space.optimizer.lr.high=0.5", "name=mine"])

        assert raw["optimizer"]["lr"] == 0.3
        assert raw["objective"] == ["accuracy", "params"]
        assert raw["space"]["optimizer"]["lr"]["high"] == 0.5
        assert raw["name"] == "mine"

    def test_the_study_names_the_record(self) -> None:
        assert compose(["study=breast_cancer"])["name"] == "breast_cancer"

    def test_a_branch_of_the_space_is_frozen(self) -> None:
        raw = compose(["study=digits_dense", "~space.task"])

        assert "task" not in raw["space"]
        assert "optimizer" in raw["space"]

    def test_spaces_are_composed_from_a_list(self) -> None:
        raw = compose(["study=breast_cancer", "space=[optimizer,onecycle]"])

        assert set(raw["space"]) == {"optimizer", "schedule"}

    def test_a_space_can_be_empty(self) -> None:
        assert not compose(["study=breast_cancer", "space=[]"]).get("space")

    def test_interpolations_are_kept_until_resolved(self) -> None:
        raw = compose(["network.depth='${trainer.val_every}'"])

        assert raw["network"]["depth"] == "${trainer.val_every}"
        assert resolve(raw)["network"]["depth"] == 1

    def test_the_store_comes_from_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KIRIGAMI_STORAGE", "sqlite:///elsewhere.db")
        assert resolve(compose([]))["storage"]["url"] == "sqlite:///elsewhere.db"

        monkeypatch.delenv("KIRIGAMI_STORAGE")
        assert resolve(compose([]))["storage"]["url"] == "sqlite:///studies.db"

    def test_data_come_from_the_environment(self, tmp_path: Path) -> None:
        assert resolve(compose(["task=fashion"]))["task"]["path"] == f"{tmp_path}/fashion_mnist"

    def test_a_users_class_takes_the_place_of_the_network(self) -> None:
        raw = compose(
            ["study=breast_cancer", "network._target_=torch.nn.Identity", "+network.size=3", "~space.network"]
        )

        assert raw["network"] == {"_target_": "torch.nn.Identity", "size": 3}

    def test_a_users_class_with_another_networks_knobs(self) -> None:
        raw = compose(["network=mlp", "+network._target_=mine.Net", "network.width=4"])

        assert raw["network"]["_target_"] == "mine.Net"
        assert raw["network"]["width"] == 4


class TestConfigFolders:
    """A user's folder is laid out like conf/."""

    @staticmethod
    def write(folder: Path, **files: str) -> Path:
        for name, text in files.items():
            file = folder / name.replace("__", "/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.with_suffix(".yaml").write_text(text)
        return folder

    def test_adds_studies_and_options(self, tmp_path: Path) -> None:
        study = "# @package _global_\ndefaults:\n  - override /optimizer: slow\nseed: 7\n"
        folder = self.write(tmp_path, study__mine=study, optimizer__slow="name: sgd\nlr: 1.0e-5\n")
        raw = compose(["study=mine"], [folder])

        assert (raw["name"], raw["seed"], raw["optimizer"]) == ("mine", 7, {"name": "sgd", "lr": 1e-5})

    def test_may_be_given_more_than_once(self, tmp_path: Path) -> None:
        first = self.write(tmp_path / "a", optimizer__slow="name: sgd\nlr: 1.0e-5\n")
        second = self.write(tmp_path / "b", task__few="name: digits\nfraction: 0.1\n")
        raw = compose(["optimizer=slow", "task=few", "space=[]"], [first, second])

        assert (raw["optimizer"]["lr"], raw["task"]["fraction"]) == (1e-5, 0.1)

    def test_works_from_a_relative_path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.write(tmp_path / "mine", optimizer__slow="name: sgd\nlr: 1.0e-5\n")
        monkeypatch.chdir(tmp_path)

        assert compose(["optimizer=slow", "space=[]"], [Path("mine")])["optimizer"]["lr"] == 1e-5

    def test_is_listed_among_the_choices(self, tmp_path: Path) -> None:
        folder = self.write(tmp_path, study__mine="# @package _global_\nseed: 7\n")

        with pytest.raises(InputError, match="Did you mean 'mine'"):
            compose(["study=mime"], [folder])

    def test_names_the_line_of_bad_yaml(self, tmp_path: Path) -> None:
        folder = self.write(tmp_path, study__mine="# @package _global_\nseed: [1\nname: x\n")

        with pytest.raises(InputError, match=r"mine\.yaml, line \d+ cannot be read as YAML"):
            compose(["study=mine"], [folder])

    def test_names_an_unknown_key_in_a_file(self, tmp_path: Path) -> None:
        folder = self.write(tmp_path, study__mine="# @package _global_\nseeed: 1\n")

        with pytest.raises(InputError, match=r"seeed: no such key in a config\. Did you mean 'seed'"):
            compose(["study=mine"], [folder])


ERRORS = {
    "study": (["study=digit"], r"study=digit: .*Did you mean 'digits'\?.*breast_cancer"),
    "option": (["network=mpl"], r"network=mpl: .*Did you mean 'mlp'\?.*convnet"),
    "option in a list": (["space=[optimzer]"], r"space=.*optimzer.*Did you mean 'optimizer'\?"),
    "leaf": (["optimizer.lrr=1"], r"optimizer\.lrr: no such key.*Did you mean 'optimizer\.lr'\?"),
    "leaf of the space": (["space.network.dept.low=1"], r"space\.network\.dept.*Did you mean 'space\.network\.depth"),
    "group": (["optimiser=adam"], r"optimiser: no such key.*Did you mean 'optimizer'\?"),
    "the word study": (["stdy=digits"], r"stdy: no such key.*Did you mean 'study'\?"),
    "removal": (["~space.netwrk"], r"space\.netwrk: no such key.*Did you mean 'space\.network"),
    "added key": (["+budgets=3"], r"budgets: no such key.*Did you mean 'budget'\?"),
    "unparsable value": (["optimizer.lr={"], r"optimizer\.lr=\{.*cannot be read"),
    "unparsable list": (["objective=[accuracy,"], r"objective=\[accuracy,.*cannot be read"),
    "sweep": (["optimizer.lr=1,2"], r"optimizer\.lr=1,2"),
    "group without option": (["optimizer=null"], r"optimizer"),
    "number for a group": (["trainer=3"], r"trainer"),
    "scalar for a branch": (["budget=3"], r"budget must be a mapping, but got 3"),
    "removed group": (["~optimizer"], r"optimizer must be a mapping"),
    "empty name": (["=3"], r"'?=3"),
}


@pytest.mark.parametrize(("overrides", "pattern"), ERRORS.values(), ids=ERRORS)
def test_error_is_one_line_that_names_the_thing(overrides: list[str], pattern: str) -> None:
    with pytest.raises(InputError) as caught:
        compose(overrides)

    assert re.search(pattern, str(caught.value))
    assert "\n" not in str(caught.value)


def test_missing_environment_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KIRIGAMI_DATA")

    with pytest.raises(InputError, match=r"task\.path needs the environment variable KIRIGAMI_DATA.*Set .*task\.path="):
        resolve(compose(["study=fashion"]))


def test_value_that_must_be_given_is_named() -> None:
    with pytest.raises(InputError, match=r"task\.train is not set\. Set task\.train="):
        resolve(compose(["task=table", "space=[]"]))


def test_circular_interpolation_is_named() -> None:
    with pytest.raises(InputError, match=r"network\.width"):
        resolve(compose(["network.width='${network.depth}'", "network.depth='${network.width}'"]))


def test_missing_config_folder_is_named() -> None:
    with pytest.raises(InputError, match="--config-dir must be a folder, but got 'nowhere'"):
        compose([], [Path("nowhere")])


STUDY = [
    "study=digits_dense",
    "trainer.epochs=9",
    "space.optimizer.lr.high=1.0",
    "space.task.fraction.choices=[0.5,1.0]",
]


def of(*overrides: str) -> dict[str, Any]:
    return identity(resolve(compose([*STUDY, *overrides])))


FREE = [
    "name=other",
    "workers=2",
    "sampler=random",
    "pruner.reduction_factor=2",
    "pruner=median",
    "budget.trials=5",
    "trainer.device=cpu",
]
FREE += ["storage.url=sqlite:///x.db", "+task.path=here"]
BOUND = {
    "seed=1": "seed: 0 -> 1",
    "task.fraction=0.5": "task.fraction: 1.0 -> 0.5",
    "trainer.epochs=3": "trainer.epochs: 9 -> 3",
    "objective=loss": "objective: accuracy -> loss",
    "space.optimizer.lr.high=0.5": "space.optimizer.lr.high: 1.0 -> 0.5",
    "~space.task": "space.task.fraction.choices: [0.5, 1.0] -> (absent)",
    "+network.extra=1": "network.extra: (absent) -> 1",
}


@pytest.mark.parametrize("override", FREE)
def test_what_may_change_between_runs(override: str) -> None:
    assert difference(of(), of(override)) == []


@pytest.mark.parametrize(("override", "line"), BOUND.items(), ids=BOUND)
def test_what_makes_another_study(override: str, line: str) -> None:
    assert difference(of(), of(override)) == [line]


def test_identity_survives_the_store() -> None:
    there = of()

    assert difference(json.loads(json.dumps(there)), there) == []


def test_identity_is_flat() -> None:
    values: list[Callable[..., Any]] = [value for value in of().values() if isinstance(value, dict) and value]

    assert values == []
