"""One study per name: made once, the same meaning for ever."""

import threading

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from kirigami.search.config.objective import directed, named
from kirigami.search.errors import InputError
from kirigami.search.study import ranking
from kirigami.search.study import study as studies

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

IDENTITY = {"seed": 0, "task.name": "digits", "space.optimizer.lr.low": 0.001}


def one_line(error):
    return "\n" not in str(error.value) and str(error.value).endswith((".", "'"))


@pytest.fixture
def memory():
    return optuna.storages.InMemoryStorage()


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("accuracy", {"accuracy": "maximize"}),
        (["accuracy", "loss"], {"accuracy": "maximize", "loss": "minimize"}),
        ({"mine": "minimize"}, {"mine": "minimize"}),
    ],
)
def test_objectives_are_a_name_a_list_or_names_with_directions(setting, expected):
    found = directed(named(setting), lambda name: "maximize" if name == "accuracy" else "minimize")
    assert found == expected
    assert list(found) == list(expected)


@pytest.mark.parametrize("setting", [None, 3, [], {}, [1], {"accuracy": "up"}, {"a": "minimize", "b": None}])
def test_other_objectives_are_refused(setting):
    with pytest.raises(InputError, match=r"^objective") as error:
        directed(named(setting), lambda name: "minimize")
    assert one_line(error)


def test_a_study_is_created_once_and_found_again(memory):
    assert studies.find(memory, "s") is None
    first = studies.create(memory, "s", {"loss": "minimize", "accuracy": "maximize"}, IDENTITY)
    second = studies.create(memory, "s", {"loss": "minimize", "accuracy": "maximize"}, IDENTITY)
    found = studies.find(memory, "s")
    assert first._study_id == second._study_id == found._study_id
    assert found.user_attrs["identity"] == IDENTITY
    assert found.user_attrs["schema"] == studies.SCHEMA
    assert ranking.metric_names(found) == ["loss", "accuracy"]
    assert [one.name for one in found.directions] == ["MINIMIZE", "MAXIMIZE"]


def test_workers_may_create_it_at_once(sqlite_url, open_store):
    """Each thread has a connection of its own, as each worker has."""
    storages, made, gate = [open_store(sqlite_url) for _ in range(4)], [], threading.Barrier(4)

    def create(storage):
        gate.wait()
        made.append(studies.create(storage, "s", {"loss": "minimize"}, IDENTITY))

    threads = [threading.Thread(target=create, args=(storage,)) for storage in storages]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(made) == 4
    assert len({study._study_id for study in made}) == 1
    for study in made:
        studies.check_same(study, IDENTITY)
        assert ranking.metric_names(study) == ["loss"]


def test_a_worker_killed_while_creating_leaves_a_study_that_the_next_one_completes(memory, monkeypatch):
    """The identity says that a study is whole, so it has to be written last."""

    def killed(*_):
        raise KeyboardInterrupt

    for step in ("set_user_attr", "set_metric_names"):
        with monkeypatch.context() as patch:
            patch.setattr(optuna.Study, step, killed)
            with pytest.raises(KeyboardInterrupt):
                studies.create(memory, step, {"loss": "minimize"}, IDENTITY)
        study = studies.create(memory, step, {"loss": "minimize"}, IDENTITY)
        assert ranking.metric_names(study) == ["loss"]
        studies.check_same(study, IDENTITY)


def test_an_unknown_study_is_refused_with_the_nearest_name(memory):
    with pytest.raises(InputError, match=r"study=digits: not in the store\. The store is empty\.") as error:
        studies.existing(memory, "digits")
    assert one_line(error)
    studies.create(memory, "digits-2", {"loss": "minimize"}, IDENTITY)
    with pytest.raises(InputError, match=r"Did you mean 'digits-2'\? Studies: digits-2\.") as error:
        studies.existing(memory, "digits")
    assert one_line(error)
    assert studies.existing(memory, "digits-2").study_name == "digits-2"


def test_another_meaning_is_refused_with_what_changed(memory):
    study = studies.create(memory, "s", {"loss": "minimize"}, IDENTITY)
    studies.check_same(study, dict(IDENTITY))
    changed = {**IDENTITY, "seed": 1, "network.name": "mlp"}
    del changed["task.name"]
    with pytest.raises(InputError) as error:
        studies.check_same(study, changed)
    assert one_line(error)
    for part in ("seed: 0 -> 1", "network.name: (absent) -> mlp", "task.name: digits -> (absent)", "name=s-2"):
        assert part in str(error.value)
    assert "space.optimizer.lr.low" not in str(error.value)


def test_a_long_list_of_changes_is_cut(memory):
    study = studies.create(memory, "s", {"loss": "minimize"}, {})
    with pytest.raises(InputError, match=r"k5: \(absent\) -> 5; …\)") as error:
        studies.check_same(study, {f"k{index}": index for index in range(9)})
    assert "k6" not in str(error.value)


def test_a_study_of_another_program_is_refused(memory):
    foreign = optuna.create_study(storage=memory, study_name="theirs")
    with pytest.raises(InputError, match="was not made by kirigami") as error:
        studies.check_same(foreign, IDENTITY)
    assert one_line(error)


def test_other_data_are_refused_whatever_their_path(memory):
    study = studies.create(memory, "s", {"loss": "minimize"}, IDENTITY)
    studies.check_data(study, "abc")
    studies.check_data(study, "abc")
    with pytest.raises(InputError, match=r"other data \(fingerprint abc, now def\)") as error:
        studies.check_data(study, "def")
    assert one_line(error)


@pytest.mark.parametrize(("direction", "best"), [("minimize", 1), ("maximize", 2)])
def test_the_best_trial_follows_the_direction_and_the_first_of_equals_wins(memory, direction, best):
    study = studies.create(memory, "s", {"loss": direction}, IDENTITY)
    assert ranking.best_trial(study) is None
    for value in (2.0, 1.0, 3.0, 1.0, 3.0):
        study.add_trial(create_trial(value=value))
    study.add_trial(create_trial(state=TrialState.PRUNED, intermediate_values={1: 0.0 if best == 1 else 9.0}))
    study.add_trial(create_trial(state=TrialState.FAIL))
    assert ranking.best_trial(study).number == best


def test_the_first_objective_decides_where_there_are_several(memory):
    study = studies.create(memory, "s", {"loss": "minimize", "size": "minimize"}, IDENTITY)
    for values in ((2.0, 1.0), (1.0, 5.0)):
        study.add_trial(create_trial(values=values))
    assert ranking.best_trial(study).number == 1
