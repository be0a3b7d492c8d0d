"""Workers as an array of SLURM jobs, submitted by submitit; its local executor runs the same jobs here.

A job keeps its one worker going as this machine's launcher does. Where SLURM warns that it will end the job, for its
time or for another's priority, the trial is handed back and the job queued again. The store's URL goes through the
environment of the job, never into a file.
"""

import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from kirigami.search.config.launcher import Slurm
from kirigami.search.errors import InputError, one_line
from kirigami.search.storage import Settings, shown
from kirigami.search.study.watching import counter, reader
from kirigami.search.workers.launchers.base import Assignment, Patience, Report
from kirigami.search.workers.launchers.local import Local
from kirigami.search.workers.launchers.places import Share
from kirigami.search.workers.worker import Orders

URL = "KIRIGAMI_STORAGE"
LOOK_SECONDS = 1.0  # between two looks of a job at its worker and at the stop file
SENT_AWAY_SECONDS = 60  # after SIGTERM SLURM ends the job, or somebody only ended the worker
NOT_AGAIN = ("CANCELLED", "TIMEOUT", "timed-out")


class Job:
    """What a SLURM job runs: one worker, until the study's budget is met or the stop file is there."""

    def __init__(self, orders: Mapping[str, Any], stop_file: str, deaths_in_a_row: int) -> None:
        self.orders, self.stop_file, self.deaths_in_a_row = orders, stop_file, deaths_in_a_row
        self.launcher: Local | None = None

    def __call__(self) -> dict[str, Any]:
        """Return the worker's last report as a dict."""
        worker_orders = Orders(**self.orders)
        if URL not in os.environ:
            return asdict(Report(refused=f"{URL} did not reach the job. Leave sbatch's --export at ALL."))
        settings = Settings.read({**worker_orders.raw["storage"], "url": os.environ[URL]})
        finished = counter(reader(settings, worker_orders.raw["name"]))
        self.launcher = Local([worker_orders], self.deaths_in_a_row, finished, hold_s=SENT_AWAY_SECONDS)
        try:
            self.launcher.start()
            return asdict(self._follow(self.launcher))
        finally:
            self.launcher.stop()
            self.launcher.close()

    def checkpoint(self) -> Any:
        """Hand the trial back; return the job for submitit to queue again. SLURM's warning calls this."""
        from submitit.helpers import DelayedSubmission

        if self.launcher is not None:
            self.launcher.stop()
            self.launcher.close()
        return DelayedSubmission(Job(self.orders, self.stop_file, self.deaths_in_a_row))

    def _follow(self, launcher: Local) -> Report:
        while True:
            (report,) = launcher.poll()
            while launcher.notes:
                print(launcher.notes.pop(0), flush=True)
            if report.gone:
                return report
            if os.path.exists(self.stop_file):
                launcher.stop()
            time.sleep(LOOK_SECONDS)


@dataclass
class Slot:
    """One worker: its job, and the last that is known."""

    index: int
    job: Any
    patience: Patience
    report: Report = field(default_factory=Report)
    due: float | None = None


