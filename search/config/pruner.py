"""`pruner:` of the config: the pruners by name, each with the arguments and the defaults of Optuna's class."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from kirigami.search.errors import InputError
from kirigami.search.schema import Group, names_of

Count = Annotated[int, Field(ge=0)]
Auto = Literal["auto"]


class Pruner(Group):
    """What all pruners have: a name, by which `kirigami.search.proposal.pruners` builds them."""

    name: str

    def arguments(self, fidelities: int, every: int) -> dict[str, Any]:
        """Return what the config says to Optuna's class.

        Args:
            fidelities: epochs or steps of a full trial; what `max_resource: auto` stands for.
            every: epochs or steps between validations, in which `min_resource` and `n_warmup_steps` are counted.
        """
        settings = self.model_dump(exclude={"name"}, exclude_unset=True)
        for key in ("min_resource", "n_warmup_steps"):
            if isinstance(count := getattr(self, key, None), int):
                settings[key] = count * every
        if settings.get("max_resource") == "auto":
            settings["max_resource"] = fidelities
        return settings


class Halving(Pruner):
    """What pruners by successive halving share: rungs at which one trial in `reduction_factor` goes on."""

    reduction_factor: int
    bootstrap_count: Count = 0

    def ladder(self, least: int, fidelities: int) -> tuple[int, ...]:
        """Return the rungs below the end of a full trial.

        Args:
            least: the first rung's fidelity, unless `min_early_stopping_rate` leaves some out.
            fidelities: epochs or steps of a full trial.
        """
        rung, rungs = least * self.reduction_factor**self.skipped, []
        while rung < fidelities:
            rungs.append(rung)
            rung *= self.reduction_factor
        return tuple(rungs)

    @property
    def skipped(self) -> int:
        """How many rungs at the start are left out."""
        return 0


class Asha(Halving):
    """Asynchronous successive halving: at fidelities `min_resource · reduction_factor^k` the best 1/factor go on.

    Attributes:
        min_resource: validations before the first rung; `auto` is a hundredth of a trial.
        bootstrap_count: how many trials end at a rung before any goes on.
    """

    name: Literal["asha"] = "asha"
    min_resource: Annotated[int, Field(ge=1)] | Auto = "auto"
    reduction_factor: int = Field(default=4, ge=2)
    min_early_stopping_rate: Count = 0

    @property
    def skipped(self) -> int:
        """How many rungs at the start are left out."""
        return self.min_early_stopping_rate


class Hyperband(Halving):
    """Successive halving in brackets that begin at different fidelities.

    Attributes:
        max_resource: the last fidelity that counts; `auto` is that of a full trial.
    """

    name: Literal["hyperband"] = "hyperband"
    min_resource: int = Field(default=1, ge=1)
    max_resource: Annotated[int, Field(ge=1)] | Auto = "auto"
    reduction_factor: int = Field(default=3, ge=2)


class Median(Pruner):
    """Stop below the median of earlier trials at the same fidelity."""

    name: Literal["median"] = "median"
    n_startup_trials: Count = 5
    n_warmup_steps: Count = 0
    interval_steps: int = Field(default=1, ge=1)
    n_min_trials: int = Field(default=1, ge=1)


class Wilcoxon(Pruner):
    """Stop where a signed-rank test against the best trial says that this one is worse."""

    name: Literal["wilcoxon"] = "wilcoxon"
    p_threshold: float = Field(default=0.1, ge=0, le=1)
    n_startup_steps: Count = 2


class Unpruned(Pruner):
    """Train every trial in full."""

    name: Literal["none"] = "none"


PRUNERS: tuple[type[Pruner], ...] = (Asha, Hyperband, Median, Wilcoxon, Unpruned)


def _without_siblings(values: Any) -> Any:
    """Drop the arguments of other pruners: a study that sets its own pruner's runs under any other."""
    if not isinstance(values, Mapping):
        return values
    chosen = next((pruner for pruner in PRUNERS if values.get("name") in names_of(pruner)), None)
    if chosen is None:
        return values
    others = {key for pruner in PRUNERS for key in pruner.model_fields} - set(chosen.model_fields)
    return {key: value for key, value in values.items() if key not in others}


AnyPruner = Annotated[
    Annotated[Asha | Hyperband | Median | Wilcoxon | Unpruned, Field(discriminator="name")],
    BeforeValidator(_without_siblings),
]
SEVERAL_OBJECTIVES = (Asha, Hyperband, Unpruned)


def check_several(pruner: Pruner, objectives: int) -> None:
    """Refuse a pruner that cannot weigh several objectives.

    Raises:
        InputError: in one line.
    """
    if objectives > 1 and not isinstance(pruner, SEVERAL_OBJECTIVES):
        names = ", ".join(names_of(*SEVERAL_OBJECTIVES))
        raise InputError(
            f"pruner.name must be one of ({names}) in a study of several objectives, but got {pruner.name!r}. "
            "Set pruner=asha."
        )
