"""A storage in front of another one: the base of what adds one idea each to a storage of Optuna."""

from collections.abc import Callable, Container, Sequence
from typing import Any, TypeVar

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

T = TypeVar("T")


class Front(BaseStorage):
    """Passes every call on to the storage behind it: a read through `read`, a write through `write`.

    Args:
        behind: any storage of Optuna.
    """

    def __init__(self, behind: BaseStorage) -> None:
        self.behind = behind

    def read(self, operation: Callable[[], T]) -> T:
        """Run an operation that writes nothing."""
        return operation()

    def write(self, operation: Callable[[], T]) -> T:
        """Run an operation that may write."""
        return operation()

    def remove_session(self) -> None:
        self.behind.remove_session()

    # Studies

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        return self.write(lambda: self.behind.create_new_study(directions, study_name))

    def delete_study(self, study_id: int) -> None:
        self.write(lambda: self.behind.delete_study(study_id))

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self.write(lambda: self.behind.set_study_user_attr(study_id, key, value))

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self.write(lambda: self.behind.set_study_system_attr(study_id, key, value))

    def get_study_id_from_name(self, study_name: str) -> int:
        return self.read(lambda: self.behind.get_study_id_from_name(study_name))

    def get_study_name_from_id(self, study_id: int) -> str:
        return self.read(lambda: self.behind.get_study_name_from_id(study_id))

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return self.read(lambda: self.behind.get_study_directions(study_id))

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return self.read(lambda: self.behind.get_study_user_attrs(study_id))

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self.read(lambda: self.behind.get_study_system_attrs(study_id))

    def get_all_studies(self) -> list[Any]:
        return self.read(lambda: self.behind.get_all_studies())

    # Trials

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        return self.write(lambda: self.behind.create_new_trial(study_id, template_trial))

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        self.write(lambda: self.behind.set_trial_param(trial_id, param_name, param_value_internal, distribution))

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        return self.write(lambda: self.behind.set_trial_state_values(trial_id, state, values))

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        self.write(lambda: self.behind.set_trial_intermediate_value(trial_id, step, intermediate_value))

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self.write(lambda: self.behind.set_trial_user_attr(trial_id, key, value))

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self.write(lambda: self.behind.set_trial_system_attr(trial_id, key, value))

    def get_trial(self, trial_id: int) -> FrozenTrial:
        return self.read(lambda: self.behind.get_trial(trial_id))

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        return self.read(lambda: self.behind.get_all_trials(study_id, deepcopy, states))

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        return self.read(lambda: self.behind.get_trial_id_from_study_id_trial_number(study_id, trial_number))

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        return self.read(lambda: self.behind.get_best_trial(study_id))
