"""Parts of a user's own rows that do not speak alike, and rows of which nothing can be learnt."""

from typing import Any

import numpy as np
import pandas
import pytest
import torch

from kirigami import tasks
from kirigami.tasks import arrays

HERE = __name__
INPUTS = np.random.default_rng(0).normal(size=(30, 3))
TARGETS = np.arange(30) % 2
FRAME = pandas.DataFrame(INPUTS, columns=["a", "b", "c"])
WORDS = np.array(["no", "yes"])[TARGETS]
BOTH = {"a": INPUTS, "b": INPUTS[:, :2]}
VECTORS = np.hstack((INPUTS, INPUTS))

PARTS: dict[str, tuple[Any, Any]] = {
    "columns": ((FRAME, TARGETS), (FRAME[["c", "b", "a"]] + 1, TARGETS)),
    "other columns": ((FRAME, TARGETS), (FRAME.rename(columns={"c": "d"}), TARGETS)),
    "names": ((BOTH, TARGETS), (dict(reversed(BOTH.items())), TARGETS)),
    "a name": ((BOTH, TARGETS), ({"a": INPUTS}, TARGETS)),
    "places": (((INPUTS, INPUTS), TARGETS), ((INPUTS,), TARGETS)),
    "width": ((INPUTS, TARGETS), (INPUTS[:, :2], TARGETS)),
    "scale": (((INPUTS * 9).astype(np.uint8), TARGETS), (INPUTS, TARGETS)),
    "words": ((INPUTS, WORDS), (INPUTS, TARGETS)),
    "numbers": ((INPUTS, TARGETS), (INPUTS, TARGETS.astype(str))),
    "vectors": ((INPUTS, VECTORS), (INPUTS, VECTORS[:, :2])),
    "the same": ((INPUTS, TARGETS), (INPUTS[:4], np.zeros(4, int))),
}
ROWS: dict[str, tuple[Any, Any]] = {
    "masked": (np.ma.masked_less(INPUTS, 0), TARGETS),
    "even": (np.ones((30, 3)), TARGETS),
    "gaps": (FRAME.astype("Float64").where(FRAME < 1, pandas.NA), TARGETS),
    "texts": (FRAME.assign(b="x"), TARGETS),
    "no target": (INPUTS, ["yes", float("nan"), "no"] * 10),
    "no word": (INPUTS, pandas.Series(["yes", None, "no"] * 10)),
    "no class": (np.zeros((30, 1, 4, 4)), np.full((30, 4, 4), -100)),
    "one class": (np.zeros((30, 1, 4, 4)), np.ones((30, 4, 4), int)),
    "short floats": (torch.tensor(INPUTS).bfloat16(), TARGETS),
    "sparse": (torch.tensor(INPUTS).to_sparse(), TARGETS),
    "bytes": (INPUTS, WORDS.astype(bytes)),
}


def parts(how: str) -> dict[str, Any]:
    return dict(zip(("train", "validation"), PARTS[how], strict=True))


def with_test(how: str) -> dict[str, Any]:
    return dict(zip(("train", "test"), PARTS[how], strict=True))


def rows(how: str) -> tuple[Any, Any]:
    if how == "leaves":
        raise SystemExit(0)
    return ROWS[how]


def ready(function: str, how: str) -> tasks.Task:
    arrays._source.cache_clear()
    task = tasks.build({"_target_": f"{HERE}.{function}", "how": how}, seed=0)
    task.setup("fit")
    return task


def test_names_and_columns_are_put_in_the_order_of_train() -> None:
    columns, named = ready("parts", "columns").validation.inputs, ready("parts", "names").validation.inputs

    assert torch.equal(columns, torch.tensor(INPUTS + 1).float())
    assert list(named) == ["a", "b"]


UNLIKE = [
    ("other columns", "gives {} 'd' among its columns"),
    ("a name", "gives train 'b' among its inputs"),
    ("places", r"gives {} a tuple of 1 \(ndarray\) as inputs, and train a tuple of 2"),
    ("width", r"gives {} the inputs of shape \(rows, 2\), and train of \(rows, 3\)"),
    ("scale", "gives {} inputs of float64, and train of uint8: they may have no scale in common"),
    ("words", "gives {} the targets int64 of shape .* unlike those of train"),
    ("numbers", "gives {} the targets <U.* unlike those of train"),
    ("vectors", r"gives {} the targets float64 of shape \(30, 2\), unlike those of train"),
]


@pytest.mark.parametrize(("how", "line"), UNLIKE)
def test_a_part_unlike_train_is_one_line(how: str, line: str) -> None:
    with pytest.raises(ValueError, match=line.format("validation")):
        ready("parts", how)
    task = ready("with_test", how)
    with pytest.raises(ValueError, match=line.format("test")):
        task.setup("test")


def test_classes_are_counted_by_part_and_rows_of_two_parts_said() -> None:
    notices = "\n".join(ready("parts", "the same").notices)

    assert "class  train  validation  test" in notices
    assert "validation: no row of (1)." in notices
    assert "in the train part too, to the last digit." in notices


@pytest.mark.parametrize(
    ("how", "line"),
    [
        ("masked", "gives train the inputs with masked values"),
        ("even", "gives all train rows the same inputs"),
        ("gaps", "a value in the inputs that is not finite: nan"),
        ("texts", "gives train the inputs a column 'b' of type"),
        ("no target", "gives row 1 no target"),
        ("no word", "gives row 1 no target"),
        ("no class", "gives the pixels of the train rows no class: all pixels are -100"),
        ("one class", "gives the pixels of the train rows the class 1 only"),
        ("leaves", "raised SystemExit: 0"),
    ],
)
def test_rows_of_which_nothing_can_be_learnt(how: str, line: str) -> None:
    with pytest.raises(ValueError, match=line):
        ready("rows", how)


@pytest.mark.parametrize("how", ["short floats", "sparse", "bytes"])
def test_arrays_of_other_kinds(how: str) -> None:
    assert ready("rows", how).classes == (("no", "yes") if how == "bytes" else ("0", "1"))
