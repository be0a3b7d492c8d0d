"""`predict` sees a picture as training saw it: same channels, depth, orientation, size, whatever file it came in."""

import os
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kirigami import models, tasks
from kirigami.search.errors import InputError
from kirigami.search.export.files import to_onnx
from kirigami.search.export.predict import predict
from kirigami.search.export.predicting.pictures import read_picture_rows, read_pictures
from kirigami.search.export.predicting.tables import read_table
from kirigami.tasks.pictures.decode import Rules
from tests.tasks.picture_files import Drawn, encode, image_of, pictures, write_parquet

EXAMPLES = int(os.environ.get("KIRIGAMI_EXAMPLES", "50"))


def _check_reason(line: str, drawn: list[Drawn]) -> None:
    """Pictures are refused for what they hold only: values beside whole numbers, or nothing to tell apart."""
    has_values = [picture.mode in ("I", "F") for picture in drawn]
    reason = "have no scale in common" if any(has_values) and not all(has_values) else "only, once they are decoded"
    assert reason in line
    assert "\n" not in line


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    st.lists(pictures(), min_size=4, max_size=7), st.sampled_from([None, 1, 3]), st.sampled_from([5, 8]), st.booleans()
)
def test_training_and_predict_see_the_same(drawn: list[Drawn], channels: int | None, size: int, in_rows: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, picture in enumerate(drawn):
            place = folder / "train" / "ab"[number % 2]
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{number}{picture.suffix}").write_bytes(picture.encoded)
        config = {"name": "images", "path": name, "channels": channels, "size": size, "validation": 1, "test_share": 1}
        task = tasks.build(config, seed=0)
        try:
            task.setup("test")
        except ValueError as error:  # floats beside whole numbers, or one value everywhere
            _check_reason(str(error), drawn)
            return
        rules = task.preparation()["picture"]
        assert isinstance(rules, dict)
        assert task.test is not None
        seen = [row.numpy().tobytes() for part in (task.train, task.validation, task.test) for row in part.inputs]
        if in_rows:
            write_parquet(folder / "rows.parquet", [picture.encoded for picture in drawn])
            answer = read_picture_rows(folder / "rows.parquet", rules)
            assert answer is not None
            rows = np.concatenate(list(answer[1]))
        else:
            rows = np.concatenate(list(read_pictures(folder, rules)[1]))
        assert sorted(row.tobytes() for row in rows) == sorted(seen)
        assert all(np.isfinite(row.astype(float)).all() for row in rows)


@pytest.mark.usefixtures("operators_once")
@pytest.mark.parametrize(
    "modes", [("I;16", "L"), ("RGBA", "P", "CMYK"), ("F", "F")], ids=["16 bits", "colours", "values"]
)
def test_answers_are_those_of_the_trained_network(modes: tuple[str, ...], tmp_path: Path) -> None:
    for number in range(24):
        folder = tmp_path / "data" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        image = image_of(modes[number // 2 % len(modes)], 7, 5, seed=number)
        (folder / f"{number:02d}.tif").write_bytes(encode(image, "TIFF", 1 + number % 8))
    task = tasks.build({"name": "images", "path": str(tmp_path / "data"), "size": 6}, seed=0)
    task.setup("test")
    torch.manual_seed(0)
    config = {"name": "convnet", "width": 4, "depth": 1}
    network = models.build_network(config, in_shape=task.in_shape, out_features=task.out_features).eval()
    (tmp_path / "model.onnx").write_bytes(to_onnx(network, task))
    to = predict(tmp_path / "model.onnx", tmp_path / "data", tmp_path / "answers.csv")
    assert to is not None
    shares = []
    for split in (task.train, task.validation, task.test):
        assert split is not None
        inputs = task.transform(training=False)(split.inputs, None)
        with torch.no_grad():
            shares += network(inputs).softmax(dim=1).max(dim=1).values.tolist()
    assert sorted(pandas.read_csv(to)["share"]) == pytest.approx(sorted(shares), abs=2e-4)


def test_another_size_is_refused_where_training_refused_it(tmp_path: Path) -> None:
    image_of("L", 7, 5, seed=0).save(tmp_path / "x.png")
    with pytest.raises(InputError, match=r"x\.png is 7x5 pixels, not 6x6\. Resize it, or .* task\.size=6"):
        list(read_pictures(tmp_path, Rules(1, 6, 6).to_dict())[1])
    _, batches = read_pictures(tmp_path, Rules(1, 6, 6, resize=True).to_dict())
    assert next(batches).shape == (1, 1, 6, 6)


def test_which_column_is_read(tmp_path: Path) -> None:
    cells = [encode(image_of("L", 6, 6, seed), "PNG") for seed in range(6)]
    table = {"photo": cells[:3], "mask": cells[3:], "number": [1, 2, 3]}
    file = tmp_path / "rows.parquet"
    pandas.DataFrame(table).to_parquet(file)
    rules = Rules(1, 6, 6).to_dict()
    for column, first in (("photo", 0), ("mask", 3)):
        answer = read_picture_rows(file, {**rules, "column": column})
        assert answer is not None
        assert np.array_equal(next(answer[1])[0, 0], np.asarray(image_of("L", 6, 6, first)))
    with pytest.raises(InputError, match=r"which column of '.*' holds the pictures\? \(photo, mask\)"):
        read_picture_rows(file, rules)
    pandas.DataFrame({**table, "mask": [cells[3], None, cells[4]]}).to_parquet(file)
    with pytest.raises(InputError, match=r"rows\.parquet, row 1 holds no encoded picture: its 'mask' is empty\.$"):
        read_picture_rows(file, {**rules, "column": "mask"})
    pandas.DataFrame({"number": [1, 2, 3]}).to_parquet(file)
    assert read_picture_rows(file, rules) is None


def test_rows_of_pixels_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    argument = SimpleNamespace(shape=["batch", 1, 1, 2], type="tensor(uint8)")
    for row, wrong in (("7,300", "300"), ("0.5,7", "0.5"), ("-1,7", "-1")):
        file = tmp_path / f"{wrong}.csv"
        file.write_text(f"a,b\n1,255\n{row}\n")
        with pytest.raises(InputError, match=rf"row 1, number \d: {wrong} is no whole number of 0 to 255"):
            read_table(file, argument, {})
    (tmp_path / "rows.csv").write_text("a,b\n1,255\n")
    assert read_table(tmp_path / "rows.csv", argument, {})[1].tolist() == [[[[1, 255]]]]
