"""Which train rows validate: one share, folds of which each validates once, repeated draws, or the last rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np

from kirigami.errors import ArgumentError
from kirigami.tasks.splits import VALIDATION_STREAM, Places, carve, check_amount, ordered, rows_of

NAME = "validation"
FORMS = "a share below 1, a number of rows, {folds: 5}, {repeats: 3, share: 0.25}, {last: true} or {last: 0.2}"
KEYS = ({"folds"}, {"repeats", "share"}, {"repeats"}, {"last"})
SHARE = 0.25


class Draw(NamedTuple):
    """The rows of a part of train rows, sorted: those to train on, and those that validate."""

    train: np.ndarray
    validation: np.ndarray


@dataclass(frozen=True)
class Validation:
    """How the rows that select are taken from the train rows.

    Attributes:
        amount: a share or a number of rows; None where the last file validates.
        folds: parts of which each validates once; 1 is none.
        repeats: draws of `amount`; 1 is one.
        is_last: whether the last rows validate, in place of rows drawn by chance.
    """

    amount: float | None = SHARE
    folds: int = 1
    repeats: int = 1
    is_last: bool = False

    @classmethod
    def read(cls, value: Any) -> Self:
        """Read what a config says: `0.25`, `{folds: 5}`, `{repeats: 3, share: 0.25}`, `{last: true}`.

        Raises:
            ArgumentError: for anything else.
        """
        if not isinstance(value, Mapping):
            check_amount(NAME, value)
            return cls(value)
        plain = {str(key): part for key, part in value.items() if part is not None}
        if set(plain) not in KEYS:
            raise ArgumentError(NAME, f"must be {FORMS}, but got {dict(value)!r}.", (NAME, 0.25))
        if "folds" in plain:
            return cls(folds=_count("folds", plain["folds"]))
        if "repeats" in plain:
            share = plain.get("share", SHARE)
            check_amount(f"{NAME}.share", share)
            return cls(share, repeats=_count("repeats", plain["repeats"]))
        if plain["last"] is True:
            return cls(None, is_last=True)
        check_amount(f"{NAME}.last", plain["last"])
        return cls(plain["last"], is_last=True)

    @property
    def draws(self) -> int:
        """How many networks a trial trains, each judged by the rows that it has not seen."""
        return self.folds * self.repeats

    def draw(self, strata: np.ndarray, *, seed: int, fold: int = 0, last_file: int | None = None) -> Draw:
        """Part rows, given the stratum of each (N,), in the order of the files.

        Args:
            strata: of the rows.
            seed: of the draw.
            fold: which of the draws.
            last_file: how many of the rows come from the last of several files; None where there is one file.

        Raises:
            ArgumentError: where too few rows are left to train on, or to judge by.
        """
        total = len(strata)
        if self.folds > 1:
            return self._fold(strata, seed, fold)
        if not self.is_last:
            wanted = rows_of(NAME, SHARE if self.amount is None else self.amount, total)
            return Draw(*carve(strata, wanted, seed=seed, stream=VALIDATION_STREAM, repeat=fold))
        rows = last_file if self.amount is None else rows_of(f"{NAME}.last", self.amount, total)
        if not rows or rows >= total:
            raise ArgumentError(
                f"{NAME}.last",
                f"is true, which needs rows from two train files or more, but {rows or 0} of {total} rows are from the "
                "last of several.",
                (f"{NAME}.last", 0.2),
            )
        return Draw(np.arange(total - rows), np.arange(total - rows, total))

    def places(self, draw: Draw, total: int) -> Places | None:
        """Return the places of the validation rows of a draw among all; None where there is one draw."""
        return Places(draw.validation, total, self.repeats == 1) if self.draws > 1 else None

    def _fold(self, strata: np.ndarray, seed: int, fold: int) -> Draw:
        """Deal the rows of each stratum, in a random order, to the folds in turn, so that sizes differ by one."""
        if self.folds > len(strata):
            raise ArgumentError(f"{NAME}.folds", f"must be at most the {len(strata)} rows, but got {self.folds}.")
        dealt = np.concatenate(ordered(strata, seed, VALIDATION_STREAM))
        taken = np.zeros(len(strata), dtype=bool)
        taken[dealt[fold :: self.folds]] = True
        return Draw(np.flatnonzero(~taken), np.flatnonzero(taken))


def _count(key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 2:
        raise ArgumentError(f"{NAME}.{key}", f"must be a whole number of at least 2, but got {value!r}.")
    return value
