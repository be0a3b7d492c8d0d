"""Whatever a trial is made of: from a checkpoint it ends with the same bits as without a stop.

Every file of the groups below is a case, so that a new technique, regime, optimiser or schedule is found by itself.
"""

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import pytest

from kirigami import conf
from tests.search.checkpointed import BLOCKS, EPOCHS, STEPS, Kept, assert_same, run

NEEDED = {
    "growth": ("~network.dropout", "growth.params=1500", "growth.every=2", "growth.batches=1"),
    "sharing": BLOCKS,
    "sparsity=influence": ("sparsity.schedule=gradual", "sparsity.updates=4"),
    "sparsity=structured": ("sparsity.updates=4",),
    "regime": ("regime.joint=0.3",),
    "optimizer=own": ("optimizer._target_=torch.optim.NAdam",),
    "schedule=own": ("schedule._target_=torch.optim.lr_scheduler.ExponentialLR", "+schedule.gamma=0.7"),
}
OWN_PARTS = (
    *("optimizer._target_=torch.optim.RAdam", "output.loss._target_=torch.nn.CrossEntropyLoss"),
    *("schedule._target_=torch.optim.lr_scheduler.ReduceLROnPlateau", "+schedule.patience=0", "schedule.monitor=loss"),
    "trainer.callbacks=[{_target_: lightning.pytorch.callbacks.EarlyStopping, monitor: loss, patience: 9}]",
)
GROUPS = ("growth", "sharing", "sparsity", "bits", "regime")


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
        chosen = [option for option in pair if option is not None]
        yield *chosen, *(needed for option in chosen for needed in NEEDED.get(option, ()))
    yield *BLOCKS, "sharing=soft", "sharing.pattern=found", "sharing.pressure=1", "sparsity=continuous", "bits=smol"
    yield "network.norm=batch", "weight_entropy=true", "init=closed_form", "imbalance=oversample"
    yield "bits=uniform", "bits.activation_bits=4", "task.coreset=herding", *STEPS
    yield "schedule=lipschitz", "sparsity=structured", "trainer.gradient_clip=0.5", *STEPS
    yield "regime=greedy", "optimizer=adamw", *STEPS
    yield "bits=smol", "sparsity=gradual", "trainer.val_every=2"
    yield OWN_PARTS
    yield *OWN_PARTS, *STEPS


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
