"""`compare`: which arms a dimension has, where their other values come from, and what is refused."""

import copy
from functools import cache

import pytest

from kirigami.search.command.compare import Options
from kirigami.search.command.options import read
from kirigami.search.comparing import plan
from kirigami.search.config.compose import compose
from kirigami.search.config.identity import identity
from kirigami.search.config.resolve import resolve
from kirigami.search.errors import InputError
from kirigami.search.study import study as studies

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning", "ignore:Heartbeat of storage")

OPTIONS = {"over": "network.activation", "repeats": "8"}
STUDY = ["study=breast_cancer", "network.width=8", "network.depth=1", "trainer.epochs=1", "trainer.device=cpu"]
BEST = {"optimizer.lr": 0.25, "network.width": 16, "network.activation": "silu"}


@cache
def composed(overrides):
    """Compose once what most tests share: Hydra takes half a second."""
    return compose(overrides)


@pytest.fixture
def overrides(tmp_path, sqlite_url, monkeypatch):
    def quick(given, _folders=()):
        raw = copy.deepcopy(composed(tuple(one for one in given if not one.startswith("storage."))))
        raw["storage"]["url"] = sqlite_url
        return raw

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plan, "compose", quick)
    return [*STUDY, f"storage.url={sqlite_url}"]


@pytest.fixture
def searched(overrides, open_store, sqlite_url):
    """Put a study of one complete trial into the store; a function, for a study of another name."""

    def make(name="breast_cancer", values=BEST, more=()):
        raw = {**plan.compose([*overrides, *more]), "name": name}
        config = resolve(raw)
        study = studies.create(open_store(sqlite_url), name, {"balanced_accuracy": "maximize"}, identity(config))
        trial = study.ask()
        for path, value in values.items():
            trial.suggest_categorical(path, [value])
        made = resolve(plan.Space.from_config({}, {}).apply(raw, values))
        trial.set_user_attr("origin", {"config": {k: v for k, v in made.items() if k not in ("space", "storage")}})
        trial.set_user_attr("outcome", {"state": "complete"})
        study.tell(trial, 0.9)
        return study

    return make


def planned(overrides, **given):
    return plan.make(overrides, [], read(Options, {**OPTIONS, **given}))


def test_arms_are_the_choices_of_the_space(overrides):
    made = planned(overrides)
    assert [arm.label for arm in made.arms] == ["relu", "leaky_relu", "tanh", "silu", "mish", "gelu", "sin"]
    assert (made.reference, made.metric, made.direction) == ("relu", "balanced_accuracy", "maximize")
    assert made.source == "the config's own values"
    assert {arm.config["network"]["activation"] for arm in made.arms} == {arm.value for arm in made.arms}
    assert len({arm.identity for arm in made.arms}) == 7
    assert {arm.config["network"]["width"] for arm in made.arms} == {8}


def test_the_best_trial_gives_all_other_values(overrides, searched):
    searched()
    made = planned(overrides, values="[relu,silu]")
    assert made.source == "the values of trial 0, the best"
    assert made.reference == "silu"
    assert [(arm.config["network"]["activation"], arm.config["network"]["width"]) for arm in made.arms] == [
        ("relu", 16),
        ("silu", 16),
    ]
    assert {arm.config["optimizer"]["lr"] for arm in made.arms} == {0.25}
    own = planned(overrides, values="[relu,silu]", **{"from": "config"})
    assert {arm.config["network"]["width"] for arm in own.arms} == {8}
    assert own.arms[0].identity != made.arms[0].identity


def test_a_config_the_study_was_not_begun_with_is_refused(overrides, searched):
    searched()
    with pytest.raises(InputError, match=r"begun with another config \(trainer.epochs: 1 -> 2\).*from=config"):
        planned([*overrides, "trainer.epochs=2"])
    assert planned([*overrides, "space.optimizer.lr.high=0.5"]).source == "the values of trial 0, the best"


def test_best_is_refused_before_there_is_one(overrides):
    with pytest.raises(InputError, match="from=best: study=breast_cancer has no complete trial"):
        planned(overrides, **{"from": "best"})


def test_arms_may_be_files_of_a_group(overrides, searched):
    """What the search found for SGD is kept by SGD alone; what it found elsewhere is shared."""
    searched()
    made = planned(overrides, over="optimizer", values="[adam,sgd]")
    adam, sgd = made.arms
    assert made.reference == "sgd"
    assert (sgd.config["optimizer"]["lr"], adam.config["optimizer"]["lr"]) == (0.25, 0.001)
    assert adam.config["network"]["width"] == sgd.config["network"]["width"] == 16
    assert "momentum" not in adam.config["optimizer"]


def test_arms_may_be_two_studies(overrides, searched):
    searched()
    searched("other", {"optimizer.lr": 0.5, "network.activation": "relu"})
    made = planned(overrides, over="study", against="other")
    assert (made.over, made.reference) == ("study-other", "breast_cancer")
    assert [arm.config["optimizer"]["lr"] for arm in made.arms] == [0.25, 0.5]


def test_studies_of_other_rows_are_no_pair(overrides, searched):
    searched()
    searched("other", {}, more=["task=digits", "network=mlp"])
    with pytest.raises(InputError, match="judged on other validation rows"):
        planned(overrides, over="study", against="other")


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"over": "network.activatoin"}, "no such dimension.*Did you mean 'network.activation'"),
        ({"over": "seed", "values": "[1,2]"}, "^over=seed: no such dimension"),
        ({"over": "task.fraction"}, r"^over=task.fraction is no dimension of the study's space\. Name its values"),
        ({"over": "optimizer.lr"}, r"^over=optimizer.lr is a range from 0.001 to 0.3. Name"),
        ({"over": "optimizer"}, "^over=optimizer is a group of files"),
        ({"over": "optimizer", "values": "[sgd,adan]"}, "Did you mean 'adam'"),
        ({"values": "[relu]"}, "needs at least two values"),
        ({"values": "[relu,silo]"}, "^network.activation=silo is refused: .*Did you mean 'silu'"),
        ({"metric": "acuracy"}, "^metric must be one of .*Did you mean 'accuracy'"),
        ({"metric": "rmse"}, "^network.activation=relu is refused: metric must be one of"),
        ({"over": "task.name", "values": "[breast_cancer,digits]"}, "judged on other validation rows"),
        ({"over": "study"}, "^over=study compares two studies, but got against=''"),
        ({"over": "study", "against": "other"}, "^study=breast_cancer: not in the store"),
    ],
)
def test_wrong_input_is_one_line(overrides, given, match):
    with pytest.raises(InputError, match=match) as error:
        planned(overrides, **given)
    assert "\n" not in str(error.value)
