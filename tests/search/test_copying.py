"""A copied study is the same study: every trial with all it holds, the same results, the same draws to come."""

import json
import math
import shutil
import sqlite3
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from kirigami.search.command.cli import main
from kirigami.search.errors import StudyStopped
from kirigami.search.report.results import summary
from kirigami.search.storage import Store
from kirigami.search.study import copying, recovery
from kirigami.search.study import study as studies

SPACE = {"x": {"low": 0.0, "high": 1.0}, "y": {"low": 1, "high": 8}, "k": {"choices": ["a", "b"]}}
CONFIG = {"x": 0.5, "y": 2, "k": "a"}
SPACE_OF_ONE = {"x": optuna.distributions.FloatDistribution(0.0, 1.0)}
CLOSED = "postgresql://postgres:right@127.0.0.1:1/db"


@pytest.fixture(scope="module")
def name() -> str:
    """The study's name; the tests share the Postgres store with others."""
    return f"study-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test leaves the study for the others."""
    return tmp_path_factory.mktemp("begun") / "studies.db"


@pytest.fixture
def begun(made_once: Path, make_loop, bowl, sqlite_url: str, name: str, open_store) -> optuna.Study:
    """A study in SQLite with complete, pruned and failed trials, one that is no number, and one over a limit."""
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    if made_once.exists():
        shutil.copy(made_once, path)
        return loaded(open_store, sqlite_url, name)

    def evaluate(config):
        if config["y"] == 3:
            raise RuntimeError("three")
        for fidelity, value in bowl(config):
            yield fidelity, math.nan if config["y"] == 5 and fidelity == 4 else value

    pruner = {"name": "median", "n_startup_trials": 2}
    loop = make_loop(
        evaluate, url=sqlite_url, space=SPACE, config=CONFIG, pruner=pruner, trials=11, sampler="tpe", seed=1
    )
    loop.run()
    trial = loop.study.ask()
    trial.set_constraint("bytes", 0.25)
    trial.report(math.inf, 1)
    loop.study.tell(trial, 3.5)
    loop.study.set_user_attr("baselines", {"always": {"score": 1.0}})
    with closing(sqlite3.connect(path)) as store, closing(sqlite3.connect(made_once)) as copy:
        store.backup(copy)
    return loop.study


