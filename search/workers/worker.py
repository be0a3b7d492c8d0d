"""A worker process: takes its orders as one line of JSON on standard input, then runs the loop.

The launcher keeps the other end of standard input open: when it closes, asked to stop or dead, the worker hands its
trial back and leaves. SIGTERM asks the same. Standard output carries a line of JSON with notices about the data, one
when it has joined the study, and one with how it ended.
"""

import contextlib
import json
import os
import platform
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from kirigami.search.config import own_code
from kirigami.search.errors import InputError, StudyStopped, failure_of, is_of_a_store, masked, traced
from kirigami.search.training.loading import quickly

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.study import Study

    from kirigami.search.config.study import StudySettings
    from kirigami.search.loop import Loop
    from kirigami.search.study.ledger import Ledger


@dataclass(frozen=True)
class Orders:
    """What a worker needs to know: the composed config, the study's folder, its own number and share of the cores.

    Attributes:
        paths: folders where the user's own modules may lie.
        env: the environment it is started in, beyond that of the process that starts it.
    """

    raw: dict[str, Any]
    folder: str
    index: int
    threads: int
    paths: list[str]
    env: dict[str, str] = field(default_factory=dict)


def main() -> None:
    """Run one worker and exit with 0 (done or stopped), 1 (the study stopped), 2 (the input is wrong) or 3 (it died).

    What goes wrong before it has joined the study would go wrong again, and is its answer; later it dies of an error,
    and another one may go on.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the supervisor, which asks us to stop
    answers = _take_stdout()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    for name in ("SIGUSR1", "SIGUSR2"):  # SLURM warns all processes of a job; the one above us acts on it
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    orders = Orders(**json.loads(sys.stdin.readline()))
    threading.Thread(target=_watch, args=(stop,), daemon=True).start()
    own_code.add_folders(orders.paths)
    threading.excepthook = lambda hook: print(traced(hook.exc_value), file=sys.stderr) if hook.exc_value else None
    joined = threading.Event()

    def on_joined() -> None:
        joined.set()
        _say(answers, {"joined": True})

    code, answer = 0, {}
    try:
        answer = {"ended": work(orders, stop, on_joined, lambda lines: _say(answers, {"notices": lines}))}
    except Exception as error:
        code, answer = _ending(error, joined.is_set())
    _say(answers, answer)
    os._exit(code) if stop.is_set() else sys.exit(code)


def _ending(error: Exception, joined: bool) -> tuple[int, dict[str, str]]:
    """Return the exit code and the answer of a worker that ends by an error; its traceback goes to the log."""
    if not isinstance(error, InputError | StudyStopped):
        print(traced(error), file=sys.stderr, flush=True)
        if joined or is_of_a_store(error):
            return 3, {"died": masked(failure_of(error).line)}
    line, code = failure_of(error)
    return code, {"error": masked(line)}


def work(
    orders: Orders, stop: threading.Event, on_joined: Callable[[], None], notify: Callable[[list[str]], None] = print
) -> str:
    """Rehearse, create or join the study, and run the loop; return why it ended.

    Args:
        orders: of this worker.
        stop: set where it shall hand its trial back.
        on_joined: called when it has joined the study.
        notify: takes lines about the data that the user should read.
    """
    with quickly():
        import torch

        from kirigami.search.workers import beside

    torch.set_num_threads(orders.threads)
    try:
        loop = prepare(orders, stop, notify)
    except InputError:
        raise
    except ValueError as error:  # what spaces, tasks and models say of the user's config
        raise InputError(" ".join(str(error).split())) from error
    _log_to(Path(orders.folder) / f"worker-{orders.index}.log")
    for line in loop.storage.oddities() if loop.storage is not None else []:
        print(line, flush=True)
    on_joined()
    rivals = beside.begin(loop) if orders.raw["rivals"] and orders.index == 0 else None
    if rivals is None:
        return loop.run()
    loop.between = rivals.look
    try:
        return loop.run()
    finally:
        rivals.finish(stop.is_set)


def prepare(orders: Orders, stop: threading.Event, notify: Callable[[list[str]], None] = print) -> "Loop":
    """Check all that can be checked before a trial, then open the store and create or join the study.

    Args:
        orders: of this worker.
        stop: set where it shall hand its trial back.
        notify: takes lines about the data that the user should read.

    Raises:
        ValueError: in one line, for what is wrong with the config, the data, the store or the study.
    """
    with quickly():
        from kirigami.search import storage
        from kirigami.search.config.study import StudySettings
        from kirigami.search.loop import Loop
        from kirigami.search.proposal.judges import build_judge
        from kirigami.search.rehearsal.building import rehearse
        from kirigami.search.rehearsal.objectives import check_objectives, directions
        from kirigami.search.storage import artifacts
        from kirigami.search.study import study
        from kirigami.search.study.ledger import Ledger
        from kirigami.search.training import alone as trial
        from kirigami.search.training import checkpoints
        from kirigami.search.training.runners import Solo

    settings = StudySettings.from_raw(orders.raw)
    config, space = settings.config, settings.space
    own_code.check_targets(orders.raw, orders.paths)
    task = rehearse(settings)
    if task.notices and orders.index == 0:
        notify(list(task.notices_at("task")))
    objectives = directions(config)
    check_objectives(config, objectives, task)
    full, every = config.trainer.fidelities * task.draws, config.trainer.val_every
    judge = build_judge(config.pruner, objectives=len(objectives), fidelities=full, every=every)
    shared, every_s = artifacts.open_artifacts(config.storage.artifacts, Path(orders.folder)), config.checkpoint.every_s
    store = storage.open_storage(config.storage, patient=True)
    store.watch.stop_requested = stop.is_set
    joined = study.create(store, config.name, objectives, config.identity)
    study.check_same(joined, config.identity)
    study.check_data(joined, task.fingerprint())
    study.note_baselines(joined, task.baselines(task.validation.targets))
    ledger = Ledger()
    joined.sampler = _sampler(settings, joined, ledger)
    return Loop(
        study=joined,
        space=space,
        runner=Solo(partial(trial.train, threads=orders.threads, runs=Path(orders.folder) / "runs")),
        budget=config.budget,
        prepare=settings.resolved,
        storage=store,
        judge=judge,
        folder=Path(orders.folder) / "networks",
        shared=shared if config.storage.artifacts else None,
        checkpoint_store=None if every_s is None else checkpoints.CheckpointStore(shared, every_s),
        stop_requested=stop.is_set,
        ledger=ledger,
    )


def _sampler(settings: "StudySettings", study: "Study", ledger: "Ledger") -> "BaseSampler":
    """Return the study's sampler, which draws by the place of a trial in the order of asking."""
    from kirigami.search.proposal import samplers
    from kirigami.spaces import PriorSampler

    config = settings.config
    return PriorSampler(
        samplers.sampler_factory(config.sampler, config.seed),
        settings.space,
        config.seed,
        place=lambda _, trial: ledger.read(study).place(trial),
        window=config.sampler.sees(),
    )


def _take_stdout() -> TextIO:
    """Keep standard output for the answer, and send whatever libraries print to the log."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def _say(answers: TextIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _log_to(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        log = path.open("a")
    except OSError as error:
        where = f"{path.parent} cannot be written on {platform.node()}"
        raise InputError(f"{where}: {error.strerror}. Run the command where all machines can write.") from error
    with log:
        for number in (1, 2):
            os.dup2(log.fileno(), number)


def _watch(stop: threading.Event) -> None:
    with contextlib.suppress(OSError, ValueError):
        while sys.stdin.readline():
            pass
    stop.set()


if __name__ == "__main__":
    main()
