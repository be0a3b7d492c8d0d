"""Which rows validate: a share, folds, repeats, the last ones; and all of them trained on in the end."""

import os

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kirigami import tasks
from kirigami.errors import ArgumentError
from kirigami.tasks.splits import VALIDATION_STREAM, carve
from kirigami.tasks.validation import Validation
from tests.tasks.samples import write_images

EXAMPLES = int(os.environ.get("KIRIGAMI_EXAMPLES", "50"))


@pytest.fixture
def folder(tmp_path):
    generator = np.random.default_rng(0)
    for name, rows in (("2024", 60), ("2025", 40), ("2026", 30)):
        sizes = generator.normal(size=rows)
        frame = pd.DataFrame({"row": generator.permutation(rows) + 1000 * (int(name) - 2020), "size": sizes})
        frame["left"] = np.where(sizes + generator.normal(size=rows) > 0, "yes", "no")
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
    return tmp_path


def table(folder, fold=0, train=("2024.csv", "2025.csv"), **arguments):
    config = {"name": "table", "path": str(folder), "train": list(train), "target": "left", **arguments}
    task = tasks.build(config, seed=1)
    task.fold = fold
    task.setup("fit")
    return task


def rows_of(task, split):
    """The numbers of a split's rows, undone from the standardised first column."""
    rules = task.preparation()["standardise"]
    return set(np.round(split.inputs[:, 0].numpy() * rules["scale"][0] + rules["mean"][0]).astype(int))


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=12, max_size=80), st.integers(2, 6), st.integers(0, 99))
def test_each_row_is_in_one_fold_and_folds_have_the_same_size_and_classes(strata, folds, seed):
    strata, how = np.array(strata), Validation.read({"folds": folds})
    draws = [how.draw(strata, seed=seed, fold=fold) for fold in range(how.draws)]
    assert np.array_equal(np.sort(np.concatenate([draw.validation for draw in draws])), np.arange(len(strata)))
    for draw in draws:
        assert np.array_equal(np.sort(np.concatenate([*draw])), np.arange(len(strata)))
    for rows in (np.ones(len(strata)) > 0, *(strata == label for label in np.unique(strata))):
        sizes = [int(rows[draw.validation].sum()) for draw in draws]
        assert max(sizes) - min(sizes) <= 1


def test_the_first_repeat_is_the_plain_share_and_the_others_differ():
    strata, how = np.arange(90) % 3, Validation.read({"repeats": 3, "share": 0.2})
    draws = [how.draw(strata, seed=4, fold=fold).validation for fold in range(how.draws)]
    assert np.array_equal(draws[0], carve(strata, 18, seed=4, stream=VALIDATION_STREAM)[1])
    assert np.array_equal(draws[0], Validation.read(0.2).draw(strata, seed=4).validation)
    assert len({tuple(draw) for draw in draws}) == 3


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (1.5, "must be a share below 1 or a number of rows, but got 1.5"),
        ({"folds": 1}, "folds must be a whole number of at least 2, but got 1"),
        ({"fold": 5}, "but got {'fold': 5}"),
        ({"folds": 5, "share": 0.2}, "must be a share below 1"),
        ({"repeats": 3, "share": 2.5}, "validation.share must be a share"),
        ({"last": False}, "validation.last must be a share"),
        ("five", "must be a share below 1 or a number of rows, but got 'five'"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_line(value, problem):
    with pytest.raises(ArgumentError) as error:
        Validation.read(value)
    assert problem in str(error.value)
    assert "\n" not in str(error.value)


def test_the_last_file_validates(folder):
    task = table(folder, train=("2024.csv", "2025.csv"), validation={"last": True}, test="2026.csv")
    assert rows_of(task, task.validation) == set(range(5000, 5040))
    assert rows_of(task, task.train) == set(range(4000, 4060))
    whole = table(folder, None, train=("2024.csv", "2025.csv"), validation={"last": True}, test="2026.csv")
    assert len(whole.train.inputs) == 100


def test_so_do_the_last_rows_of_one_file(folder):
    task = table(folder, train=("2024.csv",), validation={"last": 10}, test="2026.csv")
    written = pd.read_csv(folder / "2024.csv")["row"]
    assert rows_of(task, task.validation) == set(written[-10:])
    with pytest.raises(ArgumentError, match=r"validation\.last is true, which needs rows from two train files or more"):
        table(folder, train=("2024.csv",), validation={"last": True})


def test_no_test_row_is_in_any_fold_nor_in_the_whole(folder):
    settings = {"validation": {"folds": 3}}
    folds = [table(folder, fold, **settings) for fold in range(3)]
    assert {task.draws for task in folds} == {3}
    whole = table(folder, None, **settings)
    whole.setup("test")
    test = rows_of(whole, whole.test)
    judged = [rows_of(task, task.validation) for task in folds]
    assert sum(map(len, judged)) == len(set.union(*judged)) == 80
    assert rows_of(whole, whole.train) == set.union(*judged)
    assert not test & set.union(*judged)
    for task, rows in zip(folds, judged, strict=True):
        assert rows_of(task, task.train) == set.union(*judged) - rows


def test_any_task_trains_on_all_rows_but_the_test_rows():
    one, whole = tasks.build({"name": "breast_cancer"}, seed=0), tasks.build({"name": "breast_cancer"}, seed=0)
    whole.fold = None
    for task in (one, whole):
        task.setup("fit")
    assert len(whole.train.inputs) == len(one.train.inputs) + len(one.validation.inputs)
    assert len(whole.validation.inputs) == len(one.validation.inputs)


def pictures(folder, fold=0, validation=None, **arguments):
    config = {"name": "images", "path": str(folder), "validation": validation or {"folds": 3}, **arguments}
    task = tasks.build(config, seed=0)
    task.fold = fold
    task.setup("test")
    return task


def test_pictures_have_folds_too(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (30, 4, 4), dtype=np.uint8)
    write_images(tmp_path / "train.parquet", images, [0, 1] * 15)
    folds = [pictures(tmp_path, fold, test_share=6) for fold in range(3)]
    judged = [{row.numpy().tobytes() for row in task.validation.inputs} for task in folds]
    whole = pictures(tmp_path, None, test_share=6)
    rows = {row.numpy().tobytes() for row in whole.train.inputs}
    assert [task.draws for task in folds] == [3] * 3
    assert sum(map(len, judged)) == len(rows) == 24
    assert set.union(*judged) == rows
    assert not rows & {row.numpy().tobytes() for row in whole.test.inputs}
    with pytest.raises(
        ArgumentError, match=r"validation must be a share or folds of pictures, but got \{'last': True\}"
    ):
        pictures(tmp_path, validation={"last": True})
