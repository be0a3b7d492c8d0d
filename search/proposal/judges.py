"""The judge that `pruner:` of the config asks for."""

from kirigami.search.config.pruner import Pruner
from kirigami.search.proposal import halving
from kirigami.search.proposal.judge import Judge, TrainAll
from kirigami.search.proposal.pruners import Pruning, build_pruner, rungs


def build_judge(settings: Pruner, *, objectives: int, fidelities: int, every: int = 1) -> Judge:
    """Build the judge: one of Optuna's pruners for one objective, successive halving of fronts for several.

    Args:
        settings: the pruner's; `min_resource` and `n_warmup_steps` count validations.
        objectives: how many the study has.
        fidelities: epochs or steps of a full trial.
        every: epochs or steps between validations.

    Raises:
        InputError: for what Optuna refuses, or a pruner that cannot weigh several objectives.
    """
    if objectives == 1:
        return Pruning(build_pruner(settings, fidelities=fidelities, every=every), rungs(settings, fidelities, every))
    return halving.build(settings, fidelities, every) or TrainAll()
