"""Workers as processes of this machine; an actor on a Ray node or a SLURM job keeps its one worker the same way."""

import platform
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from kirigami.search.training.devices import cores
from kirigami.search.workers.launchers import process
from kirigami.search.workers.launchers.base import Assignment, Patience, Report
from kirigami.search.workers.launchers.places import share_out
from kirigami.search.workers.launchers.process import WorkerProcess
from kirigami.search.workers.worker import Orders


@dataclass
class Slot:
    """A place for one worker: its orders, its process now, and the earliest time to start the next one."""

    orders: Orders
    patience: Patience
    worker: WorkerProcess | None = None
    due: float = 0.0
    report: Report = field(default_factory=Report)

    @property
    def starting(self) -> bool:
        """Whether its worker has yet to join the study."""
        return self.worker is not None and "joined" not in self.worker.answer


@dataclass
class Local:
    """Keeps one process for each of the orders.

    Args:
        deaths_in_a_row: after so many deaths of a worker, none of the study's trials ending between, it is given up.
        finished: returns how many trials of the study have ended, None where that cannot be read now.
        hold_s: seconds that a slot stays empty after somebody else sent its worker SIGTERM.
        at_once: how many may start together; the cores, because those that start are busy and do nothing useful.
    """

    orders: Sequence[Orders]
    deaths_in_a_row: int
    finished: Callable[[], int | None]
    hold_s: float = 0.0
    at_once: int = field(default_factory=cores)
    notes: list[str] = field(default_factory=list)
    noticed: set[str] = field(default_factory=set)
    leaves: bool = False
    stopping: bool = False

    def __post_init__(self) -> None:
        self.slots = [Slot(orders, Patience(self.deaths_in_a_row, self.finished)) for orders in self.orders]

    def start(self) -> None:
        """Start as many workers as may start at once; `poll` starts the others as these join."""
        self._fill()

    def poll(self) -> list[Report]:
        """Replace dead workers and return a report of each worker."""
        for slot in self.slots:
            if not slot.report.gone and slot.worker is not None:
                self._look(slot, slot.worker)
        met = next((slot.report.ended for slot in self.slots if slot.report.met), None)
        if met is not None:
            self._dismiss(met)
        elif not self.stopping:
            self._fill()
        return [slot.report for slot in self.slots]

    def stop(self) -> None:
        """Close the workers' standard input; slots without a worker stay empty."""
        self.stopping = True
        for slot in self.slots:
            if slot.worker is not None:
                slot.worker.ask_to_stop()
            elif not slot.report.gone:
                slot.report = Report(ended="stopped")

    def kill(self) -> None:
        """Send SIGKILL."""
        for slot in self.slots:
            if slot.worker is not None:
                slot.worker.process.kill()

    def close(self) -> None:
        """Wait for the workers' end."""
        for slot in self.slots:
            self._leave(slot)

    def _fill(self) -> None:
        room = self.at_once - sum(slot.starting for slot in self.slots)
        for slot in self.slots:
            if room <= 0:
                return
            if slot.worker is None and not slot.report.gone and time.monotonic() >= slot.due:
                slot.worker = process.start(slot.orders)
                slot.report = Report(machine=platform.node(), pid=slot.worker.process.pid)
                room -= 1

    def _look(self, slot: Slot, worker: WorkerProcess) -> None:
        code = worker.poll()
        answer, pid = worker.answer, worker.process.pid
        self.tell(answer.pop("notices", []))
        report = Report("joined" in answer, machine=platform.node(), pid=pid)
        if code is None:
            slot.report = report
        elif code in (1, 2) and "error" in answer:
            wrong = {"refused" if code == 2 else "failed": answer["error"]}
            slot.report = Report(report.joined, machine=report.machine, **wrong)
        elif "ended" in answer and (answer["ended"] != "stopped" or self.stopping):
            slot.report = Report(report.joined, ended=answer["ended"], machine=report.machine)
        elif self.stopping:
            slot.report = Report(report.joined, ended="stopped", machine=report.machine)
        elif "ended" in answer:
            self._leave(slot)
            slot.due = time.monotonic() + self.hold_s
            self.notes.append(f"worker {slot.orders.index} was sent away by SIGTERM; starting another")
        else:
            self._replace(slot, worker, code)

    def tell(self, notices: Sequence[str]) -> None:
        """Note what is to be known of the data, once, although a worker that takes another's place says it again."""
        self.notes += [line for line in notices if line not in self.noticed]
        self.noticed |= set(notices)

    def _replace(self, slot: Slot, worker: WorkerProcess, code: int) -> None:
        how = f"was killed by signal {-code}" if code < 0 else f"died ({worker.last_words()})"
        pause = slot.patience.after_death(worker.last_words() if code > 0 else "")
        if pause is None:
            logs, words = self._logs(slot, worker), worker.last_words()
            times = f"{slot.patience.deaths} times in a row, while no trial ended"
            slot.report = Report(died=f"{words if code >= 0 else how}, {times}. See {logs}")
        else:
            self.notes.append(f"worker {slot.orders.index} {how}; starting another")
            slot.due = time.monotonic() + pause
            slot.report = Report()
        self._leave(slot)

    def _dismiss(self, met: str) -> None:
        """The study has ended: those that have not begun to work need not."""
        for slot in self.slots:
            if slot.worker is None and not slot.report.gone:
                slot.report = Report(ended=met)
            elif slot.starting and not slot.report.gone and slot.worker is not None:
                slot.worker.process.kill()
                slot.report = Report(ended=met)

    def _leave(self, slot: Slot) -> None:
        if slot.worker is not None:
            slot.worker.close()
            slot.worker = None

    def _logs(self, slot: Slot, worker: WorkerProcess) -> Path:
        """Save a worker's output from before its own log existed; return the folder of the logs."""
        folder, output = Path(slot.orders.folder), worker.output()
        if output:
            with suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
                (folder / "worker-start.log").write_text(output)
        return folder


def build(assignment: Assignment) -> Local:
    """Share this machine out among the workers; start them later."""
    config = assignment.config
    shares, sharing = share_out(config.workers, config.cores_per_worker, config.trainer.device, config.trainer.devices)
    orders = [assignment.orders(index, share) for index, share in enumerate(shares)]
    notes = [sharing] if config.workers == "auto" else []
    return Local(orders, config.launcher.deaths_in_a_row, assignment.finished, notes=notes)
