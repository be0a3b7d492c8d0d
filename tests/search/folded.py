"""A small table and the trials of several networks on it."""

from pathlib import Path

import numpy as np
import pandas as pd

from kirigami.search.config.compose import compose
from kirigami.search.config.resolve import resolve
from kirigami.search.training.job import Job

EPOCHS = 3


def write_table(folder: Path) -> Path:
    """Write 90 rows of three numbers, of which one tells the answer, most of the time."""
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(generator.normal(size=(90, 3)), columns=["a", "b", "c"])
    frame["left"] = np.where(frame["a"] + generator.normal(size=90) > 0, "yes", "no")
    frame.to_csv(folder / "rows.csv", index=False)
    return folder


def job_of(data, validation="{folds: 3}", *more, metric="auc", kept=None, on_report=None):
    config = resolve(
        compose(
            [
                *("study=digits_dense", "~space.network", "space=[]", "task=table", f"task.path={data}"),
                *("task.train=rows.csv", "task.target=left", f"task.validation={validation}"),
                *("network=mlp", "network.dropout=0", "trainer.batch_size=32", "trainer.device=cpu"),
                *(f"trainer.epochs={EPOCHS}", f"objective={metric}", *more),
            ]
        )
    )
    return Job(8, config, on_report or (lambda fidelity, metrics: None), checkpoints=kept)
