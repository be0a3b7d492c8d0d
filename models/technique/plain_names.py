"""While a module makes its optimisers, its weights have the names, and are the Parameters, that its author knows.

A weight with a chain of links is computed, and its Parameter is called `parametrizations.weight.original`. Who sorts
parameters by `name.endswith("weight")`, or lists `self.head.weight`, would lose it without a word.
"""

import functools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from kirigami.models.technique.link import Link

HOOK = "configure_optimizers"
STORED = re.compile(r"(^|\.)parametrizations\.([^.]+)\.original$")


def with_plain_names(module: LightningModule) -> None:
    """Let a module make its optimisers under the names and Parameters of a network without links; once."""
    if HOOK in module.__dict__:
        return
    configure = module.configure_optimizers

    @functools.wraps(configure)
    def configured() -> Any:
        module.__dict__.pop(HOOK, None)  # so that the module can be copied
        with plain_names():
            return configure()

    module.__dict__[HOOK] = configured


@contextmanager
def plain_names() -> Iterator[None]:
    """Give every weight that has links alone its own name, and itself as the Parameter, while the block runs."""
    named, computed = nn.Module.named_parameters, ParametrizationList.forward

    def named_plainly(self: nn.Module, *arguments: Any, **options: Any) -> Iterator[tuple[str, nn.Parameter]]:
        ours = {id(chain.original) for chain in self.modules() if _is_ours(chain)}
        for name, parameter in named(self, *arguments, **options):
            yield (STORED.sub(r"\1\2", name) if id(parameter) in ours else name), parameter

    def uncomputed(self: ParametrizationList) -> Tensor:
        return self.original if _is_ours(self) else computed(self)

    nn.Module.named_parameters, ParametrizationList.forward = named_plainly, uncomputed  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.named_parameters, ParametrizationList.forward = named, computed  # type: ignore[method-assign]


def _is_ours(chain: nn.Module) -> bool:
    """Return whether a module is a chain of one stored tensor and of links of ours alone."""
    return isinstance(chain, ParametrizationList) and chain.is_tensor and all(isinstance(link, Link) for link in chain)
