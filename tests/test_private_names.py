"""What Optuna, Lightning and torch-pruning keep private and we use: where it is spelt, and that this Optuna has it."""

import ast
import math
from pathlib import Path

import optuna
import pytest
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from kirigami.search.storage import optuna_private as private
from kirigami.spaces import optuna_private as seen_by_samplers

ROOT = Path(__file__).parents[1]
FILES = {
    "optuna": {Path("search/storage/optuna_private.py"), Path("spaces/optuna_private.py")},
    "lightning": {Path("models/lightning_private.py")},
    "torch_pruning": {Path("models/structure/torch_pruning_private.py")},
}
ATTRIBUTES = {
    "optuna": {
        *("_storage", "_study_id", "_trial_id", "_get_trials", "_backend", "_thread_local", "_cached_frozen_trial"),
        *("_create_new_trial", "_get_prepared_new_trial", "_set_trial_param", "_get_best_trial_id"),
        *("_get_stale_trial_ids", "get_storage"),
    },
    "lightning": {"fit_loop", "epoch_loop", "epoch_progress", "batch_progress"},
    "torch_pruning": {
        *("_ElementWiseOp", "_ReshapeOp", "_ConcatOp", "_SplitOp", "_SliceOp", "_ExpandOp", "_UnbindOp", "_grad_fn"),
        *("module2node", "get_pruner_of_module", "is_out_channel_pruning_fn", "root_idxs"),
    },
}
ROOMS = ("search", "spaces", "tasks", "models", "benchmarks")


