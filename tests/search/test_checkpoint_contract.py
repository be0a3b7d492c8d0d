"""Whatever a trial is made of: from a checkpoint it ends with the same bits as without a stop.

Every file of the groups below is a case, so that a new technique, regime, optimiser or schedule is found by itself.
"""

import copy
import functools
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
import torch

from kirigami import conf
from kirigami.search.config.compose import compose
from kirigami.search.config.resolve import resolve
from kirigami.search.training import alone as trial
from kirigami.search.training.job import Job, Outcome

EPOCHS = 4
SMALL = (
    *("study=digits_dense", "~space.network", "space=[]", "task.fraction=0.1", "trainer.device=cpu"),
    *("network.width=8", "network.dropout=0.1", "trainer.batch_size=32", f"trainer.epochs={EPOCHS}"),
)
BLOCKS = ("network=resnet", "network.stages=1", "network.blocks=3", "network.depth=20", "network.width=2")
STEPS = ("trainer.steps=14", "trainer.val_every=2")  # four to an epoch: checkpoints between epochs and within
NEEDED = {
    "growth": ("~network.dropout", "growth.params=1500", "growth.every=2", "growth.batches=1"),
    "sharing": BLOCKS,
    "sparsity=influence": ("sparsity.schedule=gradual", "sparsity.updates=4"),
    "sparsity=structured": ("sparsity.updates=4",),
    "regime": ("regime.joint=0.3",),
}
GROUPS = ("growth", "sharing", "sparsity", "bits", "regime")
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


def options(group: str) -> list[str]:
    """Return the files of a group as overrides."""
    files = sorted((Path(conf.__file__).parent / group).glob("*.yaml"))
    return [f"{group}={file.stem}" for file in files if file.stem not in ("none", "backprop")]


def cases() -> Iterator[tuple[str, ...]]:
    """Yield overrides: each file of each group, optimisers with schedules, and some together."""
    for group in GROUPS:
        for option in options(group):
            yield option, *NEEDED.get(group, ()), *NEEDED.get(option, ())
    for pair in zip_longest(options("optimizer"), options("schedule")):
        yield tuple(option for option in pair if option is not None)
    yield *BLOCKS, "sharing=soft", "sharing.pattern=found", "sharing.pressure=1", "sparsity=continuous", "bits=smol"
    yield "network.norm=batch", "weight_entropy=true", "init=closed_form", "imbalance=oversample"
    yield "bits=uniform", "bits.activation_bits=4", "task.coreset=herding", *STEPS
    yield "schedule=lipschitz", "sparsity=structured", "trainer.gradient_clip=0.5", *STEPS
    yield "regime=greedy", "optimizer=adamw", *STEPS
    yield "bits=smol", "sparsity=gradual", "trainer.val_every=2"


def measured(values: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if name not in MEASURED}


def assert_same(one: tuple[Outcome, Job], other: tuple[Outcome, Job]) -> None:
    (found, mine), (expected, its) = one, other
    assert mine.curve == its.curve
    assert measured(found.metrics) == measured(expected.metrics)
    assert measured(mine.details) == measured(its.details)
    tensors, wanted = (outcome.made.network.state_dict() for outcome in (found, expected))
    assert list(tensors) == list(wanted)
    for name, value in wanted.items():
        assert torch.equal(tensors[name], value), name


@pytest.mark.parametrize("overrides", list(cases()), ids=" ".join)
def test_a_trial_goes_on_to_the_same_bits(overrides: tuple[str, ...]) -> None:
    kept = Kept()
    whole = run(overrides, kept)
    assert whole[0].state == "complete"
    fidelities = [fidelity for fidelity, _ in kept.put_in]
    if STEPS[0] in overrides:
        between = "regime=greedy" in overrides  # it puts its rows in as an epoch begins
        assert fidelities == ([4, 8, 12] if between else [2, 4, 6, 8, 10, 12])
        points = [1, 2]  # at the end of the first epoch, and in the second
    else:
        every = 2 if "trainer.val_every=2" in overrides else 1
        assert fidelities == list(range(every, EPOCHS, every))
        points = [len(fidelities) - 1]
    for point in points:
        again = run(overrides, Kept(kept.put_in[point]))
        assert_same(again, whole)
        assert again[1].details["resumed_from"] == {"trial": 7, "fidelity": fidelities[point]}


@pytest.mark.parametrize(
    "overrides",
    [
        (*BLOCKS, "sharing=soft", "sharing.fold=true", "sharing.tau=0.1", "sharing.harden_at=0.4"),
        ("growth=split", "growth.params=9000", "growth.layers=2", "growth.batches=1", "~network.dropout"),
    ],
    ids=["folded", "deeper"],
)
def test_after_other_parameters_there_are_no_checkpoints(overrides: tuple[str, ...]) -> None:
    """The optimiser of a fresh network would not hold them in the same order."""
    kept = Kept()
    outcome, _ = run(overrides, kept)
    assert outcome.state == "complete"
    assert [fidelity for fidelity, _ in kept.put_in] == [1]


def test_writing_checkpoints_changes_nothing() -> None:
    assert_same(run(("network.norm=batch",), Kept()), run(("network.norm=batch",)))
