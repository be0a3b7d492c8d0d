"""What Optuna, Lightning and torch-pruning keep private and we use: where, and that this version still has it."""

import ast
import math
from pathlib import Path

import lightning.pytorch as pl
import optuna
import pytest
import torch
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from kirigami.models import lightning_private
from kirigami.models.structure import torch_pruning_private
from kirigami.models.structure.calls import calls_of
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


class Counting(pl.LightningModule):
    """Counts its batches; at the start of step `at`, or of epoch `at`, a checkpoint is written."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seen: list[tuple[int, int]] = []

    def train_dataloader(self) -> torch.utils.data.DataLoader:
        return torch.utils.data.DataLoader(torch.arange(4.0)[:, None], batch_size=1)

    def training_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
        self.seen.append((self.current_epoch, index))
        return self.layer(batch).sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Saving(pl.Callback):
    """Writes a checkpoint before an epoch begins, with the loop counters set to its start."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == 1:
            trainer.save_checkpoint(self.path)

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict) -> None:
        lightning_private.rewind(checkpoint, 0)


class TestLightning:
    """Each private name of Lightning that is used."""

    def trainer(self, *callbacks: pl.Callback) -> pl.Trainer:
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        return pl.Trainer(max_epochs=2, accelerator="cpu", callbacks=[*callbacks], enable_model_summary=False, **quiet)

    def test_a_run_goes_on_from_the_start_of_an_epoch(self, tmp_path: Path) -> None:
        whole, rest = Counting(), Counting()
        self.trainer(Saving(tmp_path / "a.ckpt")).fit(whole)
        self.trainer().fit(rest, ckpt_path=tmp_path / "a.ckpt")
        assert whole.seen == [(epoch, index) for epoch in range(2) for index in range(4)]
        assert rest.seen == whole.seen[4:]

    def test_without_it_a_run_would_leave_an_epoch_out_or_repeat_one(self, tmp_path: Path, monkeypatch) -> None:
        monkeypatch.setattr(lightning_private, "rewind", lambda checkpoint, batches: None)
        rest = Counting()
        self.trainer(Saving(tmp_path / "a.ckpt")).fit(Counting())
        self.trainer().fit(rest, ckpt_path=tmp_path / "a.ckpt")
        assert rest.seen != [(1, index) for index in range(4)]

    def test_rows_are_loaded_before_the_run(self) -> None:
        loaded = []

        class Looking(pl.Callback):
            def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
                lightning_private.load_data(trainer)
                loaded.append(len(trainer.train_dataloader))

        self.trainer(Looking()).fit(Counting())
        assert loaded == [4]


class Operations(torch.nn.Module):
    """Two layers, and between them an operation that has no weights."""

    def __init__(self, between, features: int) -> None:
        super().__init__()
        self.first, self.between, self.second = torch.nn.Linear(2, 4), between, torch.nn.Linear(features, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.second(self.between(self.first(inputs)))


class Last(torch.nn.Module):
    """A recurrent layer over one step."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = torch.nn.GRU(4, 4, batch_first=True)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.memory(inputs[:, None])[0][:, -1]


OPERATIONS = {
    "_ElementWiseOp": (torch.relu, 4),
    "_ReshapeOp": (lambda x: x[:, :, None].expand(-1, -1, 2).reshape(len(x), 8), 8),
    "_ConcatOp": (lambda x: torch.cat([x, x], 1), 8),
    "_SplitOp": (lambda x: torch.cat(x.split(2, 1), 1), 4),
    "_SliceOp": (lambda x: x[:, :2] + x[:, 2:], 2),
    "_ExpandOp": (lambda x: x[:, :, None].expand(-1, -1, 2).flatten(1), 8),
    "_UnbindOp": (lambda x: torch.stack(x[:, None].unbind(1), 1).squeeze(1), 4),
}


class TestTorchPruning:
    """Each private name of torch-pruning that is used."""

    @pytest.mark.parametrize("name", OPERATIONS)
    def test_an_operation_is_told_from_a_module(self, name: str) -> None:
        network = Operations(*OPERATIONS[name])
        coupling = torch_pruning_private.Coupling(network, calls_of(torch.randn(3, 2)))
        assert coupling.reaches(network.first)
        assert coupling.channels(network.first) == 4
        sides = coupling.of(network.first, range(4))
        operations = {type(side.target).__name__ for side in sides if torch_pruning_private.is_operation(side.target)}
        assert name in operations
        assert operations <= {kind.__name__ for kind in torch_pruning_private.OPERATIONS}
        assert {side.target for side in sides} >= {network.first, network.second}

    def test_sides_and_positions_of_what_goes_together(self) -> None:
        network = Operations(torch.nn.Sequential(torch.nn.Unflatten(1, (4, 1)), torch.nn.Flatten()), 4)
        sides = torch_pruning_private.Coupling(network, calls_of(torch.randn(3, 2))).of(network.first, [1, 3])
        told = {(side.target, side.out): (side.positions, side.roots) for side in sides}
        assert told[network.first, True] == told[network.second, False] == ([1, 3], [1, 3])

    def test_a_module_that_is_not_understood_is_opaque(self) -> None:
        network = Operations(Last(), 4)
        sides = torch_pruning_private.Coupling(network, calls_of(torch.randn(3, 2))).of(network.first, range(4))
        assert any(torch_pruning_private.is_opaque(side.target) for side in sides)