def private_names(source: str) -> set[tuple[str, str]]:
    """Return (library, name) of each private name of the libraries that a source spells."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            imported = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in imported:
            package = name.partition(".")[0]
            library = package if package in ATTRIBUTES else package.partition("_")[0]
            parts = name.split(".")
            if library in ATTRIBUTES and (any(part.startswith("_") for part in parts) or parts[-1] == "get_storage"):
                names.add((library, name))
        spelt = node.attr if isinstance(node, ast.Attribute) else getattr(node, "name", None)
        names |= {(library, spelt) for library, attributes in ATTRIBUTES.items() if spelt in attributes}
    return names


def test_private_names_are_spelt_in_files_that_hold_nothing_else() -> None:
    stray = {}
    for room in ROOMS:
        for file in sorted((ROOT / room).rglob("*.py")):
            place = file.relative_to(ROOT)
            names = {name for library, name in private_names(file.read_text()) if place not in FILES[library]}
            if names:
                stray[place.as_posix()] = names
    assert stray == {}


@pytest.mark.parametrize(
    "source",
    [
        "study._storage",
        "trial._trial_id",
        "from optuna.storages._rdb import models",
        "from optuna.study._tell import _tell_with_warning",
        "import optuna.samplers._tpe.sampler",
        "from optuna_dashboard._serializer import serialize_frozen_trial",
        "from optuna.storages import get_storage",
        "def _get_trials(self): pass",
        "trainer.fit_loop.epoch_loop",
        "from lightning.pytorch.loops._fit import x",
        "from torch_pruning.dependency.graph import _helpers",
        "ops._ConcatOp",
    ],
)
def test_the_search_for_them_finds(source: str) -> None:
    assert private_names(source)


@pytest.mark.parametrize("source", ["self._own", "from optuna.study import Study", "import optuna", "study.storage"])
def test_the_search_for_them_passes_over(source: str) -> None:
    assert not private_names(source)


def test_versions_are_bounded_above() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    assert '"optuna>=5.0,<5.1"' in text
    assert '"lightning>=2.6,<2.7"' in text
    assert '"torch-pruning>=1.6,<1.7"' in text


class TestOptuna:
    """Each private name of Optuna that `search` and `spaces` use."""

    @pytest.fixture
    def rows(self, tmp_path):
        rows = RDBStorage(f"sqlite:///{tmp_path}/studies.db")
        yield rows
        rows.engine.dispose()

    @pytest.fixture
    def study(self, rows):
        return optuna.create_study(study_name="birds", storage=rows)

    def test_study_and_storage(self, study, rows):
        assert private.study_id_of(study) == rows.get_study_id_from_name("birds")
        assert private.storage_of(study).get_study_name_from_id(private.study_id_of(study)) == "birds"

    def test_trial_ids(self, study):
        trial = study.ask()
        (frozen,) = study.get_trials()
        assert private.trial_id_of(trial) == private.trial_id_of(frozen)
        assert private.storage_of(study).get_trial(private.trial_id_of(trial)).number == trial.number

    def test_cache(self, study, rows):
        front = private.cached(rows)
        assert front is not rows
        assert private.cached(front) is front, "what is no relational storage is left alone"
        study.tell(study.ask(), 1.0)
        first, second = (front.get_all_trials(private.study_id_of(study), deepcopy=False) for _ in range(2))
        assert first[0] is second[0], "a finished trial is read once"

    def test_transaction(self, study, rows):
        number = private.study_id_of(study)
        with private.transaction(rows) as session:
            first = private.new_trial(rows, session, number)
        with pytest.raises(ZeroDivisionError), private.transaction(rows) as session:
            private.new_trial(rows, session, number // 0)
        with pytest.raises(KeyError), private.transaction(rows) as session:
            private.new_trial(rows, session, number + 1)
        with private.transaction(rows) as session:
            second = private.new_trial(rows, session, number)
        trials = study.get_trials()
        assert [(private.trial_id_of(trial), trial.number) for trial in trials] == [(first, 0), (second, 1)]
        assert {trial.state for trial in trials} == {TrialState.RUNNING}
        assert all(trial.datetime_start is not None for trial in trials)

    def test_locking(self, study, rows):
        trial = study.ask()
        with private.transaction(rows) as session:
            row = private.lock_trial(session, private.trial_id_of(trial))
            assert (row.number, row.state, row.study_id) == (0, TrialState.RUNNING, private.study_id_of(study))
            row.state = TrialState.FAIL
        assert study.get_trials()[0].state is TrialState.FAIL
        with pytest.raises(KeyError), private.transaction(rows) as session:
            private.lock_trial(session, 999)

    @pytest.mark.parametrize("value", [0.5, math.inf, -math.inf])
    def test_numbers_that_are_not_finite(self, study, rows, value):
        trial = study.ask()
        study.tell(trial, value)
        with private.transaction(rows) as session:
            assert private.values_of(session, private.trial_id_of(trial)) == [value]
            (row,) = session.query(private.TrialValueModel).all()
            assert private.stored_value(value) == (row.value, row.value_type)

    @pytest.mark.parametrize("value", [0.5, math.inf, -math.inf, math.nan])
    def test_reports_that_are_not_finite(self, study, rows, value):
        study.ask().report(value, 3)
        with private.transaction(rows) as session:
            (row,) = session.query(private.TrialIntermediateValueModel).all()
            assert row.step == 3
            assert private.stored_report(value) == (row.intermediate_value, row.intermediate_value_type)

    @pytest.mark.parametrize(
        ("model", "columns"),
        [
            ("TrialModel", {"trial_id", "study_id", "number", "state", "datetime_start", "datetime_complete"}),
            ("TrialParamModel", {"trial_id", "param_name", "param_value", "distribution_json"}),
            ("TrialUserAttributeModel", {"trial_id", "key", "value_json"}),
            ("TrialSystemAttributeModel", {"trial_id", "key", "value_json"}),
            ("TrialValueModel", {"trial_id", "objective", "value", "value_type"}),
            (
                "TrialIntermediateValueModel",
                {"trial_id", "step", "intermediate_value", "intermediate_value_type"},
            ),
            ("TrialHeartbeatModel", {"trial_id", "heartbeat"}),
        ],
    )
    def test_tables(self, model, columns):
        """What we write has these columns, and nothing else that would have to be written."""
        table = getattr(private, model).__table__
        needed = {column.name for column in table.columns if not column.nullable and not column.primary_key}
        assert columns <= {column.name for column in table.columns}
        assert needed - {"state"} <= columns

    def test_rows_that_are_written_twice_are_one(self):
        keys = {
            "TrialParamModel": {"trial_id", "param_name"},
            "TrialUserAttributeModel": {"trial_id", "key"},
            "TrialSystemAttributeModel": {"trial_id", "key"},
            "TrialValueModel": {"trial_id", "objective"},
            "TrialIntermediateValueModel": {"trial_id", "step"},
            "TrialHeartbeatModel": {"trial_id"},
        }
        for model, columns in keys.items():
            constraints = getattr(private, model).__table__.constraints
            unique = [{column.name for column in one.columns} for one in constraints if hasattr(one, "columns")]
            assert columns in unique, model

    def test_a_closed_trial_refuses_writes(self, study):
        trial = study.ask()
        storage, trial_id = private.storage_of(study), private.trial_id_of(trial)
        storage.set_trial_state_values(trial_id, TrialState.FAIL)
        with pytest.raises(UpdateFinishedTrialError):
            storage.set_trial_user_attr(trial_id, "outcome", {})

    def test_dashboard(self, study):
        study.tell(study.ask(), 0.5)
        row = private.for_dashboard(private.study_id_of(study), study.get_trials()[0], {})
        assert (row["number"], row["state"], row["values"]) == (0, "Complete", [0.5])

    def test_samplers_read_a_study_by_one_name(self, study):
        """Others of `spaces` hold that the estimator reads no other: `test_space_sampler.py`."""
        assert seen_by_samplers.record_of(study) == (private.storage_of(study), private.study_id_of(study))
        trial = study.ask()
        assert [one.number for one in seen_by_samplers.trials_of(study)] == [trial.number]
        view = seen_by_samplers.View(study, [])
        assert view.get_trials() == view.trials == view._get_trials(deepcopy=False, use_cache=True) == []
        assert view.study_name == "birds"