@dataclass
class OnSlurm:
    """Keeps an array of jobs.

    Args:
        orders: makes a worker's orders from its number and its share.
        folder: of the study's files; the jobs' logs go to `slurm/` in it.
        url: of the store, as every worker will open it.
    """

    settings: Slurm
    workers: int
    orders: Callable[[int, Share], Orders]
    folder: Path
    url: str
    name: str
    finished: Callable[[], int | None]
    notes: list[str] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)
    stopping: bool = False

    def __post_init__(self) -> None:
        self.leaves = not self.settings.wait
        self.logs = self.folder / "slurm"
        self.stop_file = self.logs / f"stop-{uuid.uuid4().hex[:12]}"

    def start(self) -> None:
        """Submit the array."""
        self.executor = _executor(self.settings, self.logs, self.name)
        jobs = self._submit(range(self.workers))
        limit = self.settings.deaths_in_a_row
        self.slots = [Slot(index, job, Patience(limit, self.finished)) for index, job in enumerate(jobs)]
        many = f"{self.workers} job{'s' * (self.workers > 1)}"
        where = "SLURM" if self.settings.cluster == "slurm" else "this machine, as SLURM would run them"
        self.notes.append(f"{many} on {where}: {', '.join(job.job_id for job in jobs)}. Logs in {self.logs}.")
        if self.leaves:
            queue = "`squeue --me`, " if self.settings.cluster == "slurm" else ""
            self.notes.append(f"They go on by themselves. Watch: {queue}`kirigami results name={self.name}`.")

    def poll(self) -> list[Report]:
        """Look at each job; submit another where one was lost."""
        met = next((slot.report.ended for slot in self.slots if slot.report.met), None)
        for slot in self.slots:
            if slot.report.gone:
                continue
            if slot.due is not None:
                self._again(slot)
            elif slot.job.done():
                self._ended(slot)
            elif met is not None and not slot.report.joined:
                slot.job.cancel()
                slot.report = Report(ended=met)
            elif slot.job.state == "RUNNING":
                slot.report = replace(slot.report, joined=True)
        return [slot.report for slot in self.slots]

    def stop(self) -> None:
        """Write the file that the jobs look for; cancel those that wait in the queue."""
        self.stopping = True
        if self.slots and not self.stop_file.exists():
            self.stop_file.touch()
        for slot in self.slots:
            if not slot.report.gone and (slot.due is not None or slot.job.state in ("PENDING", "REQUEUED")):
                slot.job.cancel()
                slot.report = Report(ended="stopped")

    def kill(self) -> None:
        """Cancel all jobs: SLURM sends SIGTERM, and SIGKILL half a minute later."""
        for slot in self.slots:
            if not slot.report.gone:
                slot.job.cancel()
                slot.report = Report(ended="stopped")

    def close(self) -> None:
        """Wait for those that hand back, and remove the stop file."""
        if self.leaves:
            return
        while not all(report.gone for report in self.poll()):
            time.sleep(LOOK_SECONDS)
        self.stop_file.unlink(missing_ok=True)

    def _submit(self, indices: Any) -> list[Any]:
        share = Share(self.settings.cpus_per_task)
        limit = self.settings.deaths_in_a_row
        jobs = [Job(self._portable(index, share), str(self.stop_file), limit) for index in indices]
        with _environment(URL, self.url):
            try:
                with self.executor.batch():
                    return [self.executor.submit(job) for job in jobs]
            except Exception as error:  # submitit's own, and what sbatch says
                raise InputError(f"launcher=slurm: the jobs were refused: {_last(error)}") from error

    def _portable(self, index: int, share: Share) -> dict[str, Any]:
        """Return the orders without the store's URL: submitit writes them to a file."""
        orders = asdict(self.orders(index, share))
        orders["raw"] = {**orders["raw"], "storage": {**orders["raw"]["storage"], "url": f"${{oc.env:{URL}}}"}}
        return orders

    def _ended(self, slot: Slot) -> None:
        try:
            slot.report = Report(**slot.job.result())
        except Exception as error:  # whatever became of the job; submitit has several words for it
            reason = f"{slot.job.state}: {_last(error)}"
            if self.stopping:
                slot.report = Report(ended="stopped")
                return
            again = not any(word in reason for word in NOT_AGAIN)
            pause = slot.patience.after_death() if again else None
            if pause is None:
                slot.report = Report(died=f"job {slot.job.job_id} {reason}. See {self.logs}")
            else:
                self.notes.append(f"worker {slot.index} was lost with job {slot.job.job_id}; submitting another")
                slot.due = time.monotonic() + pause

    def _again(self, slot: Slot) -> None:
        if slot.due is not None and time.monotonic() >= slot.due and not self.stopping:
            (slot.job,) = self._submit([slot.index])
            slot.due, slot.report = None, Report()


def build(assignment: Assignment) -> OnSlurm:
    """Check that submitit is installed and that the store can be reached; submit later.

    Raises:
        InputError: in one line.
    """
    try:
        import submitit  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"launcher=slurm needs submitit, which is not installed here ({error}). "
            "Run: pip install 'kirigami-search[slurm]'."
        ) from error
    config, settings = assignment.config, assignment.config.launcher
    assert isinstance(settings, Slurm)
    url = config.storage.url
    if settings.cluster == "slurm" and url.startswith("sqlite"):
        raise InputError(
            f"storage.url={shown(url)} is on this machine alone, but SLURM runs the workers on others. "
            "Set storage.url=postgresql://USER@HOST/DATABASE, where HOST is known to all of them."
        )
    folder = Path(assignment.orders(0, Share(1)).folder)
    return OnSlurm(settings, int(config.workers), assignment.orders, folder, url, config.name, assignment.finished)


def _executor(settings: Slurm, logs: Path, name: str) -> Any:
    import submitit

    cluster = settings.cluster
    try:
        logs.mkdir(parents=True, exist_ok=True)
        executor = submitit.AutoExecutor(logs, cluster=cluster, slurm_max_num_timeout=settings.max_num_timeout)
        executor.update_parameters(
            name=f"kirigami-{name}",
            timeout_min=settings.timeout_min,
            cpus_per_task=settings.cpus_per_task,
            gpus_per_node=settings.gpus_per_node or None,
            mem_gb=settings.mem_gb,
            slurm_partition=settings.partition,
            slurm_account=settings.account,
            slurm_qos=settings.qos,
            slurm_constraint=settings.constraint,
            slurm_signal_delay_s=settings.signal_delay_s,
            slurm_setup=settings.setup or None,
            slurm_additional_parameters=settings.additional_parameters or None,
            **({"local_setup": settings.setup} if settings.setup else {}),
        )
    except RuntimeError as error:
        hint = "Run it where `sbatch` is, or set launcher.cluster=local."
        raise InputError(f"launcher.cluster={cluster}: {one_line(error)}. {hint}") from error
    except (OSError, NameError, AssertionError, TypeError, ValueError) as error:
        raise InputError(f"launcher=slurm: {one_line(error)}.") from error
    return executor


def _last(error: Exception) -> str:
    """Return the last line of submitit's error, which has the reason or the start of the job's log."""
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip(" -")]
    return lines[-1] if lines else type(error).__name__


@contextmanager
def _environment(key: str, value: str) -> Iterator[None]:
    """Let programs that are started meanwhile find a variable in their environment."""
    before = os.environ.get(key)
    os.environ[key] = value
    try:
        yield
    finally:
        with suppress(KeyError):
            del os.environ[key]
        if before is not None:
            os.environ[key] = before
