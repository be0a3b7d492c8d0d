"""Rank 0 of a trial on several devices: it gathers the others and sends them the verdict after each report."""

import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from kirigami.models.communication import CompressedGradients
from kirigami.models.technique import network_of
from kirigami.search.config.settings import TrialConfig
from kirigami.search.training import devices
from kirigami.search.training.building import skips_gradients
from kirigami.search.training.job import Job, Paused, Pruned
from kirigami.search.training.ranks.place import PATIENCE_S, Place
from kirigami.search.training.ranks.pool import LEAVE_S, POOL, RankLost
from kirigami.search.training.ranks.strategy import Sharing, differing, meet, part

EXCHANGE_WORDS = ("gloo", "nccl", "connection", "timeout", "timed out")
NOTICE_S = 5.0  # for which an exchange that failed may be explained by a rank that died


class Member(Callback):
    """A rank's part of a trial: the arguments of its Trainer, and its work during training.

    Args:
        place: of this rank.
        config: the trial's.
    """

    def __init__(self, place: Place, config: TrialConfig) -> None:
        self.place = place
        self.config = config
        self.on_term = signal.getsignal(signal.SIGTERM)
        density = config.trainer.compress_gradients
        self.compressed = None if density is None else CompressedGradients(density)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of a Trainer that differ from those for one device."""
        numbers = [torch.device(name).index for name in self.place.devices]
        return {
            "devices": self.place.world if self.place.device == "cpu" else numbers,
            "strategy": Sharing(
                self.place, self.config.seed, self.config.trainer.batch_size, skips_gradients(self.config)
            ),
            "use_distributed_sampler": False,
        }

    def callbacks(self) -> list[Callback]:
        """Return the callbacks that come last."""
        return [*([] if self.compressed is None else [self.compressed]), self]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take SIGTERM back from Lightning, whose handler would begin an exchange wherever this rank is just then."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.on_term)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make sure that all ranks have trained one network."""
        name = differing(network_of(pl_module))
        if name is not None:
            raise RankLost(f"{name} differs between the ranks: something here changes weights by itself on each device")


class Lead(Member):
    """Rank 0. With `training()` around the fit, the others are there for it, and gone or free after it.

    Args:
        job: the trial.
        config: the trial's.
        orders: what else the ranks need to build the same trial.
    """

    def __init__(self, job: Job, config: TrialConfig, orders: dict[str, Any]) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="kirigami-ranks-")
        meeting = str(Path(self.folder.name) / "meeting")
        super().__init__(Place(0, devices.of_ranks(config.trainer), meeting, PATIENCE_S), config)
        self.job = job
        self.orders = orders

    @contextmanager
    def training(self) -> Iterator[None]:
        """Train inside the block on all ranks.

        Raises:
            RankLost: where another rank failed, died or does not answer.
        """
        clean = False
        try:
            POOL.broadcast({"go": True})
            meet(self.place)
            yield
            clean = self._released({})
        except (Pruned, Paused):
            clean = self._released({"stop": True})
            raise
        except RankLost:
            raise
        except RuntimeError as error:
            raise self._explained(error) from error
        finally:
            if not clean:
                POOL.dismiss()
            part()
            self.folder.cleanup()
            if self.compressed is not None:
                self.job.details["gradients"] = self.compressed.report()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Notice a rank that is gone."""
        POOL.check()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell the others, after a report that ended nothing, to go on."""
        POOL.broadcast({"go": True})

    def gather(self) -> None:
        """Have the other ranks build the trial; this takes as long as it takes.

        Raises:
            Interrupted: where the worker is asked to stop meanwhile.
            RankLost: where one fails at it.
        """
        threads = torch.get_num_threads()
        POOL.gather(self.place.world, threads)
        for rank in POOL.ranks:
            place = {"rank": rank.number, "devices": self.place.devices, "meeting": self.place.meeting}
            place["patience_s"] = self.place.patience_s
            rank.send(
                {"place": place, "config": self.config.plain, "threads": threads, "paths": sys.path, **self.orders}
            )
        try:
            POOL.await_all("ready", self.job.check_interrupt)
        except BaseException:
            POOL.dismiss()
            raise

    def _released(self, last: dict[str, Any]) -> bool:
        """Return whether all ranks have ended the trial and wait for the next."""
        if last:
            POOL.broadcast(last)
        with suppress(RankLost):
            POOL.await_all("ended", lambda: None, LEAVE_S)
            POOL.busy = False
            return True
        return False

    def _explained(self, error: RuntimeError) -> RuntimeError:
        """Return the loss of a rank that lies behind an exchange that failed; else the error itself."""
        if not _of_exchange(error):
            return error
        until = time.monotonic() + NOTICE_S
        while time.monotonic() < until:
            try:
                POOL.check()
            except RankLost as lost:
                return lost
            time.sleep(0.1)
        reason = " ".join(str(error).split())[:200]
        return RankLost(f"the other ranks did not answer within {self.place.patience_s:g} s ({reason})")


def _of_exchange(error: RuntimeError) -> bool:
    """Tell whether an error comes from an exchange between ranks."""
    text = str(error).lower()  # gloo raises plain RuntimeErrors
    return isinstance(error, torch.distributed.DistError) or any(word in text for word in EXCHANGE_WORDS)


def lead(job: Job, config: TrialConfig, split: int | None, test_split: int | None, fold: int | None = 0) -> Lead | None:
    """Return rank 0 of a trial on several devices, whose other ranks are ready; None for one on one."""
    if config.trainer.ranks == 1:
        return None
    leading = Lead(job, config, {"split": split, "test_split": test_split, "fold": fold})
    leading.gather()
    return leading
