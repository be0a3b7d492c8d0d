"""The stored facts of a study, in the user attributes of Optuna's record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from optuna.study import Study

from kirigami.search.study.record import Worker

SCHEMA = 1
KINDS = {"schema": int, "baselines": Mapping, "data": str, "copied": Mapping, "identity": Mapping, "rivals": list}


@dataclass(frozen=True)
class Copied:
    """The origin of a copied study: source store, time, and copying process."""

    source: str | None = None
    at: str | None = None
    worker: Worker | None = None

    def to_plain(self) -> dict[str, Any]:
        """Return the stored form."""
        return {"from": self.source, "at": self.at, **({} if self.worker is None else self.worker.to_attrs())}

    @classmethod
    def from_plain(cls, stored: Mapping[str, Any]) -> Self:
        """Read it."""
        return cls(stored.get("from"), stored.get("at"), Worker.from_attrs(stored))


@dataclass(frozen=True)
class StudyFacts:
    """The facts of a study; None if not stored yet.

    Attributes:
        schema: of the stored facts.
        baselines: scores of constant answers on the validation rows, by name.
        data: fingerprint of the rows.
        copied: where the study was made by `kirigami copy`.
        rivals: simple models beside the networks, in the stored form (`kirigami.search.study.rivals`).
        identity: the settings that define a trial's meaning, by dotted path; stored last, so it marks a complete study.
    """

    schema: int | None = None
    baselines: Mapping[str, Mapping[str, float]] | None = None
    data: str | None = None
    copied: Copied | None = None
    identity: Mapping[str, Any] | None = None
    rivals: Sequence[Mapping[str, Any]] | None = None

    def to_attrs(self) -> dict[str, Any]:
        """Return the stored form."""
        stored = {name: value for name, value in vars(self).items() if value is not None}
        return {**stored, **({} if self.copied is None else {"copied": self.copied.to_plain()})}

    @classmethod
    def from_attrs(cls, attrs: Mapping[str, Any]) -> Self:
        """Read the stored facts of a study; what another program stored under such a name is none."""
        stored = {name: attrs[name] for name, kind in KINDS.items() if isinstance(attrs.get(name), kind)}
        copied = stored.pop("copied", None)
        return cls(**stored, copied=None if copied is None else Copied.from_plain(copied))


def facts_of(study: Study) -> StudyFacts:
    """Return the stored facts of a study."""
    return StudyFacts.from_attrs(study.user_attrs)
