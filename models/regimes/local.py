"""Local losses: every block is trained at every step, by a loss whose gradient reaches no other block."""

from collections.abc import Iterable, Sequence

from torch import Tensor, nn

from kirigami.arguments import within
from kirigami.errors import ArgumentError
from kirigami.models.regimes.blocks import AUTO
from kirigami.models.regimes.heads import LocalHead, alike
from kirigami.models.regimes.phases import Phase
from kirigami.models.regimes.regime import Loss, Regime


class Local(Regime):
    """Train blocks by local errors (Nøkland & Eidnes, ICML 2019).

    The loss of each block but the last is their `predsim`, (1 − beta)·L(P h) + beta·MSE(S(W_s h), S(Y)): L is the
    task's own loss, by default the cross-entropy, P a linear predictor, S the cosines between the samples of a batch
    (`heads.similarity`), and Y the one-hot targets. The last block has the network's own output and the task's loss.
    No gradient passes between blocks: each block runs its backward pass right after its forward pass, so that only
    one block's saved tensors are alive at a time. The paper's blocks are single layers, the output layer one of its
    own; here "auto" leaves the output layer with the last hidden one.

    Args:
        blocks: see `Regime`.
        layers: see `Regime`.
        beta: share of the similarities in the loss, in [0, 1); 0 leaves the predictions, for any kind of target.
        joint: see `Regime`.
        joint_rate: see `Regime`.
    """

    name = "local"

    def __init__(
        self,
        blocks: str | Sequence[str] = AUTO,
        layers: int = 1,
        beta: float = 0.99,
        joint: float = 0.0,
        joint_rate: float = 0.1,
    ) -> None:
        super().__init__(blocks, layers, joint, joint_rate)
        within("beta", beta, 0, 1)
        self.beta = beta

    def build_heads(self, hidden: Sequence[Tensor], outputs: Tensor, targets: Tensor) -> Iterable[nn.Module]:
        """Make a predictor and a W_s for each block."""
        if self.beta and (outputs.dim() != 2 or outputs.shape[1] < 2 or targets.dim() != 1):
            raise ArgumentError(
                "beta", f"must be 0 unless targets are one class number a sample, but got {self.beta}.", ("beta", 0)
            )
        return [LocalHead(features, outputs, self.beta) for features in hidden]

    def plan(self, blocks: int) -> list[Phase]:
        """Return the one phase of all blocks."""
        return [Phase(0, blocks - 1)]

    @property
    def keeps_gradients(self) -> bool:
        """Whether blocks go backward inside the step."""
        return self.phase is not None and not self.phase.joint

    def step(self, network: nn.Module, loss: Loss, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Go forward and at once backward through each block but the last, and return the last one's loss."""
        assert self.chain is not None
        hidden, targets = batch
        if self.phase is not None and self.phase.joint:
            return loss(network(hidden), targets)
        if self.fresh:
            for parameter in [*network.parameters(), *self.parameters()]:
                parameter.grad = None
        similarities: Tensor | None = None
        for block, head in enumerate(self.heads):
            features = self.chain.run(hidden, block, block)
            outputs = head(features)
            local = loss(outputs, targets)
            if self.beta:
                similarities = alike(targets, outputs.shape[1], outputs) if similarities is None else similarities
                local = (1 - self.beta) * local + self.beta * head.mismatch(features, similarities)
            self.scale(local).backward()
            hidden = features.detach()
            del features, outputs, local  # else they would keep the block's graph until the next block has made its own
        last = len(self.chain) - 1
        return loss(self.chain.run(hidden, last, last), targets)
