"""The stored facts of a trial, in the user attributes of Optuna's record: one dataclass a fact.

Stored studies outlive the code that wrote them, so this file alone knows the names under which these facts are stored
(those of a study are in `facts`), and every schema that was ever written is read here. A fact is written with
`to_attrs` and read with `from_attrs`, which returns None where it is not stored.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from math import isfinite
from typing import Any, ClassVar, Self

from optuna.trial import FrozenTrial

Attrs = Mapping[str, Any]


@dataclass(frozen=True)
class Fact:
    """A fact whose fields are stored under one name."""

    KEY: ClassVar[str]

    def to_attrs(self) -> dict[str, Any]:
        """Return the stored form."""
        return {self.KEY: dict(vars(self))}

    @classmethod
    def from_attrs(cls, attrs: Attrs) -> Self | None:
        """Read the fact, as far as there are fields for what is stored; None where it is not."""
        stored = attrs.get(cls.KEY)
        if not isinstance(stored, Mapping):
            return None
        return cls(**{part.name: stored[part.name] for part in fields(cls) if part.name in stored})


@dataclass(frozen=True)
class Origin(Fact):
    """The origin of a trial: its config, seed and versions.

    Attributes:
        config: resolved, without the space and the storage.
        versions: of Python and the packages that decide a trial's numbers.
        revision: of the code in the folder where the search ran, where that is a git repository.
    """

    KEY: ClassVar = "origin"

    config: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    revision: str | None = None

    def group(self, name: str) -> Mapping[str, Any]:
        """Return a group of the config; an empty one where there is none."""
        part = self.config.get(name)
        return part if isinstance(part, Mapping) else {}


@dataclass(frozen=True)
class Worker(Fact):
    """The process that runs or ran a trial.

    Attributes:
        machine: differs between machines, boots and process namespaces; the host's name up to the first `/`.
        started: when the process started, in the kernel's ticks: process ids are used again.
        clock: seconds that the database's clock is ahead of the worker's.
    """

    KEY: ClassVar = "worker"

    machine: str = ""
    pid: int | None = None
    started: str | None = None
    clock: float = 0.0

    @property
    def name(self) -> str:
        """The worker as people see it, `host:pid`."""
        return "unknown" if self.pid is None else f"{self.machine.partition('/')[0]}:{self.pid}"


@dataclass(frozen=True)
class Resumed:
    """The checkpoint that a trial resumed from: its attempt and its fidelity."""

    trial: int
    fidelity: int


@dataclass(frozen=True)
class Result:
    """The result of a trial, stored by its worker before it told Optuna.

    Attributes:
        state: complete, pruned, failed, infeasible, surplus or paused; empty where nothing is stored.
        reason: why it ended, in words; None for a complete one.
        metrics: the last reported ones, costs among them where the trial is complete.
        curve: (fidelity, metrics) of every report.
        wall_s: seconds of its worker.
        device_s: seconds of devices.
        fit_s: seconds of training alone.
        devices: number of devices.
        device: the first device.
        energy_j: joules of the counters `energy_of`.
        saved_bytes: the most that autograd kept for the backward pass.
        shrinks: whether the network's size changed in training.
        raised_at: `file:line` of the error of a failed trial.
        resumed_from: the checkpoint that it resumed from.
        gradients: bytes sent between devices, compressed and uncompressed.
        similarity: layer similarity matrices, one a bank.
        rows: what each validation row adds to the first objective (`kirigami.search.study.rows`).
        folds: where it trained several networks: `scores` of each by metric, and the standard `error` of their means.
        figures: costs (params, macs, bytes, least_bytes, latency_ms) and the figures of techniques, by name.
    """

    KEY: ClassVar = "outcome"

    state: str = ""
    reason: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    curve: Sequence[tuple[int, Mapping[str, float]]] = ()
    wall_s: float | None = None
    device_s: float | None = None
    fit_s: float | None = None
    devices: int | None = None
    device: str | None = None
    energy_j: float | None = None
    energy_of: Sequence[str] = ()
    saved_bytes: int | None = None
    shrinks: bool = False
    raised_at: str | None = None
    resumed_from: Resumed | None = None
    gradients: Mapping[str, float] = field(default_factory=dict)
    similarity: Sequence[Mapping[str, Any]] = ()
    rows: Mapping[str, Any] = field(default_factory=dict)
    folds: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)

    def to_attrs(self) -> dict[str, Any]:
        """Return the stored form."""
        ending = {
            "state": self.state,
            "reason": self.reason,
            "metrics": _stored(self.metrics),
            "curve": [[fidelity, _stored(metrics)] for fidelity, metrics in self.curve],
        }
        return {self.KEY: {**ending, **self.facts()}}

    def facts(self) -> dict[str, Any]:
        """Return everything except state, reason, metrics and curve by name: seconds, devices, costs, figures."""
        typed = {part.name: getattr(self, part.name) for part in fields(self)[4:] if part.name != "figures"}
        typed = {name: value for name, value in typed.items() if value not in (None, False, (), {})}
        if self.resumed_from is not None:
            typed["resumed_from"] = dict(vars(self.resumed_from))
        return {**typed, **self.figures}

    @classmethod
    def from_attrs(cls, attrs: Attrs) -> Self | None:
        """Read the result; None where none is stored."""
        stored = attrs.get(cls.KEY)
        if not isinstance(stored, Mapping):
            return None
        curve = tuple((int(fidelity), _numbers(metrics)) for fidelity, metrics in stored.get("curve", ()))
        ending = {name: stored[name] for name in ("state", "reason") if name in stored}
        details = {name: value for name, value in stored.items() if name not in ("metrics", "curve", *ending)}
        return cls.from_details(**ending, metrics=_numbers(stored.get("metrics", {})), curve=curve, details=details)

    @classmethod
    def from_details(cls, *, details: Mapping[str, Any], **ending: Any) -> Self:
        """Build a result from the runner's details of a trial; a name without a field becomes a figure."""
        names = {part.name for part in fields(cls)} - {"figures"}
        typed = {name: value for name, value in details.items() if name in names}
        if isinstance(resumed := typed.get("resumed_from"), Mapping):
            typed["resumed_from"] = Resumed(**resumed)
        return cls(**ending, **typed, figures={name: value for name, value in details.items() if name not in names})


