"""Exported files answer without torch, Lightning, Optuna or Hydra: a process that predicts loads none of them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from kirigami import tasks
from kirigami.models import build_network, compact, graph
from kirigami.search.export.files import written
from kirigami.search.export.finish import Finished

pytestmark = pytest.mark.usefixtures("operators_once")

HEAVY = ("torch", "lightning", "sklearn", "optuna", "sqlalchemy", "hydra", "omegaconf", "scipy", "plotly", "datasets")
PREDICT = f"""
import sys
from kirigami.search.command.cli import main
for words in {{calls}}:
    assert main(words) == 0, words
print(sorted(set({HEAVY}) & set(sys.modules)))
"""


def save(network: nn.Module, sample: torch.Tensor, folder: Path, **rules: object) -> None:
    """Write both forms of a network, with rules of how raw data are read."""
    folder.mkdir()
    metadata = {"preparation": json.dumps(rules)}
    made = graph.to_onnx(network.eval(), sample, classes=["no", "yes"], metadata=metadata)
    (folder / "model.onnx").write_bytes(made)
    extra = {"graph": graph.cut(made, network), "about": b"{}"}
    (folder / "model.kgm").write_bytes(compact.encode(network, extra=extra))


def save_mixed(folder: Path) -> None:
    """Write a table of gaps, dates and categories, and both forms of a network that is fed with it."""
    lines = [f"{n * n if n % 7 else ''},2024-01-0{1 + n % 9},{'red' if n % 2 else 'green'},{n % 2}" for n in range(60)]
    (folder / "mixed.csv").write_text("\n".join(["size,when,colour,good", *lines]) + "\n")
    task = tasks.build({"name": "table", "train": str(folder / "mixed.csv"), "target": "good"}, seed=0)
    task.setup("fit")
    config = {"name": "mlp", "width": 4, "depth": 1}
    network = build_network(config, in_shape=task.in_shape, out_features=task.out_features).eval()
    (folder / "mixed").mkdir()
    for name, content in written(Finished(network, 0.0, 0.0), config, [], task).items():
        (folder / "mixed" / name).write_bytes(content)


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Path]:
    """Write networks of four kinds of tasks, and rows for each; return the rows by the network's folder."""
    drawn = np.random.default_rng(0)
    mlp = build_network({"name": "mlp", "width": 4, "depth": 1}, in_shape=(3,), out_features=2)
    save(mlp, torch.zeros(2, 3), tmp_path / "table")
    np.savetxt(tmp_path / "rows.csv", drawn.normal(size=(5, 3)), delimiter=",", header="a,b,c", comments="")
    convnet = build_network({"name": "convnet", "width": 4, "depth": 1}, in_shape=(1, 8, 8), out_features=2)
    rules = {"channels": 1, "height": 8, "width": 8, "white": 1.0}
    save(convnet, torch.zeros(2, 1, 8, 8), tmp_path / "pictures", picture=rules)
    Image.fromarray(drawn.integers(0, 255, (8, 8), np.uint8)).save(tmp_path / "one.png")
    text = build_network({"name": "gru", "width": 4, "depth": 1}, in_shape=(6,), out_features=9, vocabulary=9)
    save(text, torch.zeros(2, 6, dtype=torch.int64), tmp_path / "text", characters="abcdefgh")
    (tmp_path / "text.txt").write_text("bad cabbage fed")
    save_mixed(tmp_path)
    rows = {"table": "rows.csv", "pictures": "one.png", "text": "text.txt", "mixed": "mixed.csv"}
    return {kind: tmp_path / file for kind, file in rows.items()}


def test_nothing_heavy_is_loaded(data: dict[str, Path], tmp_path: Path) -> None:
    files = [(kind, tmp_path / kind / name) for kind in data for name in ("model.onnx", "model.kgm")]
    calls = [["predict", str(file), str(data[kind]), f"to={file}.csv"] for kind, file in files]
    calls += [["inspect", str(file)] for _, file in files]
    code = PREDICT.format(calls=calls)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    answers = {kind: [Path(f"{file}.csv").read_text() for of, file in files if of == kind] for kind in data}
    for kind, (onnx, compact_file) in answers.items():
        assert onnx == compact_file, kind
        assert onnx.count("\n") > 1
