"""The command line has the last word; what is wrong with it is one line; what makes another study is told."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kirigami.search.config.compose import compose
from kirigami.search.config.identity import difference, identity
from kirigami.search.config.resolve import resolve
from kirigami.search.errors import InputError


@pytest.fixture(autouse=True)
def _data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KIRIGAMI_DATA", str(tmp_path))


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


def test_a_group_of_techniques_that_is_new_changes_no_study_that_does_without() -> None:
    before = {path: value for path, value in of().items() if path != "bits.method"}
    assert difference(before, of()) == difference(of(), before) == []
    assert difference(before, of("bits=uniform"))[-1] == "bits.method: none -> uniform"


def test_identity_survives_the_store() -> None:
    there = of()

    assert difference(json.loads(json.dumps(there)), there) == []


def test_identity_is_flat() -> None:
    values: list[Callable[..., Any]] = [value for value in of().values() if isinstance(value, dict) and value]

    assert values == []
