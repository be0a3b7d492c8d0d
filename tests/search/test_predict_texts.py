"""`predict` on a text: what comes next, and the bits a character that the task would measure."""

import json
import os
import re
import tempfile
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kirigami import models, tasks
from kirigami.search.command import cli
from kirigami.search.errors import InputError
from kirigami.search.export.files import to_onnx
from kirigami.search.export.predict import predict
from kirigami.search.export.predicting.texts import answer_texts

pytestmark = pytest.mark.usefixtures("operators_once")
SENTENCE = "the quick brown fox jumps over the lazy dog, naïvely.\n"
LENGTH = 8
EXAMPLES = int(os.environ.get("KIRIGAMI_EXAMPLES", "50"))


def opened(path: Path, **arguments: object) -> tasks.Task:
    task = tasks.build({"name": "text", "path": str(path), "length": LENGTH, **arguments}, seed=0)
    task.setup("fit")
    return task


def write_model(task: tasks.Task, file: Path) -> torch.nn.Module:
    torch.manual_seed(0)
    config = {"name": "gru", "width": 6, "depth": 1}
    network = models.build_network(
        config, in_shape=task.in_shape, out_features=task.out_features, vocabulary=task.vocabulary
    ).eval()
    file.write_bytes(to_onnx(network, task))
    return network


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "train.txt").write_text(SENTENCE * 20, encoding="utf-16")
    write_model(opened(tmp_path / "train.txt", encoding="utf-16"), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_bits_are_those_of_the_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    test = (SENTENCE * 3)[: 6 * LENGTH + 1]
    for part, text in (("train", SENTENCE * 20), ("validation", SENTENCE * 4), ("test", test)):
        (tmp_path / f"{part}.txt").write_text(text, encoding="cp1252")
    task = opened(tmp_path, encoding="cp1252")
    network = write_model(task, tmp_path / "model.onnx")
    task.setup("test")
    assert task.test is not None
    with torch.no_grad():
        wanted = task.evaluate(network(task.test.inputs), task.test.targets)["bits"]
    to = predict(tmp_path / "model.onnx", tmp_path / "test.txt", tmp_path / "answer.csv")
    assert to is not None
    rows = pandas.read_csv(to, keep_default_na=False)
    assert f"{6 * LENGTH} characters foretold at {wanted:.4f} bits each" in capsys.readouterr().err
    assert [int(start) for start in rows["input"]] == [0, 8, 16, 24, 32, 40, 41]
    assert rows["bits"].to_list()[-1] == ""
    assert np.mean([float(bits) for bits in rows["bits"][:-1]]) == pytest.approx(wanted, abs=1e-3)


def test_the_last_row_foretells_what_comes_after_the_text(model: Path, tmp_path: Path) -> None:
    (tmp_path / "story.txt").write_text(SENTENCE, encoding="utf-16")
    frames = []
    for text in (SENTENCE[:20], SENTENCE[12:20]):
        (tmp_path / "story.txt").write_text(text, encoding="utf-16")
        to = predict(model, tmp_path / "story.txt", tmp_path / "answer.csv")
        assert to is not None
        frames.append(pandas.read_csv(to))
    assert frames[0][["next", "share"]].iloc[-1].equals(frames[1][["next", "share"]].iloc[-1])


def test_unknown_characters_are_counted_and_said(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "story.txt").write_text("the quick ☃☃ fox é", encoding="utf-16")
    assert cli.main(["predict", str(model), str(tmp_path / "story.txt")]) == 0
    assert "3 of 18 characters are none of the" in capsys.readouterr().err


def test_texts_that_cannot_be_read_are_named(model: Path, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("four", encoding="utf-16")
    with pytest.raises(InputError, match=r"short\.txt: has 4 characters, but the network reads 8 at a time"):
        predict(model, tmp_path / "short.txt", None)
    (tmp_path / "other.txt").write_bytes(b"abc")
    with pytest.raises(InputError, match=r"^'.*other\.txt' cannot be read as utf-16 text: "):
        predict(model, tmp_path / "other.txt", None)


def test_a_text_is_read_from_a_column_as_in_training(model: Path, tmp_path: Path) -> None:
    pandas.DataFrame({"text": [SENTENCE.strip(), SENTENCE.strip()]}).to_parquet(tmp_path / "story.parquet")
    (tmp_path / "story.txt").write_text((SENTENCE * 2).strip(), encoding="utf-16")
    answers = []
    for name in ("story.parquet", "story.txt"):
        to = predict(model, tmp_path / name, tmp_path / f"{name}.csv")
        assert to is not None
        answers.append(to.read_text())
    assert answers[0] == answers[1]
    assert answers[0].count("\n") > 2


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=80),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=5, max_size=60),
    st.sampled_from([None, "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "gb18030"]),
    st.booleans(),
)
def test_training_and_predict_number_the_same_characters(
    train: str, test: str, encoding: str | None, in_rows: bool
) -> None:
    with tempfile.TemporaryDirectory() as name:
        texts = {"train": train * 40, "validation": test * 2, "test": test * 2}
        for part, text in texts.items():
            if in_rows:
                pandas.DataFrame({"text": [text]}).to_parquet(Path(name, f"{part}.parquet"))
            else:
                Path(name, f"{part}.txt").write_bytes(text.encode(encoding or "utf-8"))
        task = tasks.build({"name": "text", "path": name, "length": 4, "encoding": encoding}, seed=0)
        try:
            task.setup("test")
        except ValueError as error:  # a text that shrinks below a window where line ends become one character
            line = str(error)
            assert re.match("length must be below|path: .* holds null characters|path: .* cannot be read as", line), (
                line
            )
            return
        rules = json.loads(json.dumps(task.preparation()))
        seen: list[np.ndarray] = []

        def run(rows: np.ndarray) -> np.ndarray:
            seen.append(rows)
            return np.zeros((*rows.shape, task.out_features))

        answer = answer_texts(Path(name, "test.parquet" if in_rows else "test.txt"), rules, 4, run)
        assert task.test is not None
        wanted = task.test.inputs.numpy()
        assert np.array_equal(seen[0][: len(wanted)], wanted)
        assert answer["bits"][0] == pytest.approx(np.log2(task.out_features), abs=1e-3)
