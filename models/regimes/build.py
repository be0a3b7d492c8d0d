"""Build a regime, a method of block-wise training, from its config."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kirigami.arguments import accept, at_least, names
from kirigami.errors import ArgumentError, choose
from kirigami.models.regimes.blocks import AUTO
from kirigami.models.regimes.greedy import Greedy
from kirigami.models.regimes.local import Local
from kirigami.models.regimes.regime import Regime


def partitions(
    blocks: str | Sequence[str] = AUTO,
    partition: int = 2,
    at_once: bool = False,
    window: int = 1,
    joint: float = 0.0,
    joint_rate: float = 0.1,
    cache_mb: float = 1000,
) -> Regime:
    """Build partition-wise training (Øland, 2024): blocks of several layers, each under a head of its own.

    Args:
        blocks: dotted names of the modules at which partitions begin, or "auto".
        partition: layers with weights, or residual blocks, in a partition of "auto".
        at_once: train all partitions at every step, as `Local` does by predictions alone; else one after the other,
            as `Greedy` does. His one device a partition is not built.
        window: partitions that are trained together in a phase, if one after the other.
        joint: share of the run, at its end, in which all is trained together.
        joint_rate: factor of the learning rate meanwhile.
        cache_mb: megabytes for the cached outputs of frozen partitions.
    """
    at_least("partition", partition, 1)
    regime: Regime = (
        Local(blocks, partition, 0.0, joint, joint_rate)
        if at_once
        else Greedy(blocks, partition, window, joint, joint_rate, cache_mb)
    )
    regime.name = "partition"
    return regime


REGIMES: dict[str, Callable[..., Regime]] = {"greedy": Greedy, "local": Local, "partition": partitions}


def build(config: Mapping[str, Any]) -> Regime | None:
    """Build the regime of a config.

    Args:
        config: `{name: local, beta: 0.99, ...}`: a name in `REGIMES` and its arguments, or `{name: backprop}`.
            Arguments of the other regimes are left out.

    Returns:
        The regime, for one `Learner`; None for backprop.

    Raises:
        ValueError: The name or a key is unknown, or a value is out of its range.
    """
    if "name" not in config:
        raise ArgumentError("name", f"is not set. Choose one of (backprop, {', '.join(REGIMES)}).")
    name = choose("name", config["name"], ("backprop", *REGIMES))
    if name == "backprop":
        return None
    options = {key: value for key, value in config.items() if key != "name"}
    siblings = {key for regime in REGIMES.values() for key in names(regime)}
    return REGIMES[name](**accept(REGIMES[name], options, name=name, siblings=siblings))
