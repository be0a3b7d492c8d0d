"""The config as objects: what they refuse and in which words, and that they mean what Optuna means."""

import inspect
from typing import Annotated, Literal, get_args

import pytest
from pydantic import Field, ValidationError

from kirigami.search.config.compose import compose
from kirigami.search.config.groups import FREE, KEYS, MADE_BY, QUESTION, TECHNIQUES
from kirigami.search.config.pruner import PRUNERS as PRUNER_GROUPS
from kirigami.search.config.resolve import resolve
from kirigami.search.config.sampler import AnySampler
from kirigami.search.config.settings import StudyConfig, TrialConfig
from kirigami.search.errors import InputError
from kirigami.search.proposal.pruners import PRUNERS
from kirigami.search.proposal.samplers import SAMPLERS
from kirigami.search.schema import Group, Unit, allowed

SAMPLER_GROUPS = get_args(get_args(AnySampler)[0])
OURS = ("name", "window")


@pytest.fixture(scope="module")
def resolved():
    return resolve(compose(["study=breast_cancer"]))


@pytest.mark.parametrize(
    ("group", "targets"),
    [*((one, SAMPLERS) for one in SAMPLER_GROUPS), *((one, PRUNERS) for one in PRUNER_GROUPS)],
    ids=lambda part: getattr(part, "__name__", ""),
)
def test_a_group_has_the_arguments_and_defaults_of_optunas_class(group, targets):
    settings = group()
    signature = inspect.signature(targets[settings.name]).parameters
    for name in set(group.model_fields) - {*OURS}:
        assert getattr(settings, name) == signature[name].default, name


def test_each_name_has_a_group():
    assert {one().name for one in SAMPLER_GROUPS} == set(SAMPLERS)
    assert {one().name for one in PRUNER_GROUPS} == set(PRUNERS)


def test_what_the_config_leaves_out_is_left_to_optuna():
    sampler = StudyConfig.model_fields["sampler"]
    assert sampler.is_required()
    assert SAMPLER_GROUPS[0](n_startup_trials=3, window=None).arguments() == {"n_startup_trials": 3}


class Inner(Group):
    count: int = Field(default=1, ge=1)
    share: Annotated[float, Field(gt=0, le=1)] | None = None
    pause: Annotated[float, Unit("seconds"), Field(ge=0)] = 0.0
    kind: Literal["a", "bb"] = "a"
    shown: bool = False
    word: str = Field(default="x", description="a word", examples=["this"])


class Outer(Group):
    inner: Inner
    either: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"inner": {"count": 0}}, "inner.count must be a whole number of at least 1, but got 0."),
        ({"inner": {"count": 1.0}}, "inner.count must be a whole number of at least 1, but got 1.0."),
        ({"inner": {"count": True}}, "inner.count must be a whole number of at least 1, but got True."),
        ({"inner": {"count": "1"}}, "inner.count must be a whole number of at least 1, but got '1'."),
        ({"inner": {"share": 2.0}}, "inner.share must be null or a number above 0 and at most 1, but got 2.0."),
        ({"inner": {"pause": float("inf")}}, "inner.pause must be a number of seconds of at least 0, but got inf."),
        ({"inner": {"pause": float("nan")}}, "inner.pause must be a number of seconds of at least 0, but got nan."),
        ({"inner": {"kind": "b"}}, "inner.kind must be one of (a, bb), but got 'b'. Did you mean 'bb'?"),
        ({"inner": {"shown": 1}}, "inner.shown must be true or false, but got 1."),
        ({"inner": {"word": 3}}, "inner.word must be a word, but got 3. Set inner.word=this."),
        ({"inner": {}, "either": 0}, "either must be a whole number of at least 1 or auto, but got 0."),
        ({"inner": {"cuont": 1}}, "inner.cuont: no such key. Did you mean 'count'? Keys: count, share, "),
        ({"inner": 3}, "inner must be a mapping, but got 3."),
        ({}, "inner is not set. Set inner=VALUE."),
        ({"inner": {}, "outer": 1}, "outer: no such key."),
    ],
)
def test_what_is_wrong_is_one_line(values, line):
    with pytest.raises(InputError) as refused:
        Outer.read(values)
    assert str(refused.value).startswith(line)
    with pytest.raises(InputError) as refused:
        Outer.read(values, "group")
    assert str(refused.value).startswith("group." + line.replace("Set inner", "Set group.inner"))


