"""Tables of any make become numbers by the rules of their train rows."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from kirigami import tasks
from kirigami.tasks import Task
from kirigami.tasks.serving import Filled
from kirigami.tasks.standardise import Standardiser
from kirigami.tasks.tables.columns import Reading, learn, learn_all
from kirigami.tasks.tables.features import Features
from kirigami.tasks.tables.filling import Filling
from kirigami.tasks.tables.labels import Labeller
from tests.tasks.samples import raw_frame


def write(folder: Path, file: str = "t.csv", rows: int = 40, **columns: list) -> Path:
    """Write a CSV file with a number, a target of two classes, and the given columns."""
    frame = pd.DataFrame({"a": np.arange(rows) * 1.5, "y": [row % 2 for row in range(rows)], **columns})
    frame.to_csv(folder / file, index=False)
    return folder / file


def table(folder: Path, seed: int = 0, **arguments: object) -> Task:
    config = {"name": "table", "path": str(folder), "train": "t.csv", "target": "y", **arguments}
    task = tasks.build(config, seed=seed)
    task.setup("test")
    return task


def labels_of(values: list, positive: str | None = None, kind: str = "auto") -> tuple[Labeller, np.ndarray]:
    """Return what is learnt from a target column, and its targets."""
    frame = raw_frame(y=values)
    labeller = Labeller.fit(frame, learn("y", frame, Reading()), positive, kind)
    return labeller, labeller(frame, "train")


def features_of(**columns: list) -> Features:
    frame = raw_frame(**columns)
    return Features.fit(frame, learn_all(frame, Reading()), Reading())


def filled(train: list, later: list, **rules: object) -> tuple[Filling, list]:
    """Return what is learnt from rows of numbers, and what becomes of other rows."""
    columns = tuple("abc"[: len(train[0])])
    learnt = Filling.fit(np.array(train), columns, **{"log": False, "missing": "median", "indicator": False, **rules})
    rows = Filled(learnt.to_dict() | {"columns": columns})(torch.tensor(later, dtype=torch.float64))
    return learnt, rows.tolist()


class TestReading:
    def test_one_file_is_parted_60_20_20(self, tmp_path: Path) -> None:
        write(tmp_path, rows=100)
        task = table(tmp_path)
        assert [len(part.targets) for part in (task.train, task.validation, task.test)] == [60, 20, 20]
        assert task.in_shape == (1,)

    def test_several_files_are_joined(self, tmp_path: Path) -> None:
        for number, name in enumerate(("t.csv", "u.csv", "v.csv")):
            write(tmp_path, name, rows=40 + number)
        task = table(tmp_path, train=["t.csv", "u.csv"], test="v.csv")
        assert len(task.train.targets) + len(task.validation.targets) == 81
        assert len(task.test.targets) == 42
        assert sorted(task.validation.targets.tolist()) == [0] * 10 + [1] * 10

    def test_parquet_and_csv_give_the_same(self, tmp_path: Path) -> None:
        frame = pd.read_csv(write(tmp_path, c=["u", "v", "w", None] * 10))
        frame.to_parquet(tmp_path / "t.parquet")
        assert table(tmp_path).fingerprint() == table(tmp_path, train="t.parquet").fingerprint()

    @pytest.mark.parametrize("separator", [";", "\t", "|"])
    def test_other_separators(self, tmp_path: Path, separator: str) -> None:
        frame = pd.read_csv(write(tmp_path))
        frame.to_csv(tmp_path / "u.csv", index=False, sep=separator)
        assert table(tmp_path).fingerprint() == table(tmp_path, train="u.csv").fingerprint()

    def test_a_repeated_header_gets_a_number(self, tmp_path: Path) -> None:
        lines = ["name,name,a,y"] + [f"p,q{row},{row},{row % 2}" for row in range(40)]
        (tmp_path / "t.csv").write_text("\n".join(lines))
        assert table(tmp_path, drop=["name", "name.1"]).in_shape == (1,)

    def test_names_relative_to_the_folder_or_absolute(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = write(tmp_path)
        monkeypatch.chdir(tmp_path)
        assert table(tmp_path, path=None).fingerprint() == table(tmp_path, path=None, train=str(file)).fingerprint()

    def test_other_data_other_fingerprint(self, tmp_path: Path) -> None:
        write(tmp_path)
        write(tmp_path, "u.csv", a=[0.0] + [row * 1.5 for row in range(1, 39)] + [99.0])
        assert table(tmp_path).fingerprint() != table(tmp_path, train="u.csv").fingerprint()


class TestTargets:
    def test_positive_makes_a_label_of_a_count(self, tmp_path: Path) -> None:
        write(tmp_path, bug=[0, 0, 0, 1, 7] * 8)
        task = table(tmp_path, target="bug", positive=">0", drop=["y"])
        assert task.classes == ("not bug>0", "bug>0")
        assert int(task.train.targets.sum() + task.validation.targets.sum() + task.test.targets.sum()) == 16

    @pytest.mark.parametrize(
        ("positive", "expected"),
        [
            (">1", [0, 0, 1, 1]),
            (">=1", [0, 1, 1, 1]),
            ("< 1", [1, 0, 0, 0]),
            ("<=1", [1, 1, 0, 0]),
            ("== 2", [0, 0, 1, 0]),
            ("!=2", [1, 1, 0, 1]),
            ("2", [0, 0, 1, 0]),
        ],
    )
    def test_comparisons(self, positive: str, expected: list[int]) -> None:
        assert labels_of([0, 1, 2, 3], positive)[1].tolist() == expected

    def test_positive_word(self) -> None:
        labeller, targets = labels_of(["yes", "no", "maybe"], "yes")
        assert (targets.tolist(), labeller.classes) == ([1, 0, 0], ("not y=yes", "y=yes"))

    @pytest.mark.parametrize(
        ("values", "kind", "classes"),
        [
            (["b", "a", "b"], "classes", ("a", "b")),
            ([10, 2, 10], "classes", ("2", "10")),
            ([True, False, True], "classes", ("False", "True")),
            ([1.0, 0.0, 1.0], "classes", ("0", "1")),
            (["01", "1", "2.0"], "classes", ("1", "2")),
            (["true", "FALSE", "1"], "classes", ("False", "True")),
            ([0.5, 1.0, 2.0], "values", None),
            (list(range(21)), "values", None),
        ],
    )
    def test_auto_kind(self, values: list, kind: str, classes: tuple | None) -> None:
        labeller, _ = labels_of(values)
        assert (labeller.kind, labeller.classes) == (kind, classes)

    def test_kind_can_be_said(self) -> None:
        assert labels_of([1, 2, 3], kind="values")[1].tolist() == [[1.0], [2.0], [3.0]]
        assert labels_of([1, 2, 3], kind="classes")[1].tolist() == [0, 1, 2]

    def test_values_are_standardised_and_scored_in_their_unit(self, tmp_path: Path) -> None:
        write(tmp_path, price=[1000.0 + 10 * row for row in range(40)])
        task = table(tmp_path, target="price", drop=["y"])
        assert (task.kind, task.out_features, task.default_metric) == ("values", 1, "rmse")
        assert task.train.targets.shape == (24, 1)
        assert float(task.train.targets.mean()) == pytest.approx(0, abs=1e-5)
        targets = task.validation.targets
        assert task.evaluate(targets, targets)["mae"] == pytest.approx(0, abs=1e-3)
        one_deviation_off = task.evaluate(targets + 1, targets)["mae"]
        assert one_deviation_off == pytest.approx(task.preparation()["values"]["scale"][0], rel=1e-3)
        assert one_deviation_off > 50


class TestFeatures:
    def test_log_of_columns_without_negatives(self) -> None:
        learnt, rows = filled([[0.0, -1.0], [np.e - 1, 1.0]], [[0.0, -1.0], [np.e - 1, 1.0]], log=True)
        assert learnt.logs == ("a",)
        assert np.allclose(rows, [[0.0, -1.0], [1.0, 1.0]])

    def test_log_of_named_columns_and_negatives_later(self) -> None:
        _, rows = filled([[0.0, 1.0], [3.0, 2.0]], [[1.0, -5.0]], log=("b",))
        assert rows == [[1.0, 0.0]]

    @pytest.mark.parametrize(("missing", "expected"), [("median", 2.0), ("mean", 4.0), ("zero", 0.0)])
    def test_gaps_are_filled_from_train_rows(self, missing: str, expected: float) -> None:
        _, rows = filled([[1.0], [2.0], [9.0], [np.nan]], [[np.nan], [5.0]], missing=missing)
        assert rows == [[expected], [5.0]]

    def test_indicator_marks_gaps(self) -> None:
        rows = [[1.0, 1.0], [np.nan, 2.0], [3.0, 3.0]]
        learnt, marked = filled(rows, rows, indicator=True)
        assert learnt.indicators == ("a",)
        assert [row[2] for row in marked] == [0, 1, 0]

    def test_categories_come_from_train_rows_and_a_gap_is_one(self) -> None:
        features = features_of(c=["u", "v", None], a=[1, 2, 3])
        assert features.names == ("a", "c missing", "c=u", "c=v")
        later = raw_frame(c=["v", "new", None], a=[1, 2, 3])
        assert features.raw(later, "test")[:, 1:].tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]
        assert features.unseen(later) == [
            "'c' has 1 cell of a category that training did not have (such as 'new', 't.csv', row 2)"
        ]

    def test_statistics_come_from_the_kept_train_rows_alone(self, tmp_path: Path) -> None:
        write(tmp_path, c=["u", "v"] * 20, rows=40)
        task = table(tmp_path, fraction=0.5)
        numbers = task.train.inputs[:, 0]
        assert float(numbers.mean()) == pytest.approx(0, abs=1e-5)
        assert float(numbers.std(correction=0)) == pytest.approx(1, abs=1e-5)
        assert set(task.train.inputs[:, 1:].unique().tolist()) == {0.0, 1.0}
        assert abs(float(task.validation.inputs[:, 0].mean())) > 1e-4

    def test_a_column_that_does_not_vary(self) -> None:
        rows = torch.tensor([[5.0, 1.0], [5.0, 2.0]])
        assert Standardiser.fit(rows)(rows).tolist() == [[0.0, -1.0], [0.0, 1.0]]

    @pytest.mark.parametrize("robust", [False, True])
    @pytest.mark.parametrize(("start", "step"), [(0.0, 1e-100), (0.0, 1e-14), (2.0**60, 1024.0), (1.7e12, 1.0)])
    def test_little_differences_count_as_much_as_large_ones(self, start: float, step: float, robust: bool) -> None:
        rows = (start + step * torch.arange(40, dtype=torch.float64)).unsqueeze(1)
        usual = torch.arange(40, dtype=torch.float64).unsqueeze(1)
        scaled, wanted = (Standardiser.fit(part, is_robust=robust)(part) for part in (rows, usual))
        torch.testing.assert_close(scaled, wanted, rtol=0, atol=0.02)

    def test_undo(self) -> None:
        rows = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)) * 7 + 3
        standardiser = Standardiser.fit(rows)
        assert torch.allclose(standardiser.undo(standardiser(rows)), rows.double(), atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": "z"}, r"target must be one of \(a, y, .*\), but got 'z'"),
        ({"target": "nmae"}, r".*Did you mean 'name'\?"),
        ({"target": ""}, r"target is not set\. Set target=COLUMN\."),
        ({"train": []}, r"train is not set\. Set train=FILE\."),
        ({"drop": ["b"]}, r"drop must be one of \(a, y"),
        ({"drop": ["a", "name", "date", "neg"]}, r"drop leaves no column"),
        ({"drop": ["date", "neg"]}, r"drop: the column 'name' holds 24 different texts in 24 rows"),
        ({"train": "u.csv"}, r"train: there is no file 'u\.csv' in .*\. Did you mean 't\.csv'\?"),
        ({"train": "u.csv", "path": None}, r"train: there is no file 'u\.csv' here, and path is not set"),
        ({"path": "nowhere"}, r"path: there is no file or folder 'nowhere'"),
        ({"test": "u.csv", "drop": ["name"]}, r"test: there is no file 'u\.csv'"),
        ({"train": ["t.csv", "other.csv"]}, r"train: 'other\.csv' lacks the columns \(name, date, neg\)"),
        ({"test": "other.csv", "drop": ["name"]}, r"test: 'other\.csv' lacks the columns \(date, neg\)"),
        ({"train": "empty.csv"}, r"train: '.*' cannot be read as CSV"),
        ({"train": "header.csv"}, r"train: '.*' has no rows"),
        ({"train": "broken.parquet"}, r"train: '.*' cannot be read as Parquet"),
        ({"positive": ">5"}, r"positive: y>5 holds for 0 of 40 rows, but two classes are needed"),
        ({"positive": ">x"}, r"positive compares with a number, but got '>x' for the target 'y'"),
        ({"target": "a", "positive": "yes"}, r"positive: a=yes holds for 0 of 40 rows"),
        ({"target": "one"}, r"target: 'one' is 7 in every train row, but two classes are needed"),
        (
            {"target": "gap"},
            r"target: 't\.csv', row 1: the target 'gap' is empty, as in 1 of 40 rows\. Remove",
        ),
        ({"target": "name", "kind": "values"}, r"kind must be classes, but got 'values'"),
        ({"kind": "class"}, r"kind must be one of .*Did you mean 'classes'\?"),
        ({"missing": "men"}, r"missing must be one of .*Did you mean 'me"),
        (
            {"missing": "error", "drop": ["name"]},
            r"train: 't\.csv', row 1: the column 'gap' is empty, and missing is error\. Set missing=median\.",
        ),
        ({"log": ["neg"], "drop": ["name"]}, r"log: the column 'neg' has negative values"),
        ({"log": ["nge"], "drop": ["name"]}, r"log must be one of .*Did you mean 'neg'\?"),
        ({"validation": 40}, r"validation asks for 40 of 32 rows"),
        ({"validation": "x"}, r"validation must be a share below 1"),
    ],
)
def test_wrong_arguments(tmp_path: Path, arguments: dict, message: str) -> None:
    columns = {
        "name": [f"n{row}" for row in range(40)],
        "date": [f"d{row % 3}" for row in range(40)],
        "neg": [-1.0] * 20 + [1.0] * 20,
    }
    if arguments.get("target") in ("one", "gap") or "missing" in arguments:
        columns |= {"one": [7] * 40, "gap": [None] + [0.5] * 39}
    write(tmp_path, **columns)
    write(tmp_path, "other.csv")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "header.csv").write_text("a,y\n")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(ValueError, match=f"^{message}") as caught:
        table(tmp_path, **arguments)
    assert "\n" not in str(caught.value)


def test_dates_are_read_as_seconds(tmp_path: Path) -> None:
    frame = pd.DataFrame({"when": pd.date_range("2020", periods=40), "y": [0, 1] * 20})
    frame.to_parquet(tmp_path / "t.parquet")
    frame.to_csv(tmp_path / "t.csv", index=False)
    task = table(tmp_path, train="t.parquet")
    assert "the column 'when' holds dates or times, read as seconds." in task.notices
    assert task.fingerprint() == table(tmp_path).fingerprint()
    assert float(task.raw_test().min()) >= 1577836800


def test_text_where_numbers_were(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, "u.csv", a=["x"] * 40)
    with pytest.raises(ValueError, match=r"^test: 'u\.csv', row 1: 'x' in the column 'a' is no number"):
        table(tmp_path, test="u.csv")


def test_a_class_that_only_the_test_rows_have(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, "u.csv", y=[5] * 40)
    with pytest.raises(
        ValueError, match=r"^test: 'u\.csv', row 1: the class '5' of 'y' does not occur in the train rows"
    ):
        table(tmp_path, test="u.csv")
