"""What a loop has made of its study."""

from kirigami.search.study.record import stored_result
from kirigami.search.study.states import state_of


def trials_of(loop):
    return loop.study.get_trials(deepcopy=False)


def states(loop):
    return [state_of(trial) for trial in trials_of(loop)]


def reasons(loop):
    return [stored_result(trial)["reason"] for trial in trials_of(loop)]


def xs(trials):
    return [trial.params["x"] for trial in trials]


def constant(*values):
    """Return a function that reports the values at fidelities 1, 2, …"""
    return lambda config: enumerate(values, start=1)
