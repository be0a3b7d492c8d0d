"""A budget in one currency: parameters, multiplications, milliseconds on this device, or bytes of memory."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize

from kirigami.errors import ArgumentError
from kirigami.models import cost
from kirigami.models.compact import plain

CURRENCIES: dict[str, Callable[[nn.Module, Tensor], float]] = {
    "params": lambda network, _: float(cost.parameters(network)),
    "macs": lambda network, inputs: float(cost.macs(network, inputs)),
    "latency_ms": lambda network, inputs: cost.latency_ms(network, inputs),
    "memory": lambda network, inputs: float(cost.memory_bytes(network, inputs)),
}


@dataclass(frozen=True)
class Budget:
    """The cost that a network may have, and the tolerance around it.

    Attributes:
        currency: a name in `CURRENCIES`: "params"; "macs" for one sample; "latency_ms" and "memory", in bytes, for a
            whole batch.
        amount: above 0.
        hysteresis: share of the amount by which the cost may lie above or below it, in [0, 1).
    """

    currency: str
    amount: float
    hysteresis: float = 0.05

    def measure(self, network: nn.Module, inputs: Tensor, repeats: int = 50) -> float:
        """Return the network's present cost, without links; `repeats` is the number of timed passes."""
        network = without_links(network)
        if self.currency == "latency_ms":
            return cost.latency_ms(network, inputs, repeats)
        return CURRENCIES[self.currency](network, inputs)

    def side(self, measured: float, part: float = 1.0) -> int:
        """Return -1 where the network has to shrink, 1 where it may grow, 0 inside the band, or a part of it."""
        share = measured / self.amount
        if share > 1 + part * self.hysteresis:
            return -1
        return 1 if share < 1 - part * self.hysteresis else 0


def without_links(network: nn.Module) -> nn.Module:
    """Return the network, or a copy with plain tensors in place of links, which only serve training."""
    return plain(network) if any(parametrize.is_parametrized(module) for module in network.modules()) else network


def one_budget(hysteresis: float, **amounts: Any) -> Budget:
    """Return the budget of the one amount that is not None.

    Raises:
        ValueError: where none or several are given, or a number is out of its range.
    """
    limits = {name: amount for name, amount in amounts.items() if amount is not None}
    if len(limits) != 1:
        names = f"({', '.join(amounts)})"
        problem = f"growth needs exactly one budget of {names}, but got ({', '.join(limits) or 'none'})."
        raise ArgumentError("", problem, ("params", "NUMBER, for example, and leave the others out"))
    ((name, amount),) = limits.items()
    if isinstance(amount, bool) or not isinstance(amount, int | float) or not 0 < amount < float("inf"):
        raise ArgumentError(name, f"must be above 0, but got {amount!r}.")
    if not 0 <= hysteresis < 1:
        raise ArgumentError("hysteresis", f"must be at least 0 and below 1, but got {hysteresis}.")
    return Budget(name, float(amount), hysteresis)
