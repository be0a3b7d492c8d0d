"""Files of any make are read by the rules of the train file, or refused in one line that names file, row and knob."""

import decimal
import gzip
from pathlib import Path

import numpy as np
import pyarrow as arrow
import pytest
from pyarrow import parquet

from kirigami import tasks
from kirigami.tasks import Task
from kirigami.tasks.tables import reader
from kirigami.tasks.tables.columns import Reading, learn_all
from kirigami.tasks.tables.features import Features

ROWS = 40
SIZES = [f"{0.5 * row:.1f}" for row in range(ROWS)]
KINDS = ["no" if row % 3 else "yes" for row in range(ROWS)]


def write(folder: Path, file: str = "t.csv", separator: str = ",", encoding: str = "utf-8", **columns: list) -> Path:
    """Write columns of texts, as their owner wrote them, beside a number and a target."""
    columns = {"size": SIZES, "kind": KINDS} | columns
    lines = [columns.keys(), *zip(*columns.values(), strict=True)]
    text = "\n".join(separator.join(map(str, line)) for line in lines) + "\n"
    (folder / file).write_bytes(gzip.compress(text.encode(encoding)) if file.endswith(".gz") else text.encode(encoding))
    return folder / file


def opened(folder: Path, train: str = "t.csv", **arguments: object) -> Task:
    task = tasks.build({"name": "table", "path": str(folder), "train": train, "target": "kind", **arguments}, seed=0)
    task.setup("fit")
    return task