@pytest.fixture
def there(tmp_path: Path, empty_sqlite: Path, request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Return the URL of an empty store of a kind."""

    def url(kind: str) -> str:
        return request.getfixturevalue("postgres").url if kind == "postgres" else f"sqlite:///{tmp_path}/other.db"

    return url


def copied(name: str, to: str, *more: str) -> int:
    return main(["copy", f"name={name}", f"to={to}", *more])


def loaded(open_store, url: str, name: str) -> optuna.Study:
    return optuna.load_study(study_name=name, storage=open_store(url))


def running(study: optuna.Study, worker: dict) -> optuna.Trial:
    trial = study.ask(SPACE_OF_ONE)
    trial.set_user_attr("worker", worker)
    return trial


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_copy_is_the_same_study(
    kind, begun, there, sqlite_url, name, open_store, make_loop, bowl, tmp_path, capsys
) -> None:
    assert copied(name, there(kind), f"storage.url={sqlite_url}") == 0
    copy = loaded(open_store, there(kind), name)

    for old, new in zip(begun.trials, copy.trials, strict=True):
        for part in ("number", "state", "values", "params", "distributions", "user_attrs", "system_attrs"):
            assert getattr(new, part) == getattr(old, part), part
        assert (new.datetime_start, new.datetime_complete) == (old.datetime_start, old.datetime_complete)
        assert str(sorted(new.intermediate_values.items())) == str(sorted(old.intermediate_values.items()))
        assert new.constraints == old.constraints
    assert {trial.state.name for trial in copy.trials} == {"COMPLETE", "PRUNED", "FAIL"}
    assert copy.directions == begun.directions
    assert copy.metric_names == begun.metric_names
    assert {key: copy.user_attrs[key] for key in begun.user_attrs} == begun.user_attrs
    assert json.dumps(summary(copy)) == json.dumps(summary(begun))
    assert "12 trials copied" in capsys.readouterr().out

    if kind == "postgres":
        back = f"sqlite:///{tmp_path}/back.db"
        assert copied(name, back, f"storage.url={there(kind)}") == 0
        assert json.dumps(summary(loaded(open_store, back, name))) == json.dumps(summary(begun))

    drawn = []
    for study in (begun, copy):
        loop = make_loop(bowl, study=study, space=SPACE, config=CONFIG, sampler="tpe", trials=14)
        loop.run()
        drawn.append([trial.params for trial in study.trials[12:]])
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == 2


class TestRunningTrials:
    def test_of_a_worker_that_lives_are_refused(self, begun, there, sqlite_url, name, capsys) -> None:
        running(begun, vars(recovery.signature()))

        assert copied(name, there("sqlite"), f"storage.url={sqlite_url}") == 2
        assert f"study={name} is being searched (trial 12 runs)" in capsys.readouterr().err

    def test_of_a_worker_elsewhere_are_refused(self, begun, there, sqlite_url, name, capsys) -> None:
        running(begun, {"machine": "elsewhere", "pid": 1, "started": "0"})

        assert copied(name, there("sqlite"), f"storage.url={sqlite_url}") == 2
        assert "60 s after its last sign of life" in capsys.readouterr().err

    def test_of_a_dead_worker_run_again_at_the_target(
        self, begun, there, sqlite_url, name, open_store, dead_worker, capsys
    ) -> None:
        trial = running(begun, dead_worker)

        assert copied(name, there("sqlite"), f"storage.url={sqlite_url}") == 0
        assert "14 trials copied, 1 of them to be run first" in capsys.readouterr().out
        copy = loaded(open_store, there("sqlite"), name)
        assert copy.trials[12].state is TrialState.FAIL
        assert copy.trials[13].state is TrialState.WAITING
        assert copy.trials[13].params == trial.params
        assert copy.trials[13].user_attrs["retry_of"] == 12
        assert summary(copy) == summary(optuna.load_study(study_name=name, storage=begun._storage))


class TestTheTarget:
    def test_with_a_study_of_that_name_refuses(self, begun, there, sqlite_url, name, capsys) -> None:
        url = there("sqlite")
        assert copied(name, url, f"storage.url={sqlite_url}") == 0
        assert copied(name, url, f"storage.url={sqlite_url}") == 2
        assert f"study={name} is in the target already" in capsys.readouterr().err

    def test_with_somebody_elses_study_refuses(self, begun, there, sqlite_url, name, open_store, capsys) -> None:
        studies.optuna.create_study(study_name=name, storage=open_store(there("sqlite"))).set_user_attr("mine", 1)

        assert copied(name, there("sqlite"), f"storage.url={sqlite_url}") == 2
        assert "is in the target already" in capsys.readouterr().err

    def test_with_an_interrupted_copy_begins_anew(
        self, begun, there, sqlite_url, name, open_store, dead_worker, monkeypatch, capsys
    ) -> None:
        add, left = Store.create_new_trial, iter(range(5))

        def cut_off(*arguments, **named):
            if next(left, None) is None:
                raise KeyboardInterrupt
            return add(*arguments, **named)

        monkeypatch.setattr(Store, "create_new_trial", cut_off)
        assert copied(name, there("sqlite"), f"storage.url={sqlite_url}") == 1
        monkeypatch.undo()
        half = loaded(open_store, there("sqlite"), name)
        assert len(half.trials) == 5
        assert main(["copy", f"name={name}", f"storage.url={there('sqlite')}", f"to={sqlite_url}"]) == 2
        assert "is a copy that was not finished" in capsys.readouterr().err
        assert copied(name, there("sqlite"), f"storage.url={sqlite_url}") == 2
        assert "is being copied there right now" in capsys.readouterr().err  # this process lives
        half.set_user_attr("copied", {"worker": dead_worker})

        assert copied(name, there("sqlite"), f"storage.url={sqlite_url}") == 0
        assert len(loaded(open_store, there("sqlite"), name).trials) == 12

    def test_is_not_whole_where_the_source_changed(
        self, begun, there, sqlite_url, name, open_store, monkeypatch
    ) -> None:
        source, goal, add = open_store(sqlite_url), open_store(there("sqlite")), Store.create_new_trial

        def search_goes_on(self, key, template_trial=None):
            number = add(self, key, template_trial=template_trial)
            if template_trial is not None and template_trial.number == 11:
                begun.ask()
            return number

        monkeypatch.setattr(Store, "create_new_trial", search_goes_on)
        with pytest.raises(StudyStopped, match="changed while it was copied"):
            copying.copy_study(source, goal, name, "here", copying.Console())
        assert "identity" not in loaded(open_store, there("sqlite"), name).user_attrs

    @pytest.mark.parametrize(
        ("to", "said"),
        [
            ("", "copy needs to=URL"),
            ("studies.db", "to must be a database URL"),
            ("store", "there is no store in"),
            (CLOSED, "to=postgresql+psycopg://postgres:***@127.0.0.1:1/db cannot be opened"),
        ],
    )
    def test_wrong_targets(self, to, said, begun, sqlite_url, name, tmp_path, monkeypatch, capsys) -> None:
        monkeypatch.chdir(tmp_path)

        assert copied(name, to, f"storage.url={sqlite_url}") == 2
        text = capsys.readouterr().err
        assert said in text
        assert "storage.url" not in text

    def test_is_another_store(self, begun, sqlite_url, name, capsys) -> None:
        assert copied(name, sqlite_url, f"storage.url={sqlite_url}") == 2
        assert "is the store that the study is in" in capsys.readouterr().err


class TestFiles:
    def test_come_along_to_another_folder(self, begun, sqlite_url, name, tmp_path, capsys) -> None:
        old = tmp_path / "studies" / name / "networks"
        old.mkdir(parents=True)
        (old / "trial-00001.safetensors").write_text("weights")
        (tmp_path / "away").mkdir()

        assert copied(name, f"sqlite:///{tmp_path}/away/s.db", f"storage.url={sqlite_url}") == 0
        new = tmp_path / "away" / "studies" / name
        assert (new / "networks" / "trial-00001.safetensors").read_text() == "weights"
        assert (old / "trial-00001.safetensors").exists()
        assert f"Its files are copied to {new}." in capsys.readouterr().out

    def test_stay_where_both_look_for_them(self, begun, sqlite_url, name, tmp_path, capsys) -> None:
        folder = tmp_path / "studies" / name
        folder.mkdir(parents=True)

        assert copied(name, f"sqlite:///{tmp_path}/other.db", f"storage.url={sqlite_url}") == 0
        assert f"Its files stay in {folder}." in capsys.readouterr().out


def test_a_study_that_is_not_there(sqlite_url, there, capsys) -> None:
    assert copied("none", there("sqlite"), f"storage.url={sqlite_url}") == 2
    assert "study=none: not in the store" in capsys.readouterr().err
