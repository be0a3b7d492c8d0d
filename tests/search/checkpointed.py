"""Small trials with checkpoints, in memory or in a folder, and what has to be equal of two of them."""

import copy
import functools
import os
from collections.abc import Iterator
from typing import Any

import torch

from kirigami.search.config.compose import compose
from kirigami.search.config.resolve import resolve
from kirigami.search.storage.artifacts import Folder
from kirigami.search.training import alone as trial
from kirigami.search.training.job import Job, Outcome

EPOCHS = 4
DATA = b"state " * 1000


SMALL = (
    *("study=digits_dense", "~space.network", "space=[]", "task.fraction=0.1", "trainer.device=cpu"),
    *("network.width=8", "network.dropout=0.1", "trainer.batch_size=32", f"trainer.epochs={EPOCHS}"),
)


BLOCKS = ("network=resnet", "network.stages=1", "network.blocks=3", "network.depth=20", "network.width=2")


STEPS = ("trainer.steps=14", "trainer.val_every=2")  # four to an epoch: checkpoints between epochs and within


MEASURED = ("fit_s", "device_s", "seconds", "latency_ms", "latency_sd", "resumed_from")


class Kept:
    """Checkpoints in memory."""

    every_s = 0.0

    def __init__(self, *found: tuple[int, bytes]) -> None:
        self.found = found
        self.put_in: list[tuple[int, bytes]] = []

    def put(self, fidelity: int, data: bytes) -> bool:
        self.put_in.append((fidelity, data))
        return True

    def read(self) -> Iterator[tuple[int, int, bytes]]:
        for fidelity, data in self.found:
            yield 7, fidelity, data

    def drop(self) -> None:
        pass


@functools.cache
def composed(overrides: tuple[str, ...]) -> dict[str, Any]:
    return resolve(compose([*SMALL, *overrides]))


def run(overrides: tuple[str, ...], kept: Kept | None = None) -> tuple[Outcome, Job]:
    job = Job(8, copy.deepcopy(composed(overrides)), lambda fidelity, metrics: None, checkpoints=kept)
    return trial.train(job), job


def measured(values: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if name not in MEASURED}


def assert_same(one: tuple[Outcome, Job], other: tuple[Outcome, Job]) -> None:
    (found, mine), (expected, its) = one, other
    assert mine.curve == its.curve
    assert measured(found.metrics) == measured(expected.metrics)
    assert measured(mine.details) == measured(its.details)
    tensors, wanted = (outcome.trained.network.state_dict() for outcome in (found, expected))
    assert list(tensors) == list(wanted)
    for name, value in wanted.items():
        assert torch.equal(tensors[name], value), name


def files(folder: Folder) -> list[str]:
    return sorted(os.listdir(folder.path)) if folder.path.exists() else []
