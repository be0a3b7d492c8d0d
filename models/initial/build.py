"""Build the initialisation of a network from its config."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from torch import Tensor, nn

from kirigami.arguments import accept, names
from kirigami.errors import ArgumentError, choose
from kirigami.models.initial.closed import ClosedForm

NAMES = ("default", "closed_form")


class Initial(Protocol):
    """An initialisation that sets a network's weights from the training rows before the first step."""

    def fit(
        self,
        network: nn.Module,
        batches: Iterable[Any],
        kind: str,
        loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> dict[str, float]:
        """Set the weights, and return figures to store with the trial."""
        ...


def build(config: Mapping[str, Any]) -> Initial | None:
    """Build the initialisation of a config.

    Args:
        config: `{name: closed_form, ...}` with the arguments of `ClosedForm`, or `{name: default}`, which leaves the
            weights as the network's constructor drew them.

    Returns:
        An object with `fit`; None for `name: default`.

    Raises:
        ValueError: The name or a key is unknown, or a value is out of its range.
    """
    if "name" not in config:
        raise ArgumentError("name", f"is not set. Choose one of ({', '.join(NAMES)}).")
    name = choose("name", config["name"], NAMES)
    options = {key: value for key, value in config.items() if key != "name"}
    arguments = accept(ClosedForm, options, name="closed_form", siblings=names(ClosedForm))
    return ClosedForm(**arguments) if name == "closed_form" else None
