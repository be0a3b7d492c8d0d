"""Workers on a Ray cluster: an actor for each, which keeps the worker command going as a child process.

Ray finds the room for an actor and starts it again elsewhere where its node is lost. The actor holds its worker's
standard input: when actor or node die, the worker hands its trial back and leaves, if it is not dead itself.
"""

import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from kirigami.search.config.launcher import Ray
from kirigami.search.errors import InputError
from kirigami.search.storage import Settings
from kirigami.search.study.watching import counter, reader
from kirigami.search.workers.launchers.base import Assignment, Patience, Report
from kirigami.search.workers.launchers.cluster import check_store, connect, counted, needs_of, no_room
from kirigami.search.workers.launchers.local import Local
from kirigami.search.workers.launchers.places import Share
from kirigami.search.workers.worker import Orders

POLL_SECONDS = 0.2
ROOM_SECONDS = 15  # without a sign of a worker, before the user is told that it waits
LEAVE_SECONDS = 60  # to hand trials back


class WorkerActor:
    """The actor: keeps one worker process on its node. Ray runs it; its methods answer at once."""

    def __init__(self, orders: Mapping[str, Any], deaths_in_a_row: int) -> None:
        worker_orders = Orders(**orders)
        self.born = f"{os.getpid()}@{socket.gethostname()}@{time.time()}"
        finished = counter(reader(Settings.read(worker_orders.raw["storage"]), worker_orders.raw["name"]))
        self.launcher = Local([worker_orders], deaths_in_a_row, finished)
        self.launcher.start()

    def poll(self) -> tuple[str, Report, list[str]]:
        """Replace the worker if it died; return the actor's id, a report of the worker, and notes."""
        (report,) = self.launcher.poll()
        notes, self.launcher.notes = self.launcher.notes, []
        return self.born, report, notes

    def stop(self) -> None:
        """Let the worker hand its trial back and leave."""
        self.launcher.stop()


@dataclass
class Slot:
    """One worker of the cluster: its actor, the answer that is awaited, and the last one."""

    index: int
    actor: Any
    patience: Patience
    since: float
    awaited: Any = None
    born: str = ""
    report: Report = field(default_factory=Report)


