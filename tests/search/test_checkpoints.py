"""Checkpoints of a study's trials: written in turn, checked before they are read, removed when the trial ends."""

import io
import os
import pickle
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import optuna
import pytest
import torch

from kirigami.search.config.trainer import Checkpoint
from kirigami.search.errors import InputError
from kirigami.search.storage.address import absolute_place
from kirigami.search.storage.artifacts import Prefixed, location, open_artifacts
from kirigami.search.study import recovery
from kirigami.search.training.checkpoints.state import Refused, loaded, random_state, set_random_state
from kirigami.search.training.job import Job, Outcome, Pruned
from kirigami.search.training.networks import Networks
from tests.search.checkpointed import DATA, Kept, assert_same, files, run

pytestmark = [
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
]


@contextmanager
def full_disk(most: int) -> Iterator[None]:
    """Let no file of this process become larger: writing fails as on a full disk, with another number."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def study() -> optuna.Study:
    return optuna.create_study(study_name="one")


def again(study: optuna.Study, trial: optuna.Trial) -> optuna.Trial:
    """Fail a trial whose worker is gone, and ask for its retry."""
    study._storage.set_trial_state_values(trial._trial_id, state=optuna.trial.TrialState.FAIL)
    recovery.take_over(study, None)
    return study.ask()


class TestCheckpointStore:
    def test_a_retry_reads_the_last_one(self, study, checkpoint_store):
        first = study.ask()
        attempt = checkpoint_store.attempt(study, first)
        assert list(attempt.read()) == []
        for fidelity in (1, 2, 3):
            assert attempt.put(fidelity, DATA + bytes([fidelity]))
        retry = again(study, first)
        assert retry.user_attrs["retry_of"] == first.number
        assert list(checkpoint_store.attempt(study, retry).read()) == [(0, 3, DATA + b"\3")]

    def test_two_files_are_written_in_turn(self, study, checkpoint_store, folder):
        trial = study.ask()
        attempt = checkpoint_store.attempt(study, trial)
        named = []
        for fidelity in (1, 2, 3):
            attempt.put(fidelity, DATA)
            named.append(study.trials[0].user_attrs["checkpoint"]["id"])
        assert named[0] == named[2] != named[1]
        assert files(folder) == sorted(set(named))

    def test_a_retry_of_a_retry_reads_what_either_left(self, study, checkpoint_store, folder, capsys):
        first = study.ask()
        checkpoint_store.attempt(study, first).put(4, DATA)
        second = again(study, first)
        checkpoint_store.attempt(study, second).put(6, DATA)
        third = checkpoint_store.attempt(study, again(study, second))
        assert [found[:2] for found in third.read()] == [(1, 6), (0, 4)]
        (folder.path / "checkpoint-one-00001-0.pt").write_bytes(DATA[:-1])
        assert [found[:2] for found in third.read()] == [(0, 4)]
        assert "trial 2 cannot use the checkpoint of trial 1: it is not what was written" in capsys.readouterr().err
        (folder.path / "checkpoint-one-00000-0.pt").unlink()
        assert list(third.read()) == []
        assert "of trial 0" in capsys.readouterr().err
        third.put(1, DATA)
        third.drop()
        assert files(folder) == []

    def test_a_worker_that_wakes_up_leaves_the_retry_alone(self, study, checkpoint_store, folder):
        first = study.ask()
        frozen = checkpoint_store.attempt(study, first)
        frozen.put(1, DATA)
        retry = checkpoint_store.attempt(study, again(study, first))
        retry.put(2, DATA)
        before = files(folder)
        with pytest.raises(Pruned, match="took this one for dead"):
            frozen.put(3, DATA)
        assert files(folder) == before
        assert list(retry.read()) == [(0, 1, DATA)]

    def test_a_full_disk_is_one_line_and_no_half_file(self, study, checkpoint_store, folder, capsys):
        attempt = checkpoint_store.attempt(study, study.ask())
        attempt.put(1, DATA)
        with full_disk(len(DATA) // 2):
            assert not attempt.put(2, DATA)
            assert not attempt.put(3, DATA)
        said = capsys.readouterr().err
        assert "trial 0 goes on without the checkpoint at fidelity 2: " in said
        assert said.count("\n") == 1
        assert files(folder) == ["checkpoint-one-00000-0.pt"]
        assert study.trials[0].user_attrs["checkpoint"]["fidelity"] == 1
        assert attempt.put(4, DATA)


class TestPlace:
    def test_it_is_the_studys_own_folder_unless_named(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert location(None, tmp_path / "studies" / "one") == str(tmp_path / "studies" / "one" / "artifacts")
        assert location("shared", tmp_path) == str(tmp_path / "shared")
        assert location("s3://bucket/some", tmp_path) == "s3://bucket/some"
        assert not (tmp_path / "shared").exists()

    @pytest.mark.parametrize("named", ["ftp://host/x", "s3://", "", 3, True])
    def test_what_is_no_place_is_one_line(self, named):
        with pytest.raises(InputError, match=r"storage.artifacts must be null or a folder, s3://"):
            absolute_place(named)

    @pytest.mark.parametrize(("scheme", "package"), [("s3", "boto3"), ("gs", "google-cloud-storage")])
    def test_a_missing_package_is_named(self, scheme, package, tmp_path, monkeypatch):
        monkeypatch.setattr("kirigami.search.storage.artifacts._is_installed", lambda module: False)
        with pytest.raises(InputError, match=f"pip install {package}"):
            open_artifacts(f"{scheme}://bucket/some", tmp_path)

    def test_a_file_is_no_folder(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(InputError, match="is a file"):
            open_artifacts(str(tmp_path / "file"), tmp_path)

    def test_a_prefix_goes_before_every_id(self, folder):
        bucket = Prefixed(folder, "mine-")
        bucket.write("one", io.BytesIO(DATA))
        assert files(folder) == ["mine-one"]
        assert bucket.open_reader("one").read() == DATA
        bucket.remove("one")
        assert files(folder) == []

    def test_an_id_is_no_path(self, folder):
        with pytest.raises(ValueError, match="name of a file"):
            folder.write("../one", io.BytesIO(DATA))

    @pytest.mark.parametrize("every", [-1, "often", True, float("nan")])
    def test_seconds_are_checked(self, every):
        with pytest.raises(InputError, match=r"checkpoint\.every_s must be null or a number"):
            Checkpoint.read({"every_s": every}, "checkpoint")
        with pytest.raises(InputError, match="no such key"):
            Checkpoint.read({"every": every}, "checkpoint")


class TestState:
    @pytest.mark.filterwarnings("ignore:Detected pickle protocol")
    def test_nothing_is_unpickled(self):
        class Evil:
            def __reduce__(self):
                return (os.mkdir, ("/nowhere/to/be/found",))

        for data in (pickle.dumps(Evil()), b"", DATA, _saved({"kirigami": Evil()}), _saved([1]), _saved({"state": 1})):
            with pytest.raises(Refused):
                loaded(data)

    def test_random_numbers_go_on(self):
        import random

        import numpy as np

        def drawn():
            found = np.random.rand(3), np.random.randn(3)  # noqa: NPY002
            return torch.rand(3).tolist(), [one.tolist() for one in found], random.gauss(0, 1)

        drawn()
        np.random.randn()  # noqa: NPY002 - holds a second number back
        data = _saved({"kirigami": {"format": 1, "random": random_state()}})
        expected = drawn()
        set_random_state(loaded(data)["kirigami"]["random"])
        assert drawn() == expected


def _saved(value: object) -> bytes:
    into = io.BytesIO()
    torch.save(value, into)
    return into.getvalue()


class TestTrial:
    @pytest.fixture(scope="class")
    def whole(self) -> tuple[Kept, tuple[Outcome, Job]]:
        kept = Kept()
        return kept, run((), kept)

    @pytest.mark.parametrize(
        ("damage", "said"),
        [
            (lambda data: data[: len(data) // 2], "it cannot be read"),
            (lambda data: _changed(data, "config", "{}"), "that of another config"),
            (lambda data: _changed(data, "versions", {"torch": "0.1"}), "it was written with "),
            (lambda data: _without_weights(data), "Missing key(s) in state_dict"),
        ],
        ids=["torn", "other config", "other versions", "other weights"],
    )
    def test_what_does_not_fit_is_left_and_the_trial_begins_anew(self, whole, damage, said, capsys):
        kept, expected = whole
        fidelity, data = kept.put_in[1]
        found = run((), Kept((fidelity, damage(data))))
        assert_same(found, expected)
        assert "resumed_from" not in found[1].details
        line = capsys.readouterr().err
        assert line.count("\n") == 1
        assert line.startswith("trial 8 cannot go on from the checkpoint of trial 7: ")
        assert said in line

    def test_the_next_one_is_taken_where_the_last_does_not_fit(self, whole):
        kept, expected = whole
        found = run((), Kept((3, b"torn"), kept.put_in[0]))
        assert_same(found, expected)
        assert found[1].details["resumed_from"] == {"trial": 7, "fidelity": 1}

    def test_none_is_written_before_its_time(self):
        kept = Kept()
        kept.every_s = 3600.0
        run((), kept)
        assert kept.put_in == []


def _changed(data: bytes, key: str, value: object) -> bytes:
    state = loaded(data)
    state["kirigami"][key] = value
    return _saved(state)


def _without_weights(data: bytes) -> bytes:
    state = loaded(data)
    state["state_dict"] = {}
    return _saved(state)


class TestNetworks:
    def test_another_machine_finds_them(self, folder, tmp_path):
        mine, other = (Networks(tmp_path / name, "one", folder) for name in ("mine", "other"))
        mine.keep(3, lambda path: path.write_bytes(DATA), [3])
        other.fetch(3)
        assert other.path(3).read_bytes() == DATA
        mine.keep(4, lambda path: path.write_bytes(DATA), [4])
        assert files(folder) == ["network-one-trial-00004.safetensors"]
        other.fetch(5)
        assert sorted(file.name for file in other.folder.iterdir()) == ["trial-00003.safetensors"]

    def test_a_full_disk_is_one_line_and_no_half_file(self, tmp_path, capsys):
        outcome, _ = run(("trainer.epochs=1",))
        networks = Networks(tmp_path / "networks", "one")
        with full_disk(100):
            networks.keep(0, outcome.trained.save, [0])
        said = capsys.readouterr().err
        assert said.startswith("the network of trial 0 cannot be kept in ")
        assert said.count("\n") == 1
        assert list(networks.folder.iterdir()) == []
