"""Fits a study's rivals once, in a process of its own beside the trials: one thread, the lowest priority, no torch.

The first worker hands the rows over, looks between its trials whether the process is done, and stores the scores with
the study. Were it killed meanwhile, the next one begins anew.
"""

import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import fmean
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from kirigami.tasks import rivals

if TYPE_CHECKING:
    from kirigami import tasks
    from kirigami.search.loop import Loop
    from kirigami.search.study.rivals import Rival

COMMAND = [sys.executable, "-P", "-m", "kirigami.search.workers.beside"]
CPU_S = 60  # of the process; what it has not fitted by then is left out
WAIT_S = 30.0  # at the end of a study that is over sooner
POLL_S = 0.05
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


Models = Sequence[Sequence[rivals.Fitted]]
"""What was fitted for each draw of the validation rows."""


@dataclass
class Beside:
    """The process that fits rivals, and what stores their scores."""

    process: subprocess.Popen[bytes]
    output: IO[bytes]
    store: Callable[[Models], None]

    def look(self) -> bool:
        """Store the scores once the process is done; return whether nothing is left to do."""
        if self.output.closed:
            return True
        if self.process.poll() is None:
            return False
        with self.output:
            self.output.seek(0)
            models = received(self.output.read())
        self.store(models)
        return True

    def finish(self, is_stopped: Callable[[], bool]) -> None:
        """Wait for the process, not for long and not where the worker is asked to stop, and end it."""
        end = time.monotonic() + WAIT_S
        while not self.look():
            if is_stopped() or time.monotonic() > end:
                self.process.kill()
                self.process.wait()
                self.output.close()
            else:
                time.sleep(POLL_S)


def begin(loop: "Loop") -> Beside | None:
    """Start to fit the rivals of a loop's study; None where it has them, or its task is none for them.

    They learn from all train rows as the data have them, whatever share a trial takes, and however it weighs them.
    """
    from kirigami.search.config.settings import TrialConfig
    from kirigami.search.study.facts import facts_of
    from kirigami.search.study.study import note_rivals
    from kirigami.search.training.building import open_whole

    if facts_of(loop.study).rivals is not None:
        return None
    config = TrialConfig.from_resolved(loop.prepare({}))
    try:
        first = open_whole(config)
        draws = [first, *(open_whole(config, fold) for fold in range(1, first.draws))]
        tables = [rivals.offer(task, task.validation) for task in draws]
    except (ValueError, RuntimeError, OSError) as error:
        print(f"no simple models are fitted beside the trials: {error}", flush=True)
        return None
    if None in tables:
        return None
    whole = [table for table in tables if table is not None]
    metric = next((name for name in config.objective if name in first.metrics), first.default_metric)
    return start(whole, lambda models: note_rivals(loop.study, scored(draws, metric, whole, models)))


def start(tables: Sequence[rivals.Table], store: Callable[[Models], None]) -> Beside:
    """Start the process and give it the rows of each draw."""
    output = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
    with tempfile.TemporaryFile() as rows:
        for table in tables:
            arrays: dict[str, Any] = {name: np.asarray(value) for name, value in vars(table).items()}
            for array in (np.array(sorted(arrays)), *(arrays[name] for name in sorted(arrays))):
                np.save(rows, array, allow_pickle=False)
        rows.seek(0)
        env = {**os.environ, **ONE_THREAD}
        process = subprocess.Popen(COMMAND, stdin=rows, stdout=output, stderr=subprocess.DEVNULL, env=env)
    return Beside(process, output, store)


def scored(draws: "Sequence[tasks.Task]", metric: str, tables: Sequence[rivals.Table], models: Models) -> "list[Rival]":
    """Return the rivals that were fitted for every draw, with their scores on the validation rows: means over draws.

    Args:
        metric: of the task, which chooses the settings of each.
    """
    of_draw = [
        {rival.name: rival for rival in rivals.judge(task, metric, table, fitted, task.validation.targets)}
        for task, table, fitted in zip(draws, tables, models, strict=False)
    ]
    if len(of_draw) < len(draws):
        return []
    return [
        _joined([rivals_of[name] for rivals_of in of_draw], draws, metric)
        for name in of_draw[0]
        if all(name in rivals_of for rivals_of in of_draw)
    ]


def _joined(parts: Sequence[rivals.Rival], draws: "Sequence[tasks.Task]", metric: str) -> "Rival":
    """Return a rival of every draw as one; its settings are those of the first."""
    from kirigami.search.study.rivals import Rival
    from kirigami.search.training.folds import joined

    rows = [_rows(part, task, metric) for part, task in zip(parts, draws, strict=True)]
    first = parts[0]
    return Rival(
        first.name,
        first.settings,
        {name: fmean(part.metrics[name] for part in parts) for name in first.metrics},
        sum(part.seconds for part in parts),
        max(part.bytes for part in parts),
        first.fitted_on,
        first.train_rows,
        (rows[0] if len(rows) == 1 else joined(rows, draws[0])) or None,
    )


def _rows(rival: rivals.Rival, task: "tasks.Task", metric: str) -> dict[str, Any]:
    """Return what each validation row adds to the metric, in the stored form; nothing where that is no number."""
    from torch import from_numpy

    from kirigami.search.study.rows import Rows

    values = task.row_scores(metric, from_numpy(rival.outputs), task.validation.targets)
    whole = Rows.build(metric, task.judged_rows(), values.numpy())
    return whole.to_plain() if values.isfinite().all() else {}


def received(data: bytes) -> list[list[rivals.Fitted]]:
    """Return the models of each draw that a process has written, up to one that it did not write to the end."""
    stream = io.BytesIO(data)
    models: list[list[rivals.Fitted]] = []
    with suppress(ValueError, EOFError):
        while line := stream.readline():
            about = json.loads(line)
            draw, has_choice = about.pop("draw"), about.pop("has_choice")
            chooses = np.load(stream, allow_pickle=False) if has_choice else None
            fitted = rivals.Fitted(**about, chooses=chooses, outputs=np.load(stream, allow_pickle=False))
            models += [[]] * (draw + 1 - len(models))
            models[draw] = [*models[draw], fitted]
    return models


def tables_in(data: bytes) -> Iterator[rivals.Table]:
    """Yield the rows of each draw."""
    stream = io.BytesIO(data)
    while stream.tell() < len(data):
        names = np.load(stream, allow_pickle=False)
        arrays = {str(name): np.load(stream, allow_pickle=False) for name in names}
        yield rivals.Table(**{name: value if value.ndim else value.item() for name, value in arrays.items()})


def main() -> None:
    """Fit the rivals of the rows on standard input; write each to standard output as it is done."""
    import resource

    os.nice(19)
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    out = sys.stdout.buffer
    for draw, table in enumerate(tables_in(sys.stdin.buffer.read())):
        for model in rivals.fit(table):
            about = {"name": model.name, "settings": model.settings, "seconds": model.seconds, "bytes": model.bytes}
            about |= {"draw": draw, "has_choice": model.chooses is not None}
            out.write(json.dumps(about).encode() + b"\n")
            for outputs in (model.chooses, model.outputs):
                if outputs is not None:
                    np.save(out, outputs, allow_pickle=False)
            out.flush()


if __name__ == "__main__":
    main()