@dataclass(frozen=True)
class Rung:
    """The values of a trial at a rung.

    Attributes:
        fidelity: the rung's.
        values: of all objectives.
        over: sum of the relative excesses over the budget's limits.
    """

    fidelity: int
    bracket: int
    values: Mapping[str, float]
    over: float

    @staticmethod
    def key(fidelity: int) -> str:
        """Return the name under which a rung is stored."""
        return f"rung:{fidelity}"

    def to_attrs(self) -> dict[str, Any]:
        """Return the stored form."""
        return {self.key(self.fidelity): {"bracket": self.bracket, "values": dict(self.values), "over": self.over}}

    @classmethod
    def from_attrs(cls, attrs: Attrs, fidelity: int) -> Self | None:
        """Read the rung at a fidelity; None for a trial that has not reached it."""
        stored = attrs.get(cls.key(fidelity))
        return None if stored is None else cls(fidelity, **stored)


@dataclass(frozen=True)
class Checkpoint(Fact):
    """The last checkpoint of an attempt: the artifact's name, the trial's fidelity, and the file's digest."""

    KEY: ClassVar = "checkpoint"

    id: str
    fidelity: int
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Retry:
    """The mark of a retry: it replaces an attempt whose worker is gone, or resumes a paused one.

    Attributes:
        of: number of that attempt.
        deaths: number of workers that died during earlier attempts at the trial.
    """

    OF: ClassVar = "retry_of"
    DEATHS: ClassVar = "retries"

    of: int
    deaths: int = 0

    def to_attrs(self) -> dict[str, Any]:
        """Return the stored form."""
        return {self.OF: self.of, self.DEATHS: self.deaths}

    @classmethod
    def from_attrs(cls, attrs: Attrs) -> Self | None:
        """Read it; None for a first attempt."""
        number = _whole(attrs.get(cls.OF))
        return None if number is None else cls(number, _whole(attrs.get(cls.DEATHS)) or 0)