def test_a_whole_number_will_do_for_a_number():
    assert Inner.read({"pause": 2, "share": 1}) == Inner(pause=2.0, share=1.0)


def test_ranges_are_said_once_for_whole_numbers_and_others():
    assert allowed(int | float, [*Inner.model_fields["count"].metadata]) == "a number of at least 1"


def test_settings_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        Inner().count = 3


@pytest.mark.parametrize(
    ("group", "change", "line"),
    [
        ("launcher", {"name": "slurmm"}, "launcher.name must be one of (local, ray, slurm), but got 'slurmm'."),
        ("launcher", {"name": "local", "wait": True}, "launcher.wait: no such key. Keys: name, deaths_in_a_row."),
        (
            "sampler",
            {"name": "tpe", "n_startup": 3},
            "sampler.n_startup: no such key. Did you mean ",
        ),
        ("pruner", {"min_resource": "some"}, "pruner.min_resource must be a whole number of at least 1 or auto, but"),
        ("storage", {"retries": -1}, "storage.retries must be a whole number of at least 0, but got -1."),
        ("checkpoint", {"every_s": -1}, "checkpoint.every_s must be null or a number of seconds of at least 0, but"),
        ("trainer", {"batch_size": 0}, "trainer.batch_size must be a whole number of at least 1, but got 0."),
        ("trainer", {"val_every": 7}, "trainer.val_every must divide the 30 epochs or steps of a trial, so that"),
        ("cost", {"per_device_hour": -1}, "cost.per_device_hour must be a price above 0"),
        ("budget", {"money": 3}, "budget.money=3 needs the price of a device"),
    ],
)
def test_the_study_is_checked_as_a_whole(resolved, group, change, line):
    with pytest.raises(InputError) as refused:
        StudyConfig.from_resolved({**resolved, group: {**resolved[group], **change}})
    assert str(refused.value).startswith(line)


def test_a_trial_of_the_store_is_read_without_what_it_was_not_made_by(resolved):
    stored = {key: part for key, part in resolved.items() if key not in ("space", "storage")}
    del stored["trainer"]["devices"], stored["trainer"]["compress_gradients"]

    trial = TrialConfig.from_resolved(stored)

    assert trial.plain == stored
    assert (trial.trainer.devices, trial.trainer.unit, trial.trainer.fidelities) == (1, "epoch", 30)
    assert trial.objective == {"balanced_accuracy": None}
    assert trial.budget.trials == 40


def test_a_trial_older_than_a_group_of_techniques_did_without_it(resolved):
    assert TrialConfig.from_resolved({key: part for key, part in resolved.items() if key != "bits"}).methods == {}


def test_the_table_of_keys_has_what_a_study_reads():
    fields = {*StudyConfig.model_fields} - {"plain", "techniques"}
    assert {*KEYS} == {*fields, *TECHNIQUES, "space", "cost"}
    assert not {*MADE_BY} & {*FREE, *QUESTION}
    assert {*FREE, *QUESTION, *MADE_BY, "task", "output", "metrics", "weight_entropy"} == {*KEYS}


def test_a_changed_config_is_checked_again(resolved):
    trial = TrialConfig.from_resolved(resolved)

    changed = trial.with_changes(trainer={"epochs": 3}, seed=5)

    assert (changed.trainer.epochs, changed.seed, trial.trainer.epochs) == (3, 5, 30)
    assert changed.plain["trainer"]["epochs"] == 3
    with pytest.raises(InputError, match=r"^trainer\.epochs must be"):
        trial.with_changes(trainer={"epochs": -1})


def test_the_techniques_of_a_trial_can_be_left_out(resolved):
    trial = TrialConfig.from_resolved({**resolved, "bits": {"method": "uniform", "bits": 4}})

    assert trial.methods == {"bits": "uniform"}
    assert trial.without_techniques().methods == {}
    assert trial.without_techniques().plain["bits"] == {"method": "none"}
