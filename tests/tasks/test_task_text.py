"""Characters, windows and cuts of a text."""

from pathlib import Path

import pyarrow as arrow
import pytest
import torch
from pyarrow import parquet

from kirigami import tasks
from kirigami.tasks import Task

SENTENCE = "abcdefghijklmnopqrstuvwxyz"


def text(path: Path, seed: int = 0, **arguments: object) -> Task:
    task = tasks.build({"name": "text", "path": str(path), "length": 5, **arguments}, seed=seed)
    task.setup("test")
    return task


def read(task: Task, codes: torch.Tensor) -> str:
    return "".join((task.characters + "?")[code] for code in codes.tolist())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "t.txt").write_text(SENTENCE * 10, encoding="utf-8")
    return tmp_path / "t.txt"


def test_targets_are_the_next_characters(file: Path) -> None:
    task = text(file)
    assert task.characters == SENTENCE
    assert (task.vocabulary, task.out_features, task.in_shape) == (27, 27, (5,))
    assert read(task, task.train.inputs[0]) == "abcde"
    assert read(task, task.train.targets[0]) == "bcdef"
    assert read(task, task.train.inputs[1]) == "fghij"


def test_one_file_is_cut_at_its_end(file: Path) -> None:
    task = text(file, validation=0.1, test_share=26)
    assert read(task, task.test.inputs[0]) == "abcde"
    assert [len(part.targets) for part in (task.train, task.validation, task.test)] == [42, 4, 5]
    train = (260 - 26) - 23
    assert read(task, task.validation.inputs[0]) == (SENTENCE * 10)[train : train + 5]


def test_stride_and_rows(file: Path) -> None:
    every = text(file, stride=1)
    assert read(every, every.train.inputs[1]) == "bcdef"
    assert len(every.validation.targets) == len(text(file).validation.targets)
    few, other = text(file, stride=1, rows=20), text(file, stride=1, rows=20, seed=1)
    assert len(few.train.targets) == 20
    assert not torch.equal(few.train.inputs, other.train.inputs)


def test_unknown_characters_share_the_spare_number(tmp_path: Path) -> None:
    for part, content in (("train", "abababababab"), ("validation", "abxyab"), ("test", "abéab🙂")):
        (tmp_path / f"{part}.txt").write_text(content, encoding="utf-8")
    task = text(tmp_path)
    assert (task.characters, task.vocabulary) == ("ab", 3)
    assert task.validation.inputs.tolist() == [[0, 1, 2, 2, 0]]
    assert task.test.targets.tolist() == [[1, 2, 0, 1, 2]]


def test_parquet_and_text_files_give_the_same(tmp_path: Path, file: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    parquet.write_table(arrow.table({"story": [SENTENCE * 10]}), folder / "train-00000-of-00001.parquet")
    assert text(folder, column="story").fingerprint() == text(file).fingerprint()
    assert text(folder / "train-00000-of-00001.parquet", column="story").fingerprint() == text(file).fingerprint()
    with pytest.raises(ValueError, match=r"^column must be one of \(story\), but got 'text'"):
        text(folder)


def test_rows_are_joined_by_line_ends(tmp_path: Path) -> None:
    parquet.write_table(arrow.table({"text": ["aaaa", None, "bbbb"] * 9}), tmp_path / "train.parquet")
    task = text(tmp_path, validation=0.2, test_share=0.2)
    assert read(task, torch.cat((task.train.inputs[0], task.train.inputs[1]))) == "aaaa\nbbbb\n"


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        (b"", {}, r"path: .* holds no text"),
        (b"\xfa\xfe\xff" * 50, {}, r"path: .* cannot be read as utf-8 text: .* Set encoding=cp1252"),
        (b"abc" * 50, {"length": 100}, r"length must be below \d+, the shortest part's characters, but got 100"),
        (b"abc" * 50, {"validation": 500}, r"validation asks for 500 of \d+ rows"),
        (b"abc" * 50, {"stride": 0}, r"stride must be a whole number of at least 1, but got 0"),
    ],
)
def test_wrong_text(tmp_path: Path, content: bytes, arguments: dict, message: str) -> None:
    (tmp_path / "t.txt").write_bytes(content)
    with pytest.raises(ValueError, match=f"^{message}") as caught:
        text(tmp_path / "t.txt", **arguments)
    assert "\n" not in str(caught.value)


def test_folder_without_text(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^path: .* holds no train-\*\.parquet and no train\.txt"):
        text(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252", "latin-1"])
def test_encodings_are_a_knob(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("naïve größe, " * 20, encoding=encoding)
    task = text(tmp_path / "t.txt", encoding="utf-8" if encoding == "utf-8-sig" else encoding)
    assert task.characters == "".join(sorted(set("naïve größe, ")))


def test_wrong_encodings_are_said(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("naïve, " * 20, encoding="utf-16-le")
    with pytest.raises(ValueError, match=r"^path: .* cannot be read as utf-8 text: .* Set encoding=cp1252"):
        text(tmp_path / "t.txt")
    (tmp_path / "u.txt").write_text("plain, " * 20, encoding="utf-16-le")
    with pytest.raises(ValueError, match=r"^path: .* holds null characters, .* Set encoding=utf-16-le"):
        text(tmp_path / "u.txt")
    with pytest.raises(ValueError, match=r"^encoding must be one that Python knows, but got 'martian'"):
        text(tmp_path / "t.txt", encoding="martian")


def test_characters_that_train_lacks_are_said(tmp_path: Path) -> None:
    for part, content in (("train", "abababababab"), ("validation", "abxyab"), ("test", "abéab🙂")):
        (tmp_path / f"{part}.txt").write_text(content, encoding="utf-8")
    assert text(tmp_path).notices == (
        "validation: 2 of 6 characters are none of the 2 known ones ('x' 1, 'y' 1).",
        "test: 2 of 6 characters are none of the 2 known ones ('é' 1, '🙂' 1).",
    )


def test_a_test_file_without_the_column_is_refused_before(tmp_path: Path) -> None:
    parquet.write_table(arrow.table({"text": [SENTENCE * 10]}), tmp_path / "train.parquet")
    parquet.write_table(arrow.table({"prose": [SENTENCE * 10]}), tmp_path / "test.parquet")
    task = tasks.build({"name": "text", "path": str(tmp_path), "length": 5}, seed=0)
    task.setup("fit")
    with pytest.raises(ValueError, match=r"^column must be one of \(prose\), but got 'text'"):
        task.check_test_part()
