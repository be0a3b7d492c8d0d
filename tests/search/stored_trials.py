"""Trials as they are stored, built without a study."""

from datetime import datetime, timedelta

import optuna
from optuna.trial import FrozenTrial, TrialState

NOON = datetime(2026, 1, 1, 12)


def trial(number, state, start=None, stop=None, **attributes):
    """Build a trial that ran from `start` to `stop` seconds after noon."""
    made = optuna.trial.create_trial(
        state=TrialState[state], values=[0.0] if state == "COMPLETE" else None, user_attrs=attributes
    )
    return FrozenTrial(
        number=number,
        trial_id=number,
        state=made.state,
        value=None,
        values=made.values,
        datetime_start=None if start is None else NOON + timedelta(seconds=start),
        datetime_complete=None if stop is None else NOON + timedelta(seconds=stop),
        params={},
        distributions={},
        user_attrs=attributes,
        system_attrs={},
        intermediate_values={},
    )
