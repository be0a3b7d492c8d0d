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
class Seat:
    """Where one worker sits: its orders, the process there now, and when the next one may sit down."""

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
        hold_s: how long a seat stays empty whose worker somebody else sent SIGTERM.
        at_once: how many may start together; the cores, because those that start are busy and do nothing useful.
    """

    orders: Sequence[Orders]
    deaths_in_a_row: int
    finished: Callable[[], int | None]
    hold_s: float = 0.0
    at_once: int = field(default_factory=cores)
    notes: list[str] = field(default_factory=list)
    leaves: bool = False
    stopping: bool = False

    def __post_init__(self) -> None:
        self.seats = [Seat(orders, Patience(self.deaths_in_a_row, self.finished)) for orders in self.orders]

    def start(self) -> None:
        """Start as many workers as may start at once; `poll` starts the others as these join."""
        self._fill()

    def poll(self) -> list[Report]:
        """Replace the dead and return what is known of each worker."""
        for seat in self.seats:
            if not seat.report.gone and seat.worker is not None:
                self._look(seat, seat.worker)
        met = next((seat.report.ended for seat in self.seats if seat.report.met), None)
        if met is not None:
            self._dismiss(met)
        elif not self.stopping:
            self._fill()
        return [seat.report for seat in self.seats]

    def stop(self) -> None:
        """Close the workers' standard input; seats without a worker stay empty."""
        self.stopping = True
        for seat in self.seats:
            if seat.worker is not None:
                seat.worker.ask_to_stop()
            elif not seat.report.gone:
                seat.report = Report(ended="stopped")

    def kill(self) -> None:
        """Send SIGKILL."""
        for seat in self.seats:
            if seat.worker is not None:
                seat.worker.process.kill()

    def close(self) -> None:
        """Wait for the workers' end."""
        for seat in self.seats:
            self._leave(seat)

    def _fill(self) -> None:
        room = self.at_once - sum(seat.starting for seat in self.seats)
        for seat in self.seats:
            if room <= 0:
                return
            if seat.worker is None and not seat.report.gone and time.monotonic() >= seat.due:
                seat.worker = process.start(seat.orders)
                seat.report = Report(machine=platform.node(), pid=seat.worker.process.pid)
                room -= 1

    def _look(self, seat: Seat, worker: WorkerProcess) -> None:
        code = worker.poll()
        answer, pid = worker.answer, worker.process.pid
        here = Report("joined" in answer, machine=platform.node(), pid=pid)
        if code is None:
            seat.report = here
        elif code in (1, 2) and "error" in answer:
            wrong = {"refused" if code == 2 else "failed": answer["error"]}
            seat.report = Report(here.joined, machine=here.machine, **wrong)
        elif "ended" in answer and (answer["ended"] != "stopped" or self.stopping):
            seat.report = Report(here.joined, ended=answer["ended"], machine=here.machine)
        elif self.stopping:
            seat.report = Report(here.joined, ended="stopped", machine=here.machine)
        elif "ended" in answer:
            self._leave(seat)
            seat.due = time.monotonic() + self.hold_s
            self.notes.append(f"worker {seat.orders.index} was sent away by SIGTERM; starting another")
        else:
            self._replace(seat, worker, code)

    def _replace(self, seat: Seat, worker: WorkerProcess, code: int) -> None:
        how = f"was killed by signal {-code}" if code < 0 else f"died ({worker.last_words()})"
        pause = seat.patience.after_death()
        if pause is None:
            logs, words = self._logs(seat, worker), worker.last_words()
            times = f"{seat.patience.deaths} times in a row, while no trial ended"
            seat.report = Report(died=f"{words if code >= 0 else how}, {times}. See {logs}")
        else:
            self.notes.append(f"worker {seat.orders.index} {how}; starting another")
            seat.due = time.monotonic() + pause
            seat.report = Report()
        self._leave(seat)

    def _dismiss(self, met: str) -> None:
        """The study has ended: those that have not begun to work need not."""
        for seat in self.seats:
            if seat.worker is None and not seat.report.gone:
                seat.report = Report(ended=met)
            elif seat.starting and not seat.report.gone and seat.worker is not None:
                seat.worker.process.kill()
                seat.report = Report(ended=met)

    def _leave(self, seat: Seat) -> None:
        if seat.worker is not None:
            seat.worker.close()
            seat.worker = None

    def _logs(self, seat: Seat, worker: WorkerProcess) -> Path:
        """Keep what a worker said before it had a log of its own; return where to look."""
        folder, said = Path(seat.orders.folder), worker.said()
        if said:
            with suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
                (folder / "worker-start.log").write_text(said)
        return folder


def build(assignment: Assignment) -> Local:
    """Share this machine out among the workers; start them later."""
    config = assignment.config
    shares, sharing = share_out(config.workers, config.cores_per_worker, config.trainer.device, config.trainer.devices)
    team = [assignment.orders(index, share) for index, share in enumerate(shares)]
    notes = [sharing] if config.workers == "auto" else []
    return Local(team, config.launcher.deaths_in_a_row, assignment.finished, notes=notes)
