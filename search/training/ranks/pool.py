"""The processes that a worker starts for the other devices of its trials; each message is one line of JSON.

The processes are kept for the next trial, since starting one takes seconds. They are killed if a trial ends in a way
that may have left them waiting for each other. They exit by themselves when the worker does, however it ends.
"""

import atexit
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

LEAVE_S = 20.0  # seconds a rank may take to report the end of its trial


class RankLost(RuntimeError):
    """Another rank of the trial failed or died; the text says which, and of what."""


class Rank:
    """One process besides the worker's own."""

    def __init__(self, number: int, threads: int) -> None:
        self.number = number
        self.answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "kirigami.search.training.ranks.rank"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,  # what it prints goes where our own errors go: into the worker's log
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)},
        )
        threading.Thread(target=self._listen, name=f"rank-{number}", daemon=True).start()

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message; a process that is gone is noticed elsewhere."""
        assert self.process.stdin is not None
        with suppress(OSError, ValueError):
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()

    def look(self, seconds: float | None = None) -> dict[str, Any]:
        """Return its next message; an empty one if none arrives within the time.

        Raises:
            RankLost: where it failed or died.
        """
        try:
            answer = self.answers.get(block=seconds is not None, timeout=seconds)
        except queue.Empty:
            return {}
        if answer is None:
            self.answers.put(None)
            code = self.process.wait()
            how = f"was killed by signal {-code}" if code < 0 else f"left with exit code {code}"
            raise RankLost(f"rank {self.number} {how}, and the trial cannot go on without it")
        if "failed" in answer:
            raise RankLost(f"rank {self.number}: {answer['failed']}")
        return answer

    def kill(self) -> None:
        """End the process now."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.close()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.answers.put(json.loads(line))
        self.process.stdout.close()
        self.answers.put(None)


@dataclass
class RankPool:
    """The ranks of one worker, from 1; rank 0 is the worker.

    Attributes:
        busy: whether they may still be in a trial, and cannot be used for another.
    """

    ranks: list[Rank] = field(default_factory=list)
    busy: bool = False

    def gather(self, world: int, threads: int) -> None:
        """Provide as many free, living ranks as a trial on `world` devices needs."""
        if self.busy or len(self.ranks) != world - 1 or not all(rank.alive for rank in self.ranks):
            self.dismiss()
            self.ranks = [Rank(number, threads) for number in range(1, world)]
        self.busy = True

    def broadcast(self, message: Mapping[str, Any]) -> None:
        """Send a message to all ranks."""
        for rank in self.ranks:
            rank.send(message)

    def check(self) -> None:
        """Notice ranks that are gone; cheap enough for every step.

        Raises:
            RankLost: naming the first.
        """
        for rank in self.ranks:
            rank.look()

    def await_all(self, word: str, meanwhile: Callable[[], None], seconds: float | None = None) -> None:
        """Wait until every rank has sent a message with the key `word`.

        Raises:
            RankLost: where one is gone, or does not send it in time.
        """
        until = None if seconds is None else time.monotonic() + seconds
        for rank in self.ranks:
            while word not in rank.look(0.1):
                meanwhile()
                if until is not None and time.monotonic() > until:
                    raise RankLost(f"rank {rank.number} has not {word} within {seconds:g} s")

    def dismiss(self) -> None:
        """Kill all ranks."""
        for rank in self.ranks:
            rank.kill()
        self.ranks, self.busy = [], False


POOL = RankPool()
"""The ranks of this process; they are kept from one trial to the next."""

atexit.register(POOL.dismiss)
