"""The Python that a card prints, run where neither this project nor what it needs can be imported."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from PIL import Image

from kirigami import models, tasks
from kirigami.search.export import serving
from kirigami.search.export.card import interface
from kirigami.search.export.files import to_onnx
from kirigami.search.export.predict import predict

pytestmark = pytest.mark.usefixtures("operators_once")

ALONE = """
import sys

class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in {*sys.stdlib_module_names, "numpy", "onnxruntime", *sys.argv[1:]}:
            raise ImportError(f"{name} is not here")

sys.meta_path.insert(0, Nothing())
exec(open("snippet.py").read())
"""
TRAIN = """
size;price;when;sent;code;colour;target
1,5;1.200,00 €;03.02.2024;true;1;red;{}
2,5;2.400,50 €;13.02.2024;false;2;green;{}
?;900,00 €;14.03.2024 12:30;true;A;;{}
4;1.000,00 €;;false;1;blue;{}
"""
SERVED = """
size;price;when;sent;code;colour
2,25;1.111,25 €;31.12.2023 08:15:30;False;2.0;green
;;;;3;
n/a;-5 €;1.3.2024;TRUE;1;pink
3; 2.000,00 €;02.02.2024;true;9; red
"""


def rows(targets: list[str]) -> str:
    head, *lines = TRAIN.strip().splitlines()
    return "\n".join([head, *(lines[place % 4].format(target) for place, target in enumerate(targets))]) + "\n"


def exported(folder: Path, config: dict[str, Any], network: dict[str, Any]) -> dict[str, Any]:
    """Write a network of a task into `folder`; return the part of the card on its inputs and outputs."""
    task = tasks.build(config, seed=0)
    task.setup("fit")
    torch.manual_seed(0)
    shapes = {"in_shape": task.in_shape, "out_features": task.out_features, "vocabulary": task.vocabulary}
    model = to_onnx(models.build_network(network, **shapes).eval(), task)
    (folder / "model.onnx").write_bytes(model)
    return interface(model, task)


def alone(folder: Path, lines: list[str], *packages: str) -> list[str]:
    """Return what the lines print, run in `folder`, where only numpy, ONNX Runtime and `packages` are installed."""
    (folder / "snippet.py").write_text("\n".join(lines))
    run = [sys.executable, "-I", "-c", ALONE, *packages]
    done = subprocess.run(run, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


MLP = {"name": "mlp", "width": 8, "depth": 1}


@pytest.mark.parametrize("kind", ["classes", "values"])
@pytest.mark.parametrize("knobs", [{}, {"missing_words": ["?", "n/a"], "missing_category": "frequent"}])
def test_a_table(kind: str, knobs: dict[str, Any], tmp_path: Path) -> None:
    targets = ["yes", "no", "no", "perhaps"] if kind == "classes" else ["1,5", "2,25", "8", "-3"]
    (tmp_path / "train.csv").write_text(rows(targets * 15))
    config = {"name": "table", "train": str(tmp_path / "train.csv"), "target": "target", "indicator": True, **knobs}
    card = exported(tmp_path, config, MLP)
    (tmp_path / "rows.csv").write_text(SERVED.strip() + "\n")
    answers = predict(tmp_path / "model.onnx", tmp_path / "rows.csv", tmp_path / "answers.csv")
    wanted = pandas.read_csv(answers)["class" if kind == "classes" else "value"]
    printed = alone(tmp_path, serving.code(card))

    if kind == "classes":
        assert printed == wanted.tolist()
    else:
        np.testing.assert_allclose([float(line) for line in printed], wanted, rtol=1e-12)
    coding = {row["column"]: row["coding"] for row in card["columns"]}
    assert list(coding) == ["size", "price", "when", "sent", "code", "colour"]
    assert coding["price"] == "number, written like 1.234,5 €; NaN where it is empty"
    assert coding["when"].startswith("date (d-m-y) in seconds since 1970")
    assert coding["code"].startswith("1 for its category, else 0, in the order `1`, `2`, `A`; any other is all 0")
    assert ("an empty cell counts as" in coding["colour"]) == bool(knobs)


def test_a_plain_table_needs_twenty_lines(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    table = pandas.DataFrame({"a": generator.normal(size=60), "b": generator.choice(["x", "y"], 60)})
    table["target"] = np.where(table["a"] > 0, "up", "down")
    table.to_csv(tmp_path / "rows.csv", index=False)
    card = exported(tmp_path, {"name": "table", "train": str(tmp_path / "rows.csv"), "target": "target"}, MLP)
    lines = serving.code(card)
    answers = predict(tmp_path / "model.onnx", tmp_path / "rows.csv", tmp_path / "answers.csv")

    assert sum(bool(line) for line in lines) <= 20
    assert alone(tmp_path, lines) == pandas.read_csv(answers)["class"].tolist()
    assert "| 0 | a | number; NaN where it is empty |" in serving.page(card)


@pytest.mark.parametrize(("mode", "size"), [("RGB", None), ("L", 8), ("RGBA", 8)])
def test_a_picture(mode: str, size: int | None, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for number in range(24):
        file = tmp_path / "pictures" / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        shape = (12, 12) if mode == "L" else (12, 12, len(mode))
        Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8), mode).save(file)
    config = {"name": "images", "path": str(tmp_path / "pictures"), "size": size}
    card = exported(tmp_path, config, {"name": "convnet", "width": 4, "depth": 1})
    chosen = tmp_path / "pictures" / "a" / "4.png"
    (tmp_path / "picture.png").write_bytes(chosen.read_bytes())
    answers = predict(tmp_path / "model.onnx", chosen, tmp_path / "answers.csv")

    assert alone(tmp_path, serving.code(card), "PIL") == pandas.read_csv(answers)["class"].tolist()
    assert "0 (black) to 255 (white)" in card["inputs"][0]["what"]


def test_a_text(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 40)
    config = {"name": "text", "path": str(tmp_path / "text.txt"), "length": 16, "stride": 16}
    card = exported(tmp_path, config, {"name": "gru", "width": 8})
    (tmp_path / "text.txt").write_text("a quick brown é fox jumped")
    answers = predict(tmp_path / "model.onnx", tmp_path / "text.txt", tmp_path / "answers.csv")

    assert alone(tmp_path, serving.code(card)) == [
        str(pandas.read_csv(answers, keep_default_na=False)["next"].iloc[-1])
    ]
