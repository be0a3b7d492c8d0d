"""Trials' networks on disk: the file of one, those of a study's best trials, and where other machines find them."""

import json
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.study import Study
from safetensors import SafetensorError, safe_open

from kirigami.search.errors import InputError, one_line
from kirigami.search.files import replaced
from kirigami.search.storage.artifacts import Artifacts
from kirigami.search.study.choice import chosen, is_rival
from kirigami.search.study.ledger import Ledger
from kirigami.search.study.ranking import front, is_behind, sign_of
from kirigami.search.study.record import figure_of
from kirigami.search.training.job import log_line

if TYPE_CHECKING:
    from torch import nn

FORMAT = 1
KEY = "kirigami"
LEFT_OUT = ("space", "storage")


def save(
    path: Path,
    network: "nn.Module",
    config: Mapping[str, Any],
    shapes: Mapping[str, Any],
    recipes: Sequence[Mapping[str, Any]],
) -> None:
    """Write a network with what it takes to build it again, in one safetensors file; a reader never sees half of it.

    Args:
        path: of the file.
        network: whose weights are written.
        config: the trial's.
        shapes: of its data, as `kirigami.search.training.building.shapes_of` has them.
        recipes: of its techniques: the form that they have given the network.

    Raises:
        OSError: where it cannot be written.
    """
    from safetensors.torch import save_model  # torch comes with it, and a loop over a formula does without

    about = {
        "format": FORMAT,
        "config": {key: part for key, part in config.items() if key not in LEFT_OUT},
        "shapes": dict(shapes),
        "recipes": list(recipes),
    }
    try:
        with replaced(path) as temporary:
            save_model(network, str(temporary), metadata={KEY: json.dumps(about)})
    except SafetensorError as error:  # a full disk
        raise OSError(" ".join(str(error).split())) from error


def about_file(path: Path) -> dict[str, Any]:
    """Return the config, shapes and recipes in a network's file.

    Raises:
        InputError: where the file cannot be read, or no trial wrote it.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            text = (file.metadata() or {}).get(KEY)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: no readable safetensors file ({' '.join(str(error).split())}).") from error
    about = json.loads(text) if text is not None else {}
    if about.get("format") != FORMAT:
        raise InputError(f"{path}: no network of a trial (format {about.get('format')}, this version reads {FORMAT}).")
    return dict(about)


@dataclass(frozen=True)
class Networks:
    """A folder with one file for each trial.

    Attributes:
        folder: where the files lie on this machine.
        study: its name; studies may share artifacts.
        artifacts: where they lie for all machines; None is nowhere else.
    """

    folder: Path
    study: str
    artifacts: Artifacts | None = None

    def path(self, number: int) -> Path:
        """Return the file of a trial's network."""
        return self.folder / f"trial-{number:05d}.safetensors"

    def keep_if_best(
        self,
        study: Study,
        number: int,
        values: Sequence[float],
        save: Callable[[Path], None],
        ledger: Ledger,
        figures: Mapping[str, Any],
    ) -> None:
        """Keep the network of a complete trial that is the best, the chosen one, or on the front; drop others.

        Args:
            study: in which the trial has just been told.
            values: its objectives.
            save: writes its network.
            ledger: of the study, as it was read before that.
            figures: of the trial.
        """
        if is_behind(study, values, ledger) and not self._may_be_chosen(study, figures, ledger):
            return
        best = _worth_keeping(study, ledger)
        if number in best:
            self.keep(number, save, best)

    def _may_be_chosen(self, study: Study, figures: Mapping[str, Any], ledger: Ledger) -> bool:
        """Return whether a trial that is not the best may be the chosen one: smaller than all networks kept so far."""
        best, kept = ledger.ranked(sign_of(study))[0], [ledger.trial(number) for number in self._kept()]
        sizes = [size for trial in kept if trial is not None and (size := figure_of(trial, "bytes")) is not None]
        return figures.get("bytes", inf) < min(sizes, default=inf) and is_rival(study, figures, best)

    def _kept(self) -> list[int]:
        return [int(file.stem.partition("-")[2]) for file in self.folder.glob("trial-*.safetensors")]

    def keep(self, number: int, save: Callable[[Path], None], best: Collection[int]) -> None:
        """Write a trial's network and drop those of trials that are no longer among the best.

        Where it cannot be written (a full disk), a line in the worker's log says so, nothing is left of it, and the
        study goes on: an export trains the network again.
        """
        path = self.path(number)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            save(path)
        except OSError as error:
            log_line(f"the network of trial {number} cannot be kept in {self.folder}: {one_line(error)}")
            return
        if self.artifacts is not None:
            try:
                with path.open("rb") as content:
                    self.artifacts.write(self._name(path), content)
            except Exception as error:  # whatever a cloud's library raises: it is kept here
                log_line(f"the network of trial {number} cannot be kept in storage.artifacts: {one_line(error)}")
        for other in self._kept():
            if other not in best:
                self._drop(self.path(other))

    def fetch(self, number: int) -> None:
        """Bring a trial's network here from the artifacts, where it is there and not here."""
        path = self.path(number)
        if self.artifacts is None or path.exists():
            return
        with suppress(Exception):  # not kept, or out of reach: then it is trained again
            self.folder.mkdir(parents=True, exist_ok=True)
            with (
                self.artifacts.open_reader(self._name(path)) as source,
                replaced(path) as temporary,
                temporary.open("wb") as into,
            ):
                shutil.copyfileobj(source, into)

    def _drop(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        if self.artifacts is not None:
            with suppress(Exception):  # another worker was first
                self.artifacts.remove(self._name(path))

    def _name(self, path: Path) -> str:
        return f"network-{self.study}-{path.name}"


def _worth_keeping(study: Study, ledger: Ledger) -> set[int]:
    """Return the numbers of the whole front of several objectives; of one the best trial and the chosen one."""
    if len(study.directions) > 1:
        return {trial.number for trial in front(study, ledger)}
    choice = chosen(study, ledger)
    return set() if choice is None else {choice.best.number, choice.trial.number}