@dataclass(frozen=True)
class GivenUp:
    """The end of an attempt that was given up.

    Attributes:
        handed_back: whether its worker handed it back, asked to stop; else the worker died.
        lost_s: seconds that its worker had spent on it; None if unknown.
    """

    HANDED_BACK: ClassVar = "handed_back"
    LOST: ClassVar = "lost_s"

    handed_back: bool = False
    lost_s: float | None = None

    def to_attrs(self) -> dict[str, Any]:
        """Return the stored form: what is known of it, so that one part may be written before the other."""
        handed_back = {self.HANDED_BACK: True} if self.handed_back else {}
        return {**handed_back, **({} if self.lost_s is None else {self.LOST: self.lost_s})}

    @classmethod
    def from_attrs(cls, attrs: Attrs) -> Self:
        """Read it; of an attempt that was not given up neither is known."""
        return cls(cls.HANDED_BACK in attrs, None if attrs.get(cls.LOST) is None else float(attrs[cls.LOST]))


@dataclass(frozen=True)
class Screened:
    """The draw of a screening that a queued trial comes from."""

    KEY: ClassVar = "screen"

    draw: str

    def to_attrs(self) -> dict[str, Any]:
        """Return the stored form."""
        return {self.KEY: self.draw}

    @classmethod
    def from_attrs(cls, attrs: Attrs) -> Self | None:
        """Read it; None for a trial that no screening has queued."""
        return cls(attrs[cls.KEY]) if cls.KEY in attrs else None


def write(fact: Any, setter: Callable[[str, Any], None]) -> None:
    """Store a fact, attribute by attribute.

    Args:
        fact: one of the dataclasses above.
        setter: stores one attribute, as `trial.set_user_attr` and `study.set_user_attr` do.
    """
    for name, value in fact.to_attrs().items():
        setter(name, value)


def result_of(trial: FrozenTrial) -> Result:
    """Return the result stored at the trial's end; an empty one if none is stored."""
    return Result.from_attrs(trial.user_attrs) or Result()


def stored_result(trial: FrozenTrial) -> Mapping[str, Any]:
    """Return the stored form of the result, for reading one value of it without the rest; {} where none is stored."""
    stored = trial.user_attrs.get(Result.KEY)
    return stored if isinstance(stored, Mapping) else {}


def state_recorded(trial: FrozenTrial) -> str | None:
    """Return the state of the stored result, without reading the rest of it."""
    state: str | None = stored_result(trial).get("state")
    return state


def figure_of(trial: FrozenTrial, name: str) -> Any:
    """Return a cost or another figure of the stored result, without reading the rest of it; None where it has none."""
    return stored_result(trial).get(name)


def retry_of(trial: FrozenTrial) -> int | None:
    """Return the number of the attempt that a trial retries."""
    return _whole(trial.user_attrs.get(Retry.OF))


def deaths_of(trial: FrozenTrial) -> int:
    """Return the number of workers that died during earlier attempts at a trial."""
    return _whole(trial.user_attrs.get(Retry.DEATHS)) or 0


def _whole(value: Any) -> int | None:
    """Return a whole number; None for anything else, which another program stored."""
    return value if isinstance(value, int) else None


def _stored(metrics: Mapping[str, float]) -> dict[str, float | str]:
    """JSON has no NaN: it is kept as text."""
    return {name: float(value) if isfinite(value) else str(value) for name, value in metrics.items()}


def _numbers(stored: Mapping[str, float | str]) -> dict[str, float]:
    return {name: float(value) for name, value in stored.items()}
