"""The progress of a running search: a live line on a terminal, a plain log elsewhere."""

import time
from dataclasses import dataclass, field
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from kirigami.search.report.tables import score
from kirigami.search.report.wording import parts_of, why
from kirigami.search.study import spending
from kirigami.search.study.ledger import Ledger
from kirigami.search.study.ranking import metric_names, sign_of
from kirigami.search.study.record import result_of
from kirigami.search.study.states import ENDED, state_of
from kirigami.spaces import Budget


@dataclass
class Progress:
    """Follows a study by reading its ledger, the same each time; new are trials that end after the first look."""

    console: Console
    budget: Budget
    seen: int | None = None
    live: Live | None = None
    began: float = field(default_factory=time.monotonic)
    done_before: int = 0
    best_number: int | None = None

    def __enter__(self) -> "Progress":
        if self.console.is_terminal:
            self.live = Live(console=self.console, refresh_per_second=4, transient=True)
            self.live.start()
            self.live.update("preparing …")
        return self

    def __exit__(self, *_: Any) -> None:
        if self.live is not None:
            self.live.stop()

    def note(self, text: str) -> None:
        """Print a line that stays."""
        self.console.print(text, highlight=False, markup=False)

    def update(self, seen: tuple[Study, Ledger] | None) -> None:
        """Show the new results of the study."""
        if seen is None:
            return
        study, ledger = seen
        new = ledger.settled[self.seen or 0 :]
        if self.seen is None:
            before = [trial for trial in new if _before(trial, self.began)]
            self.done_before = sum(1 for trial in before if state_of(trial) in ENDED)
            new = [trial for trial in new if not _before(trial, self.began)]
        self.seen = len(ledger.settled)
        best = next(iter(ledger.ranked(sign_of(study))), None)
        for trial in sorted(new, key=lambda trial: (trial.datetime_complete, trial.number)):
            self._trial(study, trial, best)
        if self.live is not None:
            self.live.update(self._line(study, ledger, best))

    def _trial(self, study: Study, trial: FrozenTrial, best: FrozenTrial | None) -> None:
        """Print a trial: every one in a log, on a terminal those that matter."""
        state = state_of(trial)
        is_best = best is not None and best.number == trial.number
        if state == "surplus" or (
            self.live is not None and not is_best and state in ("complete", "over", "pruned", "infeasible", "paused")
        ):
            return
        seconds = result_of(trial).wall_s or 0.0
        text = f"trial {trial.number:>4} {state:<11} {seconds:6.2f} s  {why(study, trial)}"
        self.note(text + ("  best so far" if is_best else ""))

    def _line(self, study: Study, ledger: Ledger, best: FrozenTrial | None) -> Table:
        done, budget = ledger.finished, self.budget.trials
        elapsed = time.monotonic() - self.began
        rate = (done - self.done_before) / elapsed if elapsed > 0 else 0.0
        line = Table.grid(padding=(0, 2))
        cells: list[Any] = []
        if budget is not None:
            cells.append(ProgressBar(total=budget, completed=min(done, budget), width=24))
        cells.append(f"{done}{f'/{budget}' if budget is not None else ''} trials")
        cells.append(parts_of(ledger, ENDED))
        if best is not None:
            cells.append(f"best {metric_names(study)[0]} {score(best.values[0])} (trial {best.number})")
        cells.append(f"{rate:.2f} trials/s")
        cells += spending.shares(self.budget, ledger)
        cells.append(self._left(done, rate, ledger))
        line.add_row(*cells)
        return line

    def _left(self, done: int, rate: float, ledger: Ledger) -> str:
        """Return the time left by whichever budget ends first."""
        ends = []
        if self.budget.trials is not None and rate > 0:
            ends.append((self.budget.trials - done) / rate)
        if (rest := spending.left(self.budget, ledger)).budget:
            ends.append(rest.seconds)
        if not ends:
            return ""
        seconds = max(0, round(min(ends)))
        return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02} left"


def _before(trial: FrozenTrial, began: float) -> bool:
    """Return whether the trial ended before this search began to watch."""
    return trial.datetime_complete is None or trial.datetime_complete.timestamp() < time.time() - (
        time.monotonic() - began
    )
