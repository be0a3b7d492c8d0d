"""A user's own rows as a task, whatever gives them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from kirigami import tasks
from kirigami.tasks import arrays
from tests.tasks import own_rows

HERE = own_rows.__name__


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    for cached in (arrays._source, arrays._learn):
        cached.cache_clear()
    own_rows.READ.clear()
    yield
    for cached in (arrays._source, arrays._learn):
        cached.cache_clear()


def built(_function: str, *, seed: int = 0, test_seed: int | None = None, **options: Any) -> tasks.Task:
    return tasks.build({"_target_": f"{HERE}.{_function}", **options}, seed=seed, test_seed=test_seed)


def ready(_function: str, **options: Any) -> tasks.Task:
    task = built(_function, **options)
    task.setup("fit")
    return task


class TestForms:
    def test_a_pair_is_split_by_the_seeds(self) -> None:
        first, again, other = (ready("pair", seed=seed, test_seed=0) for seed in (0, 0, 1))
        for task in (first, again, other):
            task.setup("test")

        assert [len(split.targets) for split in (first.train, first.validation, first.test)] == [38, 10, 12]
        assert first.fingerprint() == again.fingerprint() != other.fingerprint()
        assert torch.equal(first.test.inputs, other.test.inputs)  # type: ignore[union-attr]
        assert torch.bincount(first.validation.targets).min() >= 3

    def test_folds_judge_by_every_row_once(self) -> None:
        folds, judged = [built("pair", validation={"folds": 3}) for _ in range(3)], []
        for fold, task in enumerate(folds):
            task.fold = fold
            task.setup("fit")
            judged += task.places.rows.tolist()  # type: ignore[union-attr]
        whole = built("pair", validation={"folds": 3})
        whole.fold = None
        whole.setup("fit")

        assert (whole.draws, len(whole.train.targets)) == (3, 48)
        assert sorted(judged) == list(range(48))
        with pytest.raises(ValueError, match=r"validation.* is not used: .*by_part gives validation rows"):
            ready("by_part", validation={"folds": 3})

    def test_the_test_part_is_read_when_it_is_asked_for(self) -> None:
        task = ready("by_part")

        assert own_rows.READ == ["train", "validation"]
        task.setup("test")
        assert own_rows.READ == ["train", "validation", "test"]
        assert [len(split.targets) for split in (task.train, task.validation, task.test)] == [60, 30, 15]  # type: ignore[union-attr]

    def test_a_mapping_with_a_function_for_test(self) -> None:
        task = ready("mapping")

        assert [len(task.train.targets), len(task.validation.targets)] == [60, 30]
        with pytest.raises(ValueError, match="a test row was read"):
            task.setup("test")

    def test_a_data_module_makes_its_test_loader_last(self) -> None:
        task = ready("Module", count=30)

        assert own_rows.READ == ["fit"]
        assert len(task.train.targets) + len(task.validation.targets) == 30
        task.setup("test")
        assert own_rows.READ == ["fit", "test"]

    def test_loaders_are_read_once_in_order(self) -> None:
        inputs, _ = own_rows.rows()
        task = ready("loaders", validation=10, test_share=10)
        kept = torch.cat((task.train.inputs, task.validation.inputs, task.load_test().inputs))

        assert torch.equal(kept.sort(dim=0).values, torch.as_tensor(inputs).float().sort(dim=0).values)

    def test_random_rows_and_samplers_are_said(self) -> None:
        task = ready("noisy")

        assert any("differ from one reading to the next" in notice for notice in task.notices)
        assert any("WeightedRandomSampler of train is not used" in notice for notice in task.notices)
        assert task.fingerprint() == ready("noisy").fingerprint()

    def test_an_iterator_of_batches(self) -> None:
        assert len(ready("streams").train.targets) + len(ready("streams").validation.targets) == 29

    def test_the_function_gets_the_seed_where_it_names_it(self) -> None:
        assert ready("seeded", seed=0).fingerprint() != ready("seeded", seed=1, test_seed=0).fingerprint()

    def test_a_task_of_the_users_class(self) -> None:
        task = ready("Own", classes=4, seed=3)

        assert isinstance(task, own_rows.Own)
        assert (task.seed, task.out_features) == (3, 4)

    def test_what_a_task_of_the_users_raises_is_one_line(self) -> None:
        with pytest.raises(ValueError, match=r"_target_=.*Unfinished raised NotImplementedError"):
            ready("Unfinished")

    def test_a_function_of_a_package(self) -> None:
        task = tasks.build({"_target_": "sklearn.datasets.load_wine", "return_X_y": True}, seed=0)
        task.setup("fit")

        assert (task.kind, task.in_shape, task.classes) == ("classes", (13,), ("0", "1", "2"))

    def test_rows_are_read_once_for_all_trials(self) -> None:
        assert ready("by_part").train.inputs is ready("by_part", fraction=1.0).train.inputs
        assert own_rows.READ == ["train", "validation"]


class TestInputs:
    def test_several_by_name(self) -> None:
        task = ready("by_name", vocabulary={"word": 9})
        inputs, targets = next(iter(task.train_dataloader()))

        assert task.in_shape == {"word": (1,), "place": (4,)}
        assert {name: part.dtype for name, part in inputs.items()} == {"word": torch.int64, "place": torch.float32}
        assert len(inputs["word"]) == len(inputs["place"]) == len(targets)

    def test_several_by_place_stay_row_by_row(self) -> None:
        task = ready("by_place", fraction=0.5)

        for inputs, _ in task.train_dataloader():
            assert torch.equal(inputs[0][:, :2], inputs[1])
        assert len(task.train.targets) < 25

    def test_whole_numbers_are_numbers_unless_they_have_a_vocabulary(self) -> None:
        assert ready("by_name").train.inputs["word"].dtype == torch.float32

    @pytest.mark.parametrize(
        ("how", "line"),
        [
            ("nan", "gives row 3 of train a value in the inputs that is not finite: nan"),
            ("huge", "gives row 4 of train a value in the inputs that float32 does not hold: 1e"),
            ("stamps", "float32 rounds by .* Subtract their mean first"),
            ("words", "gives train the inputs of <U"),
            ("short", "gives train 59 rows of the inputs, but 60 targets"),
            ("unknown", "gives row 2 of validation the class 3, which train lacks"),
            ("part", "returned a part 'vali'.* Did you mean 'validation'"),
            ("keras", "must return a pair .* but returned a tuple of 2"),
            ("nothing", "must return a pair .* but returned a NoneType"),
            ("raises", "raised RuntimeError: the disk is away"),
            ("later", "_target_=.*spoilt raised AttributeError: .*no_such_thing"),
            ("ragged", "gives train the inputs of different lengths or shapes"),
            ("empty", "gives no rows for"),
            ("constant", "gives all train rows the same value, 2.5"),
            ("dictionaries", "must give rows of train as pairs .* but gave a dict"),
        ],
    )
    def test_what_is_wrong_is_one_line(self, how: str, line: str) -> None:
        with pytest.raises(ValueError, match=line) as raised:
            ready("spoilt", how=how)
        assert "\n" not in str(raised.value)

    def test_codes_beyond_the_vocabulary(self) -> None:
        with pytest.raises(ValueError, match="vocabulary=5 needs whole numbers of 0 to 4 in word of train"):
            ready("by_name", vocabulary={"word": 5})


class TestKinds:
    @pytest.mark.parametrize(
        ("name", "kind", "classes", "outputs"),
        [
            ("labels", "labels", ("0", "1", "2", "3"), 4),
            ("values", "values", None, 1),
            ("vectors", "values", None, 2),
            ("words", "classes", ("no", "yes"), 2),
            ("objects", "classes", ("no", "yes"), 2),
            ("flags", "classes", ("False", "True"), 2),
            ("pixels", "pixels", ("0", "1", "2"), 3),
        ],
    )
    def test_it_is_read_off_the_targets_and_said(
        self, name: str, kind: str, classes: tuple[str, ...] | None, outputs: int
    ) -> None:
        task = ready("of", name=name)

        assert (task.kind, task.classes, task.out_features) == (kind, classes, outputs)
        assert kind in task.notices[0]

    @pytest.mark.parametrize(
        ("name", "options", "line"),
        [
            ("many", {}, "kind must be said, classes or values: the targets are 60 different numbers"),
            ("one_hot", {}, "kind must be said: every row has one 1"),
            ("series", {}, r"kind must be said, one of \(classes, labels, values, pixels\), for targets of int64"),
            ("mixed", {}, "neither numbers nor words"),
            ("same", {}, "one class only, 0"),
            ("gap", {}, "gives row 7 of train a target that is not finite"),
            ("values", {"kind": "classes"}, "needs whole numbers or words"),
            ("values", {"kind": "labels"}, "kind=labels needs 0 and 1"),
            ("words", {"kind": "values"}, "kind=values needs numbers"),
            ("words", {"kind": "clases"}, "kind must be null or one of"),
            ("words", {"classes": ["no", "maybe"]}, "classes must name 'yes' too"),
            ("labels", {"classes": ["a"]}, "classes must have 4 names, but has 1"),
            ("words", {"naem": 3}, "naem is no argument"),
        ],
    )
    def test_what_cannot_be_told_is_asked_for(self, name: str, options: dict[str, Any], line: str) -> None:
        with pytest.raises(ValueError, match=line):
            ready("of", name=name, **options)

    def test_numbers_may_have_names_and_train_lack_some(self) -> None:
        assert ready("seeded", classes=["a", "b", "c", "d"]).out_features == 4
        assert ready("of", name="flags", classes=["off", "on"]).classes == ("off", "on")
        with pytest.raises(ValueError, match="classes has 2 names, but the class numbers reach 2"):
            ready("seeded", classes=["a", "b"])

    def test_vectors_are_scored_in_their_own_unit(self) -> None:
        task = ready("of", name="vectors")
        perfect = task.evaluate(task.validation.targets, task.validation.targets)
        mean = task.evaluate(torch.zeros_like(task.validation.targets), task.validation.targets)

        assert task.train.targets.std(dim=0).tolist() == pytest.approx([1, 1], abs=0.05)
        assert (perfect["rmse"], perfect["r2"]) == (0, 1)
        assert mean["mae"] > 100
        assert len(task.preparation()["values"]["mean"]) == 2  # type: ignore[index]

    def test_pixels_that_do_not_count(self) -> None:
        task = ready("of", name="pixels")
        targets = task.validation.targets
        scores = torch.nn.functional.one_hot(targets.clamp(min=0), 3).movedim(-1, 1).float()
        scores[:, :, 0] = torch.tensor([5.0, 0.0, 0.0])[:, None]

        assert task.evaluate(scores, targets) == {"mean_iou": 1, "accuracy": 1, "f1": 1}
        assert task.row_scores("accuracy", scores, targets).mean() == pytest.approx(1)
        assert set(task.baselines(targets)["most_frequent"]) == set(task.metrics)

    def test_labels_are_scored_by_each(self) -> None:
        task = ready("of", name="labels")
        targets = task.validation.targets
        scores = task.evaluate(targets - 0.5, targets)

        assert scores == {"f1_macro": 1, "f1_micro": 1, "mean_ap": 1, "exact_match": 1, "hamming": 0}
        assert task.evaluate(0.5 - targets, targets)["exact_match"] == 0
        assert task.baselines(targets) == {}


def test_label_metrics_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import average_precision_score, f1_score, hamming_loss, jaccard_score

    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(50, 4, generator=generator).round(decimals=1)
    targets = torch.randint(0, 2, (50, 4), generator=generator).float()
    said, metrics = (outputs > 0).numpy(), tasks.METRICS

    assert metrics["f1_macro"].function(outputs, targets) == pytest.approx(f1_score(targets, said, average="macro"))
    assert metrics["f1_micro"].function(outputs, targets) == pytest.approx(f1_score(targets, said, average="micro"))
    assert metrics["hamming"].function(outputs, targets) == pytest.approx(hamming_loss(targets, said))
    assert metrics["mean_ap"].function(outputs, targets) == pytest.approx(average_precision_score(targets, outputs))
    answers = outputs.argmax(1)
    assert metrics["mean_iou"].function(outputs, targets.argmax(1)) == pytest.approx(
        jaccard_score(targets.argmax(1), answers, average="macro")
    )
    assert np.isfinite(outputs).all()
