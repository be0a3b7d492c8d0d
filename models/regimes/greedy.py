"""Greedy block-wise training: one block after the other, each under a head of its own, and then frozen."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from kirigami.arguments import at_least
from kirigami.models.regimes.blocks import AUTO
from kirigami.models.regimes.heads import predictor
from kirigami.models.regimes.phases import Phase
from kirigami.models.regimes.regime import Loss, Regime


class Greedy(Regime):
    """Train blocks one after the other (Bengio et al., NeurIPS 2006; Belilovsky et al., ICML 2019).

    Each block but the last predicts the outputs by a linear head, under the task's own loss. When its share of the run
    is over, it is frozen: in evaluation mode and without gradients, so that none of its tensors changes. The last block
    has the network's own output. With a `window` of 2, a block is trained once more, together with the next one, before
    it is frozen.

    The outputs of frozen blocks for the training rows are cached, if a row always gives the same (see `rows.Rows`), if
    there are no techniques, which may change frozen blocks, and if they fit; else these blocks are run again for each
    batch, without a graph.

    Args:
        blocks: see `Regime`.
        layers: see `Regime`.
        window: blocks that are trained together in a phase, at least 1.
        joint: see `Regime`.
        joint_rate: see `Regime`.
        cache_mb: megabytes for the cached outputs of frozen blocks; 0 for no cache.
    """

    name = "greedy"
    freezes = True

    def __init__(
        self,
        blocks: str | Sequence[str] = AUTO,
        layers: int = 1,
        window: int = 1,
        joint: float = 0.0,
        joint_rate: float = 0.1,
        cache_mb: float = 1000,
    ) -> None:
        super().__init__(blocks, layers, joint, joint_rate)
        at_least("window", window, 1)
        at_least("cache_mb", cache_mb, 0)
        self.window, self.cache_mb = window, cache_mb
        self.depth = 0  # blocks that the batches have passed already

    def build_heads(self, hidden: Sequence[Tensor], outputs: Tensor, targets: Tensor) -> Iterable[nn.Module]:
        """Make a linear predictor for each block."""
        return [predictor(features, outputs) for features in hidden]

    def plan(self, blocks: int) -> list[Phase]:
        """Return a phase for each block, in which it is trained with those of its window before it."""
        return [Phase(max(0, last + 1 - self.window), last) for last in range(blocks)]

    def step(self, network: nn.Module, loss: Loss, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the loss of the current blocks' head, or of the outputs."""
        assert self.chain is not None
        assert self.phase is not None
        hidden, targets = batch
        if self.phase.joint:
            return loss(network(hidden), targets)
        if self.depth < self.phase.first:
            with torch.no_grad():
                hidden = self.chain.run(hidden, self.depth, self.phase.first - 1)
        return loss(self._outputs(hidden, self.phase.first), targets)

    def predict(self, network: nn.Module, inputs: Tensor) -> Tensor:
        """Return the outputs of the current head on the blocks so far."""
        return network(inputs) if self.phase is None or self.phase.joint else self._outputs(inputs, 0)

    def settle(self, network: nn.Module) -> None:
        """Put the current blocks in training mode, and the frozen ones in evaluation mode."""
        if self.phase is None or self.phase.joint:
            network.train()
        else:
            assert self.chain is not None
            self.chain.train(self.phase.first, self.phase.last)

    def _outputs(self, hidden: Tensor, first: int) -> Tensor:
        """Return the outputs of the current phase, from the input of block `first`."""
        assert self.chain is not None
        assert self.phase is not None
        last = self.phase.last
        features = self.chain.run(hidden, first, last)
        return features if last == len(self.chain) - 1 else self.heads[last](features)
