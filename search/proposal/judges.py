"""The judge that `pruner:` of the config asks for."""

from collections.abc import Mapping
from typing import Any

from kirigami.search.proposal import halving
from kirigami.search.proposal.judge import Judge, TrainAll
from kirigami.search.proposal.pruners import Pruning, build_pruner, rungs


def build_judge(config: Mapping[str, Any], *, objectives: int, fidelities: int, every: int = 1) -> Judge:
    """Build the judge: one of Optuna's pruners for one objective, successive halving of fronts for several.

    Args:
        config: `name` and the pruner's arguments. `min_resource` and `n_warmup_steps` count validations.
        objectives: how many the study has.
        fidelities: epochs or steps of a full trial.
        every: epochs or steps between validations.

    Raises:
        InputError: for an unknown name or argument, or a pruner that cannot weigh several objectives.
    """
    if objectives == 1:
        return Pruning(build_pruner(config, fidelities=fidelities, every=every), rungs(config, fidelities, every))
    return halving.build(config, fidelities, every) or TrainAll()
