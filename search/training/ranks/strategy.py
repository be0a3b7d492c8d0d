"""Lightning's DDP, but every rank iterates over whole batches and takes its share of the rows when it steps.

So callbacks, techniques and schedules see on each rank what they see on one device. The gradient is that of the mean
over the whole batch, however the rows divide: DDP averages over ranks, and each rank's loss counts as its rows do.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from lightning.pytorch.plugins.environments import ClusterEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn

from kirigami import several
from kirigami.search.training.ranks.place import Place


def share(rows: int, rank: int, world: int, least: int) -> tuple[slice, float]:
    """Return the rows of a batch that a rank takes, and by how much its mean loss counts among the ranks'.

    Rows are dealt as evenly as can be among as many ranks as get `least` rows each. The others are there all the same,
    since all have to meet: they take the first rows, at a weight of 0.

    Args:
        rows: of the batch.
        rank: which of the ranks.
        world: how many there are.
        least: rows that a rank must have: batch norm cannot train on one.
    """
    active = max(1, min(world, rows // least))
    size, rest = divmod(rows, active)
    if rank >= active:
        return slice(0, size), 0.0
    start = rank * size + min(rank, rest)
    taken = size + (rank < rest)
    return slice(start, start + taken), taken * world / rows


class Sharing(DDPStrategy):
    """DDP over processes that exist already, which share every batch of tensors by its rows.

    Whatever is random inside a step (dropout) is drawn from (seed, rank, step): apart on each rank. All else is drawn
    in common, so that what techniques draw between steps is the same on all.

    Args:
        place: of this rank.
        seed: the trial's.
        batch_size: rows of a whole batch.
        varies: whether parameters may go without a gradient in some steps, which costs a look at every graph.
    """

    def __init__(self, place: Place, seed: int, batch_size: int, varies: bool = True) -> None:
        super().__init__(cluster_environment=Environment(place), find_unused_parameters=varies)
        self.place, self.seed = place, seed
        self.least = 2 if batch_size >= 2 * place.world else 1
        self.weight = 1.0

    def training_step(self, batch: Any, *arguments: Any, **keywords: Any) -> Any:
        """Take this rank's rows of the batch, and step on them."""
        rows, self.weight = share(several.length(batch[0]), self.place.rank, self.place.world, self.least)
        assert self.lightning_module is not None
        shares = tuple(several.cut(value, rows) for value in batch)
        with own_chance(self.seed, self.place.rank, self.lightning_module.global_step):
            return super().training_step(shares, *arguments, **keywords)

    def backward(self, closure_loss: Tensor, *arguments: Any, **keywords: Any) -> Tensor:
        """Go backward from the loss as it counts among the ranks'."""
        weighted = closure_loss if self.weight == 1 else closure_loss * self.weight
        return super().backward(weighted, *arguments, **keywords)


@contextmanager
def own_chance(seed: int, rank: int, step: int) -> Iterator[None]:
    """Draw from (seed, rank, step) inside the block, and go on as before after it."""
    on_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()
    common, on_device = torch.get_rng_state(), torch.cuda.get_rng_state() if on_gpu else None
    torch.manual_seed(int(np.random.SeedSequence([seed, rank, step]).generate_state(1, np.uint64)[0]))
    try:
        yield
    finally:
        torch.set_rng_state(common)
        if on_device is not None:
            torch.cuda.set_rng_state(on_device)


class Environment(ClusterEnvironment):
    """Tells Lightning where this process stands, without variables of the environment."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place

    @property
    def creates_processes_externally(self) -> bool:
        """Say that all ranks run already."""
        return True

    @property
    def main_address(self) -> str:
        """Name this machine; the ranks meet by a file."""
        return "127.0.0.1"

    @property
    def main_port(self) -> int:
        """Name no port: the ranks meet by a file."""
        return 0

    @staticmethod
    def detect() -> bool:
        """Say that nobody finds this environment by looking."""
        return False

    def world_size(self) -> int:
        """Count the ranks."""
        return self.place.world

    def set_world_size(self, size: int) -> None:
        """Do nothing: the place says it."""

    def global_rank(self) -> int:
        """Return this rank."""
        return self.place.rank

    def set_global_rank(self, rank: int) -> None:
        """Do nothing: the place says it."""

    def local_rank(self) -> int:
        """Return this rank: all are on one machine."""
        return self.place.rank

    def node_rank(self) -> int:
        """Return the machine's number, of one."""
        return 0


def meet(place: Place) -> None:
    """Join the other ranks: gloo on the CPU, NCCL on GPUs. They find each other by a file; nothing listens for others.

    Raises:
        RuntimeError: where they do not come in time.
    """
    on_gpu = place.device != "cpu"
    for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        os.environ.setdefault(variable, _loopback())
    dist.init_process_group(
        "nccl" if on_gpu else "gloo",
        store=dist.FileStore(place.meeting, place.world),
        rank=place.rank,
        world_size=place.world,
        timeout=timedelta(seconds=place.patience_s),
        device_id=torch.device(place.device) if on_gpu else None,
    )


def _loopback() -> str:
    """Return the network interface that only this machine can reach."""
    return next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), "lo")


def part() -> None:
    """Leave the other ranks, who may be gone."""
    if dist.is_initialized():
        dist.destroy_process_group()


def differing(network: nn.Module) -> str | None:
    """Return the first parameter that is not the same on all ranks to the bit; all of them must ask."""
    named = dict(network.named_parameters())
    sums = torch.stack([_sum(parameter) for parameter in named.values()])
    first = sums.clone()
    dist.broadcast(first, src=0)
    unlike = (first != sums).long()
    dist.all_reduce(unlike)
    return next((name for name, ranks in zip(named, unlike.tolist(), strict=True) if ranks), None)


def _sum(parameter: Tensor) -> Tensor:
    """Return the sum of the entries' bits as whole numbers, which wrap around alike everywhere."""
    whole = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[parameter.element_size()]
    return parameter.detach().contiguous().view(whole).sum(dtype=torch.int64)
