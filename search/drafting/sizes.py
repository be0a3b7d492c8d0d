"""Knobs that suit the data: how long a trial trains, how large its file may be, how many trials, what stops them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kirigami import models
from kirigami.search.drafting.looking import Look

STEPS = 900
"""Optimiser steps of a full trial: for more rows there are fewer epochs."""
LEAST_EPOCHS, MOST_EPOCHS = 9, 60
MOST_ROWS = 100_000
"""Rows of a table that a trial trains on; of more, a share is enough to choose by."""
OVERHEAD = 1500
"""Bytes of a file beside its weights: graph, preparation, names."""
SMALLEST, LARGEST = 16, 256
"""Rows of a batch."""


@dataclass(frozen=True)
class Form:
    """What a search for one kind of data varies.

    Attributes:
        network: its name.
        usual: a network that is large enough for most such data: its size is the limit.
        space: of the network.
        trials: of the study.
    """

    network: str
    usual: Mapping[str, Any]
    space: Mapping[str, Any]
    trials: int


FORMS = {
    "table": Form(
        "mlp",
        {"width": 32, "depth": 2},
        {
            "width": {"low": 4, "high": 64, "log": True},
            "depth": {"low": 0, "high": 3},  # of 0 it is a linear model
            "dropout": {"low": 0.0, "high": 0.3},
            "norm": {"choices": ["none", "batch"]},
        },
        30,
    ),
    "images": Form(
        "convnet",
        {"width": 16, "depth": 3},
        {
            "width": {"low": 4, "high": 24, "step": 4},
            "depth": {"low": 2, "high": 4},
            "dropout": {"low": 0.0, "high": 0.3},
        },
        20,
    ),
    "text": Form(
        "gru",
        {"width": 96, "depth": 1},
        {
            "width": {"low": 16, "high": 128, "log": True},
            "depth": {"low": 1, "high": 2},
            "dropout": {"low": 0.0, "high": 0.3},
        },
        20,
    ),
}


@dataclass(frozen=True)
class Sizes:
    """The numbers of a study.

    Attributes:
        startup: trials that nothing stops early: the others are compared with their median.
        warmup: epochs before which no trial is stopped.
        fraction: of the train rows that trials train on.
    """

    epochs: int
    batch_size: int
    trials: int
    bytes: int
    startup: int
    warmup: int
    fraction: float


def sizes_of(look: Look) -> Sizes:
    """Return numbers that suit the data."""
    form = FORMS[look.name]
    fraction = 1.0 if look.rows <= MOST_ROWS else _two_digits(MOST_ROWS / look.rows)
    rows = round(look.rows * fraction)
    batch_size = 2 ** round(math.log2(min(max(rows / 20, SMALLEST), LARGEST)))
    epochs = round(min(max(STEPS * batch_size / rows, LEAST_EPOCHS), MOST_EPOCHS))
    return Sizes(
        epochs=epochs,
        batch_size=batch_size,
        trials=form.trials,
        bytes=int(_two_digits(4 * _weights(look, form) + OVERHEAD)),
        startup=form.trials // 3,
        warmup=epochs // 3,
        fraction=fraction,
    )


def objective_of(look: Look) -> str:
    """Return the metric by which to choose: of rare classes one in which each class counts alike."""
    if look.task.kind != "classes":
        return {"values": "rmse", "characters": "bits"}.get(look.task.kind, look.task.default_metric)
    counts = look.counts()
    return "balanced_accuracy" if min(counts.values()) < 0.75 * sum(counts.values()) / len(counts) else "accuracy"


def _weights(look: Look, form: Form) -> int:
    """Count the weights of the usual network for these data."""
    task = look.task
    network = models.networks.build_network(
        {"name": form.network, **form.usual},
        in_shape=task.in_shape,
        out_features=task.out_features,
        vocabulary=task.vocabulary,
    )
    return sum(weight.numel() for weight in network.parameters())


def _two_digits(value: float) -> float:
    """Round up to two significant digits."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return round(math.ceil(value / unit - 1e-9) * unit, 12)
