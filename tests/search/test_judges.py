"""What every judge owes the loop: a verdict on each report, and what a trial shows at its rungs in the store."""

import optuna
import pytest
from optuna.trial import TrialState

from kirigami.search import proposal
from kirigami.search.config.settings import Proposal
from kirigami.search.proposal.halving import Halving
from kirigami.search.proposal.judge import Go, Judge, Pause, Report, Stop, TrainAll
from kirigami.search.proposal.judges import build_judge
from kirigami.search.proposal.pruners import PRUNERS, Pruning, rungs
from kirigami.search.study.ledger import Ledger
from kirigami.search.study.record import Result, write

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

LADDER = {"min_resource": 1, "reduction_factor": 3}
SETTINGS = {
    "asha": LADDER,
    "hyperband": {**LADDER, "max_resource": "auto"},
    "median": {"n_startup_trials": 1},
    "wilcoxon": {},
    "none": {},
}
ONE = ["loss"]
TWO = ["loss", "size"]
JUDGES = {
    **{f"{name}, one objective": ({"name": name, **SETTINGS[name]}, ONE) for name in PRUNERS},
    **{f"{name}, two objectives": ({"name": name, **SETTINGS[name]}, TWO) for name in ("asha", "hyperband", "none")},
}


def pruner_of(config):
    return Proposal.read({"pruner": config}).pruner


def judge_of(config, names, fidelities=9):
    return build_judge(pruner_of(config), objectives=len(names), fidelities=fidelities)


@pytest.fixture(params=JUDGES)
def built(request):
    """A judge that the config can ask for, and a study of as many objectives."""
    config, names = JUDGES[request.param]
    judge = judge_of(config, names)
    study = optuna.create_study(directions=["minimize"] * len(names), study_name="s")
    study.set_metric_names(names)
    judge.join(study)
    return judge, study


def run(judge, study, value, until=9):
    """Report the same value at each fidelity until the judge ends the trial; return the trial and the last verdict."""
    trial = study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
    for fidelity in range(1, until + 1):
        verdict = judge.seen(trial, Report(fidelity - 1, fidelity, {"loss": value, "size": value}), Ledger())
        assert isinstance(verdict, Go | Stop | Pause)
        if not isinstance(verdict, Go):
            study.tell(trial, state=TrialState.PRUNED)
            return trial, verdict
    study.tell(trial, [value] * len(study.directions))
    return trial, verdict


class TestContract:
    def test_the_first_trial_goes_on_to_the_end(self, built):
        assert run(*built, 1.0)[1] == Go()

    def test_a_stop_has_a_reason_in_one_line(self, built):
        judge, study = built
        verdicts = [run(judge, study, float(value))[1] for value in range(1, 12)]
        stops = [verdict for verdict in verdicts if isinstance(verdict, Stop)]
        assert all(stop.reason and "\n" not in stop.reason for stop in stops)
        assert all("at fidelity" in stop.reason for stop in stops)

    def test_what_is_no_worse_than_all_others_goes_on(self, built):
        judge, study = built
        for value in range(12, 6, -1):
            assert run(judge, study, float(value))[1] == Go()

    def test_what_an_earlier_attempt_showed_is_stored_again(self, built):
        judge, study = built
        earlier, _ = run(judge, study, 1.0)
        frozen = study.get_trials(deepcopy=False)[earlier.number]
        retry = study.ask()
        for fidelity in range(1, 10):
            report = Report(fidelity - 1, fidelity, {"loss": 1.0, "size": 1.0})
            assert judge.recall(retry, frozen, report) is None
        again = study.get_trials(deepcopy=False)[retry.number]
        assert again.intermediate_values == frozen.intermediate_values
        assert shown(again) == shown(frozen)

    def test_an_objective_that_a_rung_lacks_is_an_error(self, built):
        judge, study = built
        trial = study.ask()
        seen = {trial.number: judge.seen(trial, Report(0, 0, {}), Ledger())}
        if isinstance(judge, TrainAll) or not rungs_of(judge):
            assert judge.seen(trial, Report(0, 9, {}), Ledger()) == Go()
            return
        assert seen == {trial.number: Go()}
        with pytest.raises(KeyError, match="objective 'loss' is not among the reported metrics"):
            judge.seen(trial, Report(0, 9, {}), Ledger())

    def test_a_trial_that_another_closed_is_refused(self, built):
        judge, study = built
        trial = study.ask()
        study.tell(trial, state=TrialState.FAIL)
        if not rungs_of(judge):  # it stores nothing
            assert judge.seen(trial, Report(0, 9, {"loss": 1.0, "size": 1.0}), Ledger()) == Go()
            return
        with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
            judge.seen(trial, Report(0, 9, {"loss": 1.0, "size": 1.0}), Ledger())

    def test_other_workers_see_what_a_running_trial_shows(self, built):
        judge, study = built
        trial = study.ask()
        judge.seen(trial, Report(0, 4, {"loss": 0.5, "size": 2.0}), Ledger())
        frozen = study.get_trials(deepcopy=False)[trial.number]
        assert bool(frozen.intermediate_values or shown(frozen)) == bool(rungs_of(judge))


def rungs_of(judge):
    if isinstance(judge, Pruning):
        return judge.rungs
    return judge.brackets[0] if isinstance(judge, Halving) else ()


def shown(trial):
    return {name: value for name, value in trial.user_attrs.items() if name.startswith("rung:")}


def test_a_report_passes_the_rungs_since_the_one_before():
    assert Report(3, 9, {}).passed((1, 3, 4, 9, 27)) == [4, 9]
    assert Report(0, 3, {}).passed(()) == []


def test_one_ladder_serves_one_objective_and_several():
    config = {"name": "asha", "min_resource": 2, "reduction_factor": 3}
    assert rungs(pruner_of(config), 54) == (2, 6, 18)
    assert judge_of(config, TWO, 54).brackets == ((2, 6, 18),)
    assert judge_of(config, ONE, 54).rungs == (2, 6, 18)


def test_each_judge_is_in_the_suite():
    """A class of `proposal` that is a judge and is built by no case above is not tested."""
    built = {type(judge_of(config, names)) for config, names in JUDGES.values()}
    ours = {kind for kind in Judge.__subclasses__() if kind.__module__.startswith(proposal.__name__)}
    assert ours == built


def test_paused_trials_wait_until_there_is_no_new_one():
    study = optuna.create_study()
    trial = study.ask()
    write(Result("paused", curve=((1, {"loss": 1.0}),)), trial.set_user_attr)
    study.tell(trial, state=TrialState.FAIL)
    ledger = Ledger(study.get_trials())
    assert TrainAll().resume(ledger, new_left=True) is None
    assert TrainAll().resume(ledger, new_left=False) == 0
