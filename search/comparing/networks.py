"""The networks of the leaders' repeats on disk, until the winner is known."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from kirigami.search.comparing.paired import Train, attempt
from kirigami.search.comparing.record import Arm
from kirigami.search.errors import StudyStopped
from kirigami.search.training.job import Outcome


class Networks:
    """A folder with one file for each arm and seed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, arm: Arm, seed: int, outcome: Outcome) -> None:
        """Write the network of a finished run."""
        if outcome.trained is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            outcome.trained.save(self._file(arm, seed))

    def complete(self, arm: Arm, seeds: Sequence[int], train: Train) -> list[Path]:
        """Return an arm's files in the order of the seeds; what is no longer there is trained again.

        Raises:
            StudyStopped: where that fails.
        """
        for number, seed in enumerate(seeds):
            if not self._file(arm, seed).exists():
                run, outcome = attempt(arm, seed, number, train, lambda: False)
                if outcome.trained is None:
                    raise StudyStopped(f"{arm.label} cannot be trained again under seed {seed}: {run.reason}")
                self.keep(arm, seed, outcome)
        return [self._file(arm, seed) for seed in seeds]

    def drop_all_but(self, files: Sequence[Path]) -> None:
        """Delete the networks of all others."""
        with suppress(OSError):
            for file in self.folder.glob("*.safetensors"):
                if file not in files:
                    file.unlink(missing_ok=True)

    def _file(self, arm: Arm, seed: int) -> Path:
        return self.folder / f"{arm.identity}-{seed}.safetensors"
