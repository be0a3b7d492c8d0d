"""A row is the same numbers whatever stands beside it, in training, in another file, and in what is exported."""

import json
import os
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from torch import nn

from kirigami import tasks
from kirigami.errors import ArgumentError
from kirigami.models import graph
from kirigami.tasks.serving import Preparation
from kirigami.tasks.tables import reader
from kirigami.tasks.tables.features import Features
from tests.tasks.random_tables import ROWS, formats, tables, write

EXAMPLES = int(os.environ.get("KIRIGAMI_EXAMPLES", "50"))
KNOBS = {
    "scale": st.sampled_from(["standard", "robust", "ranks"]),
    "missing": st.sampled_from(["median", "mean", "zero"]),
    "missing_category": st.sampled_from(["own", "frequent"]),
    "indicator": st.booleans(),
    "log": st.booleans(),
}


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(tables(), formats(), formats(), st.fixed_dictionaries(KNOBS), st.randoms(use_true_random=False))
def test_a_row_is_the_same_in_training_and_when_it_is_served(columns, form, other, knobs, random) -> None:  # type: ignore[no-untyped-def]
    with tempfile.TemporaryDirectory() as folder:
        train = write(Path(folder), "train", columns, form)
        config = {"name": "table", "train": str(train), "target": "kind", **knobs}
        task = tasks.build(config, seed=0)
        try:
            task.setup("test")
        except ArgumentError as error:
            event(f"refused: {error.argument}")
            return
        event("learnt")
        rules = json.loads(json.dumps(task.preparation()))
        features = Features.from_dict(rules)
        order = random.sample(range(ROWS), random.randint(1, ROWS))
        some = {name: [cells[row] for row in order] for name, cells in columns.items() if name != "kind"}
        served = features.raw(reader.read("", (write(Path(folder), "served", some, other),), features.reading), "")
        everything = features.raw(reader.read("", (train,), features.reading), "")
    np.testing.assert_array_equal(served, everything[order])
    prepared = Preparation(rules)(torch.from_numpy(everything))
    trained = torch.cat([task.train.inputs, task.validation.inputs, task.test.inputs])
    assert prepared.dtype == trained.dtype == torch.float32
    assert sorted(map(tuple, prepared.tolist())) == sorted(map(tuple, trained.tolist()))
    alone = torch.cat([Preparation(rules)(torch.from_numpy(row[None])) for row in everything[:5]])
    assert torch.equal(alone, prepared[:5])


@pytest.mark.parametrize(
    "knobs", [{"scale": "standard"}, {"scale": "robust", "log": True}, {"scale": "ranks", "indicator": True}], ids=str
)
def test_the_exported_preparation_gives_the_same_inputs(knobs: dict, tmp_path: Path) -> None:
    drawn = np.random.default_rng(0)
    rows = {
        "stamp": [str(1_700_000_000_000 + int(second)) for second in drawn.integers(0, 10**8, 400)],
        "size": [f"{value:.3f}" if value > 1 else "" for value in drawn.exponential(20, 400)],
        "colour": drawn.choice(["red", "green", ""], 400).tolist(),
        "kind": ["no", "yes"] * 200,
    }
    form = {"separator": ",", "encoding": "utf-8", "suffix": ".csv"}
    task = tasks.build(
        {"name": "table", "train": str(write(tmp_path, "t", rows, form)), "target": "kind", **knobs}, seed=0
    )
    task.setup("test")
    raw, preparation = task.raw_test(), Preparation(task.preparation())
    session = onnxruntime.InferenceSession(graph.to_onnx(nn.Identity(), raw[:2], preprocessing=preparation))
    assert session.get_inputs()[0].type == "tensor(double)"
    outputs = session.run(None, {"input": raw.numpy()})[0]
    np.testing.assert_allclose(outputs, task.test.inputs.numpy(), rtol=2e-7, atol=2e-7)  # a last digit of float32
    assert (outputs == task.test.inputs.numpy()).mean() > 0.99
