"""`sampler:` of the config: the samplers by name, each with the arguments and the defaults of Optuna's class."""

from typing import Annotated, Any, Literal

from pydantic import Field

from kirigami.search.errors import InputError
from kirigami.search.schema import Group
from kirigami.spaces.window import BEST

Startup = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class Sampler(Group):
    """What all samplers have: a name, by which `kirigami.search.proposal.samplers` builds them."""

    name: str

    def arguments(self) -> dict[str, Any]:
        """Return what the config says to Optuna's class."""
        return self.model_dump(exclude={"name", "window"}, exclude_unset=True)

    def sees(self) -> int | None:
        """Return how many finished trials the sampler is shown; None for all of them."""
        return None


class Tpe(Sampler):
    """Tree-structured Parzen estimator.

    Attributes:
        window: how many finished trials it weighs, the best and the latest; None for all.
    """

    name: Literal["tpe"] = "tpe"
    multivariate: bool | None = None
    group: bool = False
    constant_liar: bool = True
    n_startup_trials: Startup = 10
    n_ei_candidates: int = Field(default=24, ge=1)
    prior_weight: Annotated[float, Field(gt=0)] | None = None
    consider_magic_clip: bool | None = None
    consider_endpoints: bool | None = None
    warn_independent_sampling: bool | None = None
    window: int | None = Field(
        default=1000, ge=2 * BEST, description=f"a whole number of at least {2 * BEST} trials, or null for all"
    )

    def sees(self) -> int | None:
        """Return how many finished trials the sampler is shown; None for all of them."""
        return self.window


class Gp(Sampler):
    """Gaussian process."""

    name: Literal["gp"] = "gp"
    n_startup_trials: Startup = 10
    deterministic_objective: bool = False
    warn_independent_sampling: bool = True


class Cmaes(Sampler):
    """Covariance matrix adaptation."""

    name: Literal["cmaes"] = "cmaes"
    sigma0: Annotated[float, Field(gt=0)] | None = None
    n_startup_trials: Startup = 1
    warn_independent_sampling: bool = True
    consider_pruned_trials: bool = False
    popsize: Annotated[int, Field(ge=1)] | None = None
    use_separable_cma: bool = False
    with_margin: bool = False
    lr_adapt: bool = False


class Qmc(Sampler):
    """Quasi-random sequences."""

    name: Literal["qmc"] = "qmc"
    qmc_type: Literal["sobol", "halton"] = "sobol"
    scramble: bool = False
    warn_asynchronous_seeding: bool = True
    warn_independent_sampling: bool = True


class Random(Sampler):
    """Independent draws."""

    name: Literal["random"] = "random"


class Nsga2(Sampler):
    """Evolution for several objectives."""

    name: Literal["nsga2"] = "nsga2"
    population_size: int = Field(default=50, ge=2)
    mutation_prob: Share | None = None
    crossover_prob: Share = 0.9
    swapping_prob: Share = 0.5


AnySampler = Annotated[Tpe | Gp | Cmaes | Qmc | Random | Nsga2, Field(discriminator="name")]
SINGLE_OBJECTIVE = (Gp, Cmaes)


def check_several(sampler: Sampler, objectives: int) -> None:
    """Refuse a sampler that cannot weigh several objectives.

    Raises:
        InputError: in one line.
    """
    if objectives > 1 and isinstance(sampler, SINGLE_OBJECTIVE):
        raise InputError(
            f"sampler.name={sampler.name} takes one objective, but the study has {objectives}. Set sampler=nsga2."
        )
