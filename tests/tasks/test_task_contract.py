"""What every registered task promises."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from kirigami import tasks
from kirigami.tasks import TASKS, Task

Make = Callable[..., Task]
TYPES = {
    "classes": (torch.float32, torch.int64),
    "values": (torch.float32, torch.float32),
    "pixels": (torch.float32, torch.float32),
    "characters": (torch.int64, torch.int64),
}
SEPARATE_TEST_FILE = {"table": "test.csv", "images": "pictures/test-*.parquet", "text": "prose/test-*.parquet"}


def rows_of(split: tasks.Split) -> list[bytes]:
    return [row.contiguous().numpy().tobytes() for row in split.inputs]


def outputs_for(task: Task, split: tasks.Split) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = {
        "classes": (len(split.targets), task.out_features),
        "values": (len(split.targets), 1),
        "pixels": tuple(split.targets.shape),
        "characters": (*split.targets.shape, task.out_features),
    }[task.kind]
    return torch.randn(shape, generator=generator)


@pytest.mark.parametrize("name", sorted(TASKS))
class TestEveryTask:
    def test_shapes_and_types(self, name: str, make: Make) -> None:
        task = make(name)
        task.setup("fit")
        inputs, targets = next(iter(task.train_dataloader()))
        assert tuple(inputs.shape[1:]) == task.in_shape
        assert (inputs.dtype, targets.dtype) == TYPES[task.kind]
        assert len(inputs) == len(targets) == min(task.batch_size, len(task.train.inputs))
        assert torch.isfinite(inputs.float()).all()
        for split in (task.train, task.validation):
            assert len(split.inputs) == len(split.targets) > 0

    def test_outputs_described(self, name: str, make: Make) -> None:
        task = make(name)
        task.setup("fit")
        targets = torch.cat((task.train.targets, task.validation.targets))
        if task.kind == "classes":
            assert task.out_features == len(task.classes) > int(targets.max())
        elif task.kind == "characters":
            assert task.out_features == task.vocabulary > int(targets.max())
        else:
            assert task.out_features == 1
            assert set(targets.unique().tolist()) == {0.0, 1.0} or task.kind == "values"

    def test_metrics_finite_on_random_outputs(self, name: str, make: Make) -> None:
        task = make(name)
        task.setup("fit")
        scores = task.evaluate(outputs_for(task, task.validation), task.validation.targets)
        assert tuple(scores) == task.metrics
        assert task.default_metric in scores
        assert all(isinstance(score, float) and math.isfinite(score) for score in scores.values())
        assert all(tasks.direction(score) in ("maximize", "minimize") for score in scores)

    def test_every_class_in_proportion(self, name: str, make: Make) -> None:
        task = make(name)
        task.setup("fit")
        if task.kind != "classes":
            pytest.skip("not classes")
        shares = [
            torch.bincount(split.targets, minlength=task.out_features) / len(split.targets)
            for split in (task.train, task.validation)
        ]
        assert (shares[0] > 0).all()
        assert (shares[0] - shares[1]).abs().max() <= 1.5 / len(task.validation.targets) + 1e-6

    def test_seed_reproduces(self, name: str, make: Make, fresh: Callable[[], None]) -> None:
        first = make(name, seed=3)
        first.setup("test")
        fresh()
        second = make(name, seed=3)
        second.setup("test")
        for one, other in (
            (first.train, second.train),
            (first.validation, second.validation),
            (first.test, second.test),
        ):
            assert torch.equal(one.inputs, other.inputs)
            assert torch.equal(one.targets, other.targets)
        for one, other in zip(first.train_dataloader(), second.train_dataloader(), strict=True):
            assert torch.equal(one[0], other[0])
            assert torch.equal(one[1], other[1])

    def test_other_seed_other_rows(self, name: str, make: Make) -> None:
        if name == "text":
            pytest.skip("a text is cut at fixed points")
        first, second = make(name, seed=0), make(name, seed=1)
        assert first.fingerprint() != second.fingerprint()

    def test_parts_disjoint(self, name: str, make: Make) -> None:
        task = make(name)
        task.setup("test")
        train, validation, test = (set(rows_of(part)) for part in (task.train, task.validation, task.test))
        assert not train & validation
        assert not train & test
        assert not validation & test

    def test_fraction_is_nested(self, name: str, make: Make) -> None:
        kept = {}
        for fraction in (0.1, 0.4, 1.0):
            task = make(name, fraction=fraction)
            kept[fraction] = rows_of(task._train_part(task.load()))
        assert set(kept[0.1]) < set(kept[0.4]) < set(kept[1.0])
        assert len(kept[0.4]) == pytest.approx(0.4 * len(kept[1.0]), abs=6)

    def test_fraction_is_stratified_and_spares_validation(self, name: str, make: Make) -> None:
        whole, part = make(name), make(name, fraction=0.25)
        whole.setup("fit"), part.setup("fit")
        assert len(part.validation.targets) == len(whole.validation.targets)
        if whole.kind == "classes":
            expected = torch.bincount(whole.train.targets) * 0.25
            counted = torch.bincount(part.train.targets, minlength=whole.out_features)
            assert (counted - expected).abs().max() <= 0.5

    def test_smallest_fraction_keeps_every_class(self, name: str, make: Make) -> None:
        task = make(name, fraction=1e-9)
        task.setup("fit")
        if task.kind == "classes":
            assert torch.equal(task.train.targets.sort().values, torch.arange(task.out_features))
        else:
            assert len(task.train.targets) >= 1
        assert torch.isfinite(task.train.inputs.float()).all()

    def test_fingerprint_stable(self, name: str, make: Make, fresh: Callable[[], None]) -> None:
        first = make(name).fingerprint()
        fresh()
        assert make(name, fraction=0.5).fingerprint() == first
        assert len(first) == 16
        int(first, 16)

    def test_fit_does_not_open_test_rows(
        self, name: str, make: Make, fresh: Callable[[], None], data: Path, configs: dict, monkeypatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(TASKS[name], "load_test", lambda self: pytest.fail("the test rows were opened"))
        changes = {}
        if name in SEPARATE_TEST_FILE:
            copied = shutil.copytree(data, tmp_path / "copy")
            for file in copied.glob(SEPARATE_TEST_FILE[name]):
                file.write_bytes(b"unreadable")
            changes["path"] = configs[name]["path"].replace(str(data), str(copied))
        task = make(name, **changes)
        task.setup("fit"), task.setup("validate")
        assert sum(1 for _ in task.train_dataloader()) > 0
        assert sum(1 for _ in task.val_dataloader()) > 0
        assert task.test is None
        with pytest.raises(ValueError, match="not open"):
            task.test_dataloader()

    def test_missing_test_file_matters_only_in_the_end(
        self, name: str, make: Make, fresh: Callable[[], None], data: Path, configs: dict, tmp_path: Path
    ) -> None:
        if name != "table":
            pytest.skip("without a test file the others put rows aside")
        copied = shutil.copytree(data, tmp_path / "copy")
        (copied / "test.csv").unlink()
        task = make(name, path=str(copied))
        task.setup("fit")
        with pytest.raises(ValueError, match=r"test: there is no file 'test.csv'"):
            task.setup("test")

    def test_batches_cover_the_parts(self, name: str, make: Make) -> None:
        task = make(name)
        task.batch_size = 16
        task.setup("test")
        for batches, split in (
            (task.train_dataloader(), task.train),
            (task.val_dataloader(), task.validation),
            (task.test_dataloader(), task.test),
        ):
            seen = [len(targets) for _, targets in batches]
            assert len(seen) == len(batches)
            assert len(split.targets) - sum(seen) in (0, 1)
        assert max(len(targets) for _, targets in task.train_dataloader()) == 16
        assert len(task.val_dataloader()) == 1

    def test_evaluation_keeps_the_order(self, name: str, make: Make) -> None:
        task = make(name)
        task.evaluation_batch_size = 7
        task.setup("test")
        for batches, split in ((task.val_dataloader(), task.validation), (task.test_dataloader(), task.test)):
            assert torch.equal(torch.cat([targets for _, targets in batches]), split.targets)

    def test_everything_goes_through_the_device(self, name: str, make: Make) -> None:
        # The meta device stands for any other: an operation that mixes it with the CPU fails.
        task = make(name)
        task.device = "meta"
        task.setup("fit")
        for batches in (task.train_dataloader(), task.val_dataloader()):
            inputs, targets = next(iter(batches))
            assert inputs.device.type == targets.device.type == "meta"
            assert tuple(inputs.shape[1:]) == task.in_shape

    def test_setup_again_changes_nothing(self, name: str, make: Make) -> None:
        task = make(name)
        task.setup("fit")
        train = task.train
        task.setup("fit"), task.setup("validate")
        assert task.train is train

    def test_rows_are_shared_and_unchanged_by_use(self, name: str, make: Make) -> None:
        task = make(name)
        task.setup("fit")
        before = task._parts.fingerprint
        for inputs, targets in task.train_dataloader():
            inputs.mul_(0) if inputs.is_floating_point() else inputs.zero_()
            targets.zero_()
        del task._parts.__dict__["fingerprint"]
        assert task._parts.fingerprint == before

    def test_preparation_is_plain(self, name: str, make: Make) -> None:
        import json

        task = make(name)
        task.setup("fit")
        assert json.loads(json.dumps(task.preparation())) == task.preparation()

    @pytest.mark.parametrize("fraction", [0, -0.1, 1.5, "half", True, float("nan")])
    def test_wrong_fraction(self, name: str, make: Make, fraction: object) -> None:
        with pytest.raises(ValueError, match=r"^fraction must be above 0 and at most 1, but got .*\.$"):
            make(name, fraction=fraction)