def refused(folder: Path, **arguments: object) -> str:
    """Return the line that refuses a table."""
    with pytest.raises(ValueError, match=r"\S") as error:
        opened(folder, **arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def numbers_of(folder: Path, cells: list[str], **knobs: str) -> list[float]:
    """Return the numbers that a column of these cells is read as."""
    lines = ["x;kind", *(f"{cell};{'no' if row % 2 else 'yes'}" for row, cell in enumerate(cells))]
    (folder / "numbers.csv").write_text("\n".join(lines))
    frame = reader.read("train", (folder / "numbers.csv",), Reading(**knobs))
    rules = learn_all(frame.drop(["kind"]), Reading(**knobs))
    assert rules["x"].kind in ("number", "boolean", "date"), rules["x"]
    return rules["x"].floats(frame, "train").tolist()


def test_a_gap_changes_no_other_row(tmp_path: Path) -> None:
    write(tmp_path, colour=["red", "green"] * (ROWS // 2))
    write(tmp_path, "gap.csv", colour=["red", "green"] * (ROWS // 2 - 1) + ["red", ""])
    whole, gap = (reader.read("", (tmp_path / file,), Reading()) for file in ("t.csv", "gap.csv"))
    rules = learn_all(whole.drop(["kind"]), Reading())
    features = Features.fit(whole, rules, Reading())
    assert (features.raw(whole, "")[:-1] == features.raw(gap, "")[:-1]).all()
    assert features.raw(gap, "")[-1, 1:].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("file", "separator", "encoding"),
    [
        ("u.csv", ";", "utf-8"),
        ("u.tsv", "\t", "utf-8-sig"),
        ("u.txt", "|", "utf-16"),
        ("u.csv.gz", ", ", "utf-8"),
        ("u", ";", "utf-32"),
    ],
)
def test_any_separator_encoding_and_suffix(file: str, separator: str, encoding: str, tmp_path: Path) -> None:
    colours = ["grün", "größer"] * (ROWS // 2)
    write(tmp_path, colour=colours)
    write(tmp_path, file, separator, encoding, colour=colours)
    assert opened(tmp_path).fingerprint() == opened(tmp_path, file).fingerprint()


def test_bytes_that_do_not_decode_are_named_with_the_knob(tmp_path: Path) -> None:
    write(tmp_path, encoding="latin-1", colour=["red"] * 20 + ["grün"] * 20)
    line = refused(tmp_path)
    assert line.endswith("line 22: the byte 0xFC is no utf-8. Set encoding=latin-1.")
    assert "colour=grün" in opened(tmp_path, encoding="latin-1")._learnt.features.names  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["12,5", "0,25", "-3"], [12.5, 0.25, -3]),
        (["1.234,50", "12,5"], [1234.5, 12.5]),
        (["1,234.50", "2"], [1234.5, 2]),
        (["1,234,567", "1"], [1234567, 1]),
        (["1.234.567", "1"], [1234567, 1]),
        (["1 234,5", "7\u00a0000"], [1234.5, 7000]),
        (["1'234.50", "9"], [1234.5, 9]),
        (["$12.50", "$ 3"], [12.5, 3]),
        (["3,5 €", "12 €"], [3.5, 12]),
        (["USD 5", "USD 7.5"], [5, 7.5]),
        (["7%", "12.5 %"], [7, 12.5]),
        (["\u22125", "4"], [-5, 4]),
        (["0,841", "1,5"], [0.841, 1.5]),
        (["1e3", ".5", "2."], [1000, 0.5, 2]),
        (["True", "false", "1"], [1, 0, 1]),
        (["1970-01-02", "1970-01-01 00:00:01"], [86400, 1]),
        (["31.01.1970", "01.02.1970"], [30 * 86400, 31 * 86400]),
        (["1/31/1970", "2/1/1970"], [30 * 86400, 31 * 86400]),
        (["01:00", "23:59:59.5"], [3600, 86399.5]),
        (["1970-01-01T01:00:00+01:00", "1970-01-01T00:00:00.5Z"], [0, 0.5]),
    ],
    ids=str,
)
def test_numbers_of_many_lands(cells: list[str], expected: list[float], tmp_path: Path) -> None:
    assert numbers_of(tmp_path, [*cells, "NA", ""])[: len(cells)] == expected


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (
            ["4,387", "5,625"],
            "'4,387' in the column 'x' may be 4.387 (decimal=,) or 4387 (thousands=,)",
        ),
        (["$3,900", "$4,200"], "'$3,900' in the column 'x' may be 3.9"),
        (["1/2/2026", "3/4/2026"], "'1/2/2026' in the column 'x' may begin with the day or with the month"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(cells: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Set one|drop") as error:
        numbers_of(tmp_path, cells)
    assert message in str(error.value)


def test_points_beside_decimal_commas_are_in_doubt(tmp_path: Path) -> None:
    write(tmp_path, separator=";", price=["12,5"] * ROWS, weight=["1.234"] * ROWS)
    assert "'1.234' in the column 'weight' may be 1.234 (decimal=.) or 1234 (thousands=.)" in refused(tmp_path)


def test_the_knobs_decide(tmp_path: Path) -> None:
    assert numbers_of(tmp_path, ["4,387", "5"], thousands=",") == [4387, 5]
    assert numbers_of(tmp_path, ["4,387", "5"], decimal=",") == [4.387, 5]
    assert numbers_of(tmp_path, ["4.387", "5"], thousands=".") == [4387, 5]


def test_a_column_of_numbers_with_a_word_is_refused(tmp_path: Path) -> None:
    write(tmp_path, x=[*map(str, range(ROWS - 1)), "unknown"])
    assert "row 40: 'unknown' in the column 'x' is no number" in refused(tmp_path)
    assert opened(tmp_path, missing_words=["unknown"]).in_shape == (2,)


def test_decimals_of_parquet_are_numbers_and_lists_are_refused(tmp_path: Path) -> None:
    price = [decimal.Decimal(row) / 4 for row in range(ROWS)]
    table = arrow.table({"price": arrow.array(price, arrow.decimal128(6, 2)), "kind": KINDS, "l": [[1]] * ROWS})
    parquet.write_table(table, tmp_path / "t.parquet")
    line = refused(tmp_path, train="t.parquet")
    assert "the column 'l' is of the type list<" in line
    assert opened(tmp_path, "t.parquet", drop=["l"])._learnt.features.columns == ("price",)  # type: ignore[attr-defined]
    assert "target: the column 'l' is of the type list<" in refused(tmp_path, train="t.parquet", target="l")


def test_a_row_number_of_a_usual_name_is_left_out_where_it_counts(tmp_path: Path) -> None:
    write(tmp_path, id=list(range(1, ROWS + 1)), index=[str(row % 7) for row in range(ROWS)])
    task = opened(tmp_path)
    assert task._learnt.features.columns == ("size", "index")  # type: ignore[attr-defined]
    assert "the column 'id' numbers the rows, and is left out." in task.notices


def test_a_row_number_without_a_name_is_left_out(tmp_path: Path) -> None:
    columns = {"": list(range(ROWS)), "size": SIZES, "kind": KINDS}
    lines = [columns.keys(), *zip(*columns.values(), strict=True)]
    (tmp_path / "t.csv").write_text("\n".join(",".join(map(str, line)) for line in lines))
    task = opened(tmp_path)
    assert task.in_shape == (1,)
    assert "the column 'Unnamed: 0' numbers the rows, and is left out." in task.notices


@pytest.mark.parametrize(
    ("name", "cells", "message"),
    [
        ("kind.1", KINDS, "the column 'kind.1' equals the target 'kind' in every row"),
        ("Kind ", KINDS, "the column 'Kind' has the name of the target 'kind'"),
        ("code", [int(kind == "yes") for kind in KINDS], "the column 'code' equals the target 'kind'"),
        ("flag", [str(kind == "yes") for kind in KINDS], "the column 'flag' equals the target 'kind'"),
        ("answer", [kind.upper() for kind in KINDS], "the column 'answer' equals the target 'kind'"),
    ],
)
def test_copies_of_the_target_are_refused(name: str, cells: list, message: str, tmp_path: Path) -> None:
    write(tmp_path, **{name: cells})
    assert message in refused(tmp_path)
    assert opened(tmp_path, drop=[name.strip()]).in_shape == (1,)


def test_a_column_that_tells_the_class_in_other_words_is_said(tmp_path: Path) -> None:
    write(tmp_path, colour=["red" if kind == "yes" else "blue" for kind in KINDS])
    assert any("'colour' tells the class of every row" in line for line in opened(tmp_path).notices)


def test_a_value_that_equals_the_target_is_refused(tmp_path: Path) -> None:
    write(tmp_path, again=SIZES)
    assert "the column 'again' equals the target 'size'" in refused(tmp_path, target="size")


def test_time_stamps_keep_their_differences(tmp_path: Path) -> None:
    moments = np.random.default_rng(0).integers(0, 50_000, ROWS)
    write(tmp_path, size=[1_700_000_000_000 + int(moment) for moment in moments])
    write(tmp_path, "small.csv", size=list(map(int, moments)))
    stamps, small = (opened(tmp_path, train).train.inputs for train in ("t.csv", "small.csv"))
    assert float((stamps - small).abs().max()) < 1e-3


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("1e39", "row 40: '1e39' in the column 'x' is not finite in float32"),
        ("inf", "row 40: 'inf' in the column 'x' is not finite"),
        ("1e30", "which float32 cannot tell apart beside 1e+30 ('t.csv', row 40). Set scale=ranks"),
    ],
)
def test_what_float32_cannot_hold_is_refused(cell: str, message: str, tmp_path: Path) -> None:
    write(tmp_path, x=[*map(str, range(ROWS - 1)), cell])
    assert message in refused(tmp_path, test_share=1, validation=1)


def test_a_text_target_of_too_many_classes_is_refused(tmp_path: Path) -> None:
    write(tmp_path, name=[f"n{row // 2 if row < 30 else row}" for row in range(ROWS)])
    assert "target: 'name' holds 25 different texts in 40 rows" in refused(tmp_path, target="name")


def test_many_whole_numbers_name_the_knob(tmp_path: Path) -> None:
    write(tmp_path, count=list(range(ROWS)))
    assert any("kind=classes" in line for line in opened(tmp_path, target="count", drop=["size"]).notices)


def test_classes_are_counted_by_part(tmp_path: Path) -> None:
    write(tmp_path)
    assert opened(tmp_path).notices[-1] == "rows of each class (train / validation): no 16 / 5, yes 8 / 3."


def test_labels_of_other_parts_mean_the_same(tmp_path: Path) -> None:
    write(tmp_path, kind=[row % 2 for row in range(ROWS)])
    write(tmp_path, "test.csv", kind=["1.0", " 0", "01", "0.0"] * (ROWS // 4))
    task = opened(tmp_path, test="test.csv")
    task.setup("test")
    assert task.test is not None
    assert task.test.targets.tolist() == [1, 0, 1, 0] * (ROWS // 4)


def test_of_the_test_file_the_header_alone_is_looked_at(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, "test.csv", size=["none of these is a number"] * ROWS)
    opened(tmp_path, test="test.csv").check_test_part()
    (tmp_path / "short.csv").write_text("size\n1\n")
    with pytest.raises(ValueError, match=r"test: 'short\.csv' lacks the columns \(kind\)"):
        opened(tmp_path, test="short.csv").check_test_part()


def test_a_number_that_stands_for_nothing_does_so_however_it_is_written(tmp_path: Path) -> None:
    write(tmp_path, x=["-999", "1.5", "2", "3"] * (ROWS // 4))
    write(tmp_path, "u.csv", x=["-999.0", "1.5", "2.0", "3"] * (ROWS // 4))
    x = arrow.array([-999, 1.5, 2, 3] * (ROWS // 4))
    parquet.write_table(arrow.table({"size": list(map(float, SIZES)), "x": x, "kind": KINDS}), tmp_path / "t.parquet")
    shapes = {opened(tmp_path, file, missing_words=[-999]).fingerprint() for file in ("t.csv", "u.csv", "t.parquet")}
    assert len(shapes) == 1
    assert opened(tmp_path, missing_words=[-999], indicator=True).in_shape == (3,)


def test_the_fingerprint_is_that_of_the_data_under_all_knobs_of_columns(tmp_path: Path) -> None:
    write(tmp_path, x=["", "NA", "3", "5"] * (ROWS // 4), c=["", "u"] * (ROWS // 2))
    usual = opened(tmp_path).fingerprint()
    for knobs in (
        {"log": True, "scale": "ranks"},
        {"missing": "zero", "indicator": True},
        {"missing_category": "frequent"},
    ):
        assert opened(tmp_path, **knobs).fingerprint() == usual


def test_a_word_that_may_be_a_gap_is_said_and_can_be_made_one(tmp_path: Path) -> None:
    write(tmp_path, fence=["None", "wood"] * (ROWS // 2))
    assert any(line.startswith("'None' in the column 'fence' (20 rows)") for line in opened(tmp_path).notices)
    names = opened(tmp_path, missing_words=["None"])._learnt.features.names  # type: ignore[attr-defined]
    assert names == ("size", "fence missing", "fence=wood")
    frequent = opened(tmp_path, missing_words=["None"], missing_category="frequent")
    assert frequent._learnt.features.names == ("size", "fence=wood")  # type: ignore[attr-defined]


def test_dates_in_several_forms_are_called_dates(tmp_path: Path) -> None:
    days = [f"{1 + row // 2:02}" for row in range(ROWS)]
    write(tmp_path, when=[f"{day}/03/2024" if row % 2 else f"2024-01-{day}" for row, day in enumerate(days)])
    line = refused(tmp_path)
    assert line.startswith("drop: the column 'when' holds ")
    assert line.endswith("which are dates, but not in one form: write them all as 2026-12-31, or add it to drop.")


def test_a_column_without_a_name_is_said(tmp_path: Path) -> None:
    write(tmp_path, **{"": [f"{(7 * row) % 11}.5" for row in range(ROWS)]})
    task = opened(tmp_path)
    assert task.in_shape == (2,)
    assert "a column has no name in the header: it is called 'Unnamed: 2', and is learnt from." in task.notices