@dataclass
class OnRay:
    """Keeps workers on a Ray cluster.

    Args:
        orders: makes a worker's orders from its number and its share.
        url: of the store, as every worker will open it.
    """

    settings: Ray
    workers: int | str
    orders: Callable[[int, Share], Orders]
    env: Mapping[str, str]
    url: str
    finished: Callable[[], int | None]
    notes: list[str] = field(default_factory=list)
    leaves: bool = False
    slots: list[Slot] = field(default_factory=list)
    stop_by: float | None = None

    def start(self) -> None:
        """Connect, count the free resources, and ask Ray for the actors."""
        ray = _ray()
        connect(ray, self.settings)
        nodes = [node for node in ray.nodes() if node["Alive"]]
        check_store(self.url, {node["NodeManagerAddress"] for node in nodes}, self.settings.address)
        self.needs = needs_of(self.settings, nodes)
        room = sum(self.needs.fit(node) for node in nodes)
        if room == 0:
            raise InputError(no_room(self.needs, nodes))
        number = room if self.workers == "auto" else int(self.workers)
        self.notes.append(f"Ray: {number} worker{'s' * (number > 1)} on {counted(nodes)}, each with {self.needs}")
        if number > room:
            self.notes.append(f"room for {room} of them now; the others start when there is more")
        self.slots = [self._slot(index) for index in range(number)]

    def poll(self) -> list[Report]:
        """Take the answers that are there, and ask anew."""
        ray = _ray()
        waiting = {}
        for slot in self.slots:
            if not slot.report.gone:
                if slot.awaited is None:
                    slot.awaited = slot.actor.poll.remote()
                waiting[slot.awaited] = slot
        if waiting:
            ready, _ = ray.wait(list(waiting), num_returns=len(waiting), timeout=POLL_SECONDS)
            for reference in ready:
                self._take(ray, waiting[reference], reference)
        self._tidy()
        return [slot.report for slot in self.slots]

    def stop(self) -> None:
        """Ask the actors; those that have no worker yet, or do not answer within a minute, are ended."""
        self.stop_by = self.stop_by or time.monotonic() + LEAVE_SECONDS
        late = time.monotonic() > self.stop_by
        for slot in self.slots:
            if not slot.report.gone:
                slot.actor.stop.remote()
                if late or not slot.born:
                    self._end(slot, Report(ended="stopped"))

    def kill(self) -> None:
        """End the actors; each worker goes with its actor."""
        for slot in self.slots:
            if not slot.report.gone:
                self._end(slot, Report(ended="stopped"))

    def close(self) -> None:
        """Wait for those that hand back, then leave the cluster; one that was started here ends."""
        ray = _ray()
        try:
            while ray.is_initialized() and not all(report.gone for report in self.poll()):
                self.stop()
                time.sleep(POLL_SECONDS)
        finally:
            ray.shutdown()

    def _slot(self, index: int) -> Slot:
        return Slot(index, self._actor(index), Patience(self._limit, self.finished), time.monotonic())

    def _actor(self, index: int) -> Any:
        env = {**self.env, **({} if self.needs.gpus else {"CUDA_VISIBLE_DEVICES": ""})}
        orders = self.orders(index, Share(max(1, int(self.needs.cpus)), env))
        kind = (
            _ray()
            .remote(WorkerActor)
            .options(
                num_cpus=self.needs.cpus,
                num_gpus=self.needs.gpus,
                max_restarts=self.settings.max_restarts,
                max_task_retries=0,
            )
        )
        return kind.remote(asdict(orders), self._limit)

    @property
    def _limit(self) -> int:
        return self.settings.deaths_in_a_row

    def _take(self, ray: Any, slot: Slot, reference: Any) -> None:
        slot.awaited = None
        try:
            born, report, notes = ray.get(reference)
        except ray.exceptions.ActorUnavailableError:
            slot.report, slot.since = Report(), time.monotonic()  # its node is lost; Ray starts it elsewhere
            return
        except ray.exceptions.RayError as error:
            self._lost(slot, error)
            return
        if slot.born not in ("", born):
            self.notes.append(f"worker {slot.index} was lost with its node; it is back on {report.machine}")
        slot.born, slot.report, slot.since = born, report, 0.0
        self.notes += [
            note.replace(f"worker {slot.index} ", f"worker {slot.index} on {report.machine} ") for note in notes
        ]
        if report.gone:
            self._end(slot, report)

    def _lost(self, slot: Slot, error: Exception) -> None:
        """Ray has given an actor up: where it once worked, ask for another."""
        reason = _reason(error)
        pause = slot.patience.after_death() if slot.born and self.stop_by is None else None
        self._end(slot, Report(ended="stopped") if self.stop_by else Report(died=reason))
        if pause is not None:
            self.notes.append(f"worker {slot.index} is lost ({reason}); asking Ray for another")
            time.sleep(pause)
            slot.actor, slot.born, slot.report, slot.since = self._actor(slot.index), "", Report(), time.monotonic()

    def _tidy(self) -> None:
        """End slots without further work, and note the workers that wait for room."""
        met = next((slot.report.ended for slot in self.slots if slot.report.met), None)
        for slot in self.slots:
            if slot.report.gone or slot.report.joined:
                continue
            if met is not None and not slot.born:
                self._end(slot, Report(ended=met))
            elif slot.since and time.monotonic() - slot.since > ROOM_SECONDS:
                slot.since = 0.0
                self.notes.append(f"worker {slot.index} waits for room in the cluster: {self.needs}")

    def _end(self, slot: Slot, report: Report) -> None:
        slot.report, slot.awaited = report, None
        with suppress(Exception):  # it may be gone already
            _ray().kill(slot.actor, no_restart=True)


def build(assignment: Assignment) -> OnRay:
    """Check that Ray is installed; connect later.

    Raises:
        InputError: where it is not.
    """
    _ray()
    config, settings = assignment.config, assignment.config.launcher
    assert isinstance(settings, Ray)
    return OnRay(settings, config.workers, assignment.orders, assignment.env, config.storage.url, assignment.finished)


def _ray() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise InputError(
            f"launcher=ray needs Ray, which is not installed here ({error}). Run: pip install 'kirigami-search[ray]'."
        ) from error
    return ray


def _reason(error: Exception) -> str:
    """Return in one line why an actor ended: the error of its start, or the first line of Ray's error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    last = lines[-1] if lines else type(error).__name__
    if "No module named" in str(error):
        return f"{last}. kirigami has to be installed on every node"
    return lines[0] if lines and "Traceback" not in str(error) else last
