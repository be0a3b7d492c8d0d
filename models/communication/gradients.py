"""A communication hook for torch's DistributedDataParallel: few bits of each gradient, and the error kept for later.

What is not sent is added to the next gradient, so nothing is lost, only late: F. Seide et al., "1-bit stochastic
gradient descent", Interspeech 2014; S. P. Karimireddy et al., "Error feedback fixes SignSGD", ICML 2019, algorithm 2.

    Trainer(devices=2, strategy="ddp", callbacks=[CompressedGradients()]).fit(module, batches)
    ddp.register_comm_hook(CompressedGradients(), exchange)  # without Lightning
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from kirigami.arguments import at_least
from kirigami.models.communication.codes import Layout

KEY = "compressed_gradients"
PLAIN = 4  # bytes of an entry of a plain gradient


class CompressedGradients(Callback):
    """Send the largest entries of every gradient as signs and few magnitudes, and keep the rest for the next step.

    Every worker sends the same number of bytes in one collective, decodes what all have sent in the same order, and
    averages it, so that all have the same gradient to the bit. Nothing is random. A worker whose gradients are not
    finite passes that on: all workers get entries that are not finite, as from a plain sum, and a gradient scaler
    skips the step; its error feedback stays as it was.

    As a callback it registers itself with the model that Lightning wraps, on any device. (`DDPStrategy(ddp_comm_state,
    ddp_comm_hook)` does so on CUDA alone, and ignores both elsewhere without a word.) On one device it does nothing.

    Args:
        density: share of each tensor's entries that is sent, above 0 and at most 1; at least one of each tensor is.
        bits: of an entry that is sent, from 1, its sign, to 4.
        start: steps whose gradients are still summed as they are.
        group: workers, as given to the model; by default all.

    Attributes:
        sent_bytes: bytes sent by this worker so far; a gathering sends its bytes to each of the other workers.
        plain_bytes: bytes that a ring all-reduce of float32 would have sent, 2 (n - 1) / n of the gradient.

    Raises:
        ValueError: where an argument is out of its range.
    """

    def __init__(self, density: float = 0.1, bits: int = 1, start: int = 0, group: Any = None) -> None:
        if isinstance(density, bool) or not isinstance(density, int | float) or not 0 < density <= 1:
            raise ValueError(f"density must be a number above 0 and at most 1, but got {density!r}.")
        if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= 4:
            raise ValueError(f"bits must be a whole number from 1 to 4, but got {bits!r}.")
        at_least("start", start, 0)
        self.density, self.bits, self.start, self.group = density, bits, start, group
        self.steps, self.sent_bytes, self.plain_bytes = 0, 0, 0
        # By parameter, since a model puts its parameters into other buckets after its first step.
        self._late: dict[int, tuple[nn.Parameter, Tensor]] = {}

    def report(self) -> dict[str, float]:
        """Return the bytes sent so far, those of a plain sum, and their ratio."""
        ratio = self.plain_bytes / self.sent_bytes if self.sent_bytes else 1.0
        return {"sent_bytes": self.sent_bytes, "plain_bytes": self.plain_bytes, "ratio": ratio}

    def exchange(self, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
        """Return the mean of a bucket over all workers, once it is there."""
        buffer, workers = bucket.buffer(), dist.get_world_size(self.group)
        plain = 2 * (workers - 1) * PLAIN * buffer.numel() // workers
        self.plain_bytes += plain
        early = self.steps < self.start
        self.steps += bucket.is_last()
        if early:
            self.sent_bytes += plain
            summed = dist.all_reduce(buffer.div_(workers), group=self.group, async_op=True).get_future()
            return summed.then(lambda done: done.value()[0])
        layout, data = self.encode(bucket.parameters(), buffer)
        self.sent_bytes += (workers - 1) * layout.bytes
        gathered = data.new_empty(workers, layout.bytes)
        future = dist.all_gather(list(gathered), data, group=self.group, async_op=True).get_future()

        def average(done: torch.futures.Future[Any]) -> Tensor:
            done.value()  # an error of the gathering is raised here
            return buffer.copy_(self.decode(layout, gathered))

        return future.then(average)

    def encode(self, parameters: Sequence[nn.Parameter], gradient: Tensor) -> tuple[Layout, Tensor]:
        """Return the message for the gradient (n,) of some parameters, and store the residual."""
        sizes = tuple(parameter.numel() for parameter in parameters)
        layout = _layout(sizes, self.density, self.bits)
        late = torch.cat([self._residual(parameter, gradient.device) for parameter in parameters])
        corrected = gradient.float() + late
        data = layout.encode(corrected)
        rest = (corrected - layout.decode(data)).split(sizes)
        for parameter, new, old in zip(parameters, rest, late.split(sizes), strict=True):
            self._late[id(parameter)] = parameter, torch.where(new.isfinite().all(), new, old)
        return layout, data

    @staticmethod
    def decode(layout: Layout, gathered: Tensor) -> Tensor:
        """Return the mean of the workers' messages, bytes (workers, layout.bytes), in their order."""
        total = layout.decode(gathered[0])
        for data in gathered[1:]:
            total += layout.decode(data)
        return total / len(gathered)

    def _residual(self, parameter: nn.Parameter, device: torch.device) -> Tensor:
        late = self._late.get(id(parameter))
        return torch.zeros(parameter.numel(), device=device) if late is None else late[1].to(device)

    def residuals(self, network: nn.Module) -> dict[str, Tensor]:
        """Return the residuals not sent yet, by parameter name, averaged over the workers; all workers must call this.

        With the mean on every worker, as many as there may be then, the sum of all is what it was.
        """
        named = list(_trained(network))
        flat = [self._residual(parameter, parameter.device) for _, parameter in named]
        mean = torch.cat(flat) if flat else torch.empty(0)
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(mean.div_(dist.get_world_size(self.group)), group=self.group)
        parts = mean.split([parameter.numel() for _, parameter in named])
        return {name: part.view_as(parameter).cpu() for (name, parameter), part in zip(named, parts, strict=True)}

    def restore(self, network: nn.Module, residuals: dict[str, Tensor]) -> None:
        """Restore the result of `residuals` for a network with the same names and shapes.

        Raises:
            ValueError: where names or shapes differ.
        """
        named = dict(_trained(network))
        shapes = {name: tuple(parameter.shape) for name, parameter in named.items()}
        stored = {name: tuple(value.shape) for name, value in residuals.items()}
        wrong = sorted(name for name in {*shapes, *stored} if shapes.get(name) != stored.get(name))
        if wrong:
            raise ValueError(
                f"residuals must be those of this network, but {wrong[0]!r} is {stored.get(wrong[0])} there and "
                f"{shapes.get(wrong[0])} here. Restore those of a network with the same names and shapes."
            )
        self._late = {id(named[name]): (named[name], value.flatten().clone()) for name, value in residuals.items()}

    # Lightning's hooks.

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Register with the wrapped model, which is there by now."""
        if trainer.world_size == 1:
            return
        wrapped = trainer.strategy.model
        if not isinstance(wrapped, DistributedDataParallel):
            name = type(trainer.strategy).__name__
            raise ValueError(f"CompressedGradients needs Trainer(strategy='ddp'), but got the strategy {name}.")
        wrapped.register_comm_hook(self, exchange)

    def state_dict(self) -> dict[str, Any]:
        """Return the counts."""
        return {"steps": self.steps, "sent_bytes": self.sent_bytes, "plain_bytes": self.plain_bytes}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.steps, self.sent_bytes, self.plain_bytes = (
            int(state_dict[name]) for name in ("steps", "sent_bytes", "plain_bytes")
        )

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Save the residuals not sent yet; Lightning calls this on every worker."""
        checkpoint[KEY] = self.residuals(pl_module)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restore the residuals not sent yet."""
        if KEY in checkpoint:
            self.restore(pl_module, checkpoint[KEY])


def exchange(state: CompressedGradients, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
    """Return the mean of a bucket over all workers: the hook for `DistributedDataParallel.register_comm_hook`."""
    return state.exchange(bucket)


@lru_cache(maxsize=256)
def _layout(sizes: tuple[int, ...], density: float, bits: int) -> Layout:
    return Layout(sizes, density, bits)


def _trained(network: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad)
