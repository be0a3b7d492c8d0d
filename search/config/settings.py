"""The config as frozen objects: the settings of one trial, and of the study around it.

Groups whose arguments belong to models and tasks stay mappings, which their builders check.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, field_validator, model_validator

from kirigami.search.config import objective, pruner, sampler
from kirigami.search.config.groups import TECHNIQUES
from kirigami.search.config.identity import identity
from kirigami.search.config.launcher import Launcher, Slurm
from kirigami.search.config.pruner import AnyPruner
from kirigami.search.config.sampler import AnySampler
from kirigami.search.config.trainer import Checkpoint, TrainerConfig
from kirigami.search.schema import Group
from kirigami.search.storage import Settings as Storage
from kirigami.spaces import Budget

MOST_NAME_BYTES = 180  # a file's name may have 255, and those of checkpoints and networks begin with the study's
Part = dict[str, Any]
Objective = Annotated[dict[str, str | None], BeforeValidator(objective.named)]


def _budget(values: Any) -> Budget:
    return values if isinstance(values, Budget) else Budget.from_config(values)


class Output(Group):
    """What the network's outputs are taken for; `kirigami.models` knows which values suit a task."""

    loss: Any
    smoothing: Any
    calibration: Any
    threshold: Any


class TrialConfig(Group):
    """What one trial is made by.

    Attributes:
        objective: metric name -> direction, None where the metric knows it.
        metrics: of the user's own, name -> `_target_`, direction and arguments.
        techniques: group -> its settings, one of which is the method; `none` for a trial older than the group.
        plain: the mapping that was read, as the store keeps it.
    """

    model_config = ConfigDict(extra="ignore")  # the study's own groups; `compose` has refused unknown ones

    seed: int = Field(ge=0)
    objective: Objective
    metrics: dict[str, Part] = Field(default={}, description="a mapping of names to mappings, each with a _target_")
    weight_entropy: bool
    trainer: TrainerConfig
    budget: Annotated[Budget, BeforeValidator(_budget)]
    task: Part
    imbalance: Part
    network: Part
    init: Part
    techniques: dict[str, Part]
    optimizer: Part
    schedule: Part
    regime: Part
    output: Output
    plain: Part = Field(repr=False)

    @classmethod
    def from_resolved(cls, values: Mapping[str, Any]) -> Self:
        """Check a config whose interpolations are resolved: a study's, or that of a trial as the store keeps it.

        Raises:
            InputError: in one line, for the first value that makes no sense.
        """
        techniques = {group: values.get(group, {"method": "none"}) for group in TECHNIQUES}
        return cls.read({**values, "techniques": techniques, "plain": dict(values)})

    def with_changes(self, **groups: Any) -> Self:
        """Return the config with keys of groups changed: `with_changes(trainer={"device": "cpu"}, seed=3)`."""
        merged = {
            name: {**self.plain[name], **change} if isinstance(change, Mapping) else change
            for name, change in groups.items()
        }
        return type(self).from_resolved({**self.plain, **merged})

    def without_techniques(self) -> Self:
        """Return the config of the same trial without any technique."""
        return self.from_resolved({**self.plain, **{group: {"method": "none"} for group in TECHNIQUES}})

    @property
    def methods(self) -> dict[str, str]:
        """Group -> method of the techniques that the config asks for."""
        methods = {group: settings["method"] for group, settings in self.techniques.items()}
        return {group: method for group, method in methods.items() if method != "none"}


class Proposal(Group):
    """What a search without any other config needs: what is tried next, and what stops a trial early."""

    sampler: AnySampler = sampler.Tpe()
    pruner: AnyPruner = pruner.Unpruned()


class StudyConfig(TrialConfig):
    """A trial's config, and the study around it.

    Attributes:
        name: the record's in the store, and that of the study's folder.
        workers: how many processes; `auto` is one for each GPU, else one for each `cores_per_worker` cores.
        rivals: whether simple models are fitted beside the trials, where the task suits them.
        budget: with the price of a device, from `cost:`.
        export: whether a network of the user's own that cannot be exported is refused before the first trial.
    """

    name: str
    export: bool = True
    workers: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(description="a whole number of at least 1 or auto")
    cores_per_worker: int = Field(default=2, ge=1)
    rivals: bool = True
    storage: Storage
    launcher: Launcher
    sampler: AnySampler
    pruner: AnyPruner
    checkpoint: Checkpoint

    @model_validator(mode="before")
    @classmethod
    def _with_price(cls, values: Any) -> Any:
        """Join `cost:` to the budget, which may be one of money."""
        return {**values, "budget": Budget.from_config(values.get("budget"), values.get("cost") or {})}

    @field_validator("name", mode="before")
    @classmethod
    def _can_name_a_folder(cls, name: Any) -> Any:
        if not isinstance(name, str) or not name or any(sign in name for sign in "/\\\0") or name in (".", ".."):
            raise ValueError(f"name must be a name that a folder can have, but got {name!r}. Set name=NAME.")
        if len(name.encode()) > MOST_NAME_BYTES:
            raise ValueError(
                f"name must be short enough for the names of files, {MOST_NAME_BYTES} bytes at most, "
                f"but got {len(name.encode())}: {name[:20]!r}…. Set name=NAME."
            )
        return name

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        sampler.check_several(self.sampler, len(self.objective))
        pruner.check_several(self.pruner, len(self.objective))
        if self.workers == "auto" and isinstance(self.launcher, Slurm):
            raise ValueError("workers must be a number with launcher=slurm, but got 'auto'. Set workers=4, say.")
        return self

    @property
    def identity(self) -> dict[str, Any]:
        """What makes the study's trials comparable: dotted path -> value."""
        return identity(self.plain)
