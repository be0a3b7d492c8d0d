"""Samplers that see a window of the trials."""

import optuna
import pytest
from optuna.samplers import TPESampler
from optuna.trial import TrialState

from kirigami.spaces import PriorSampler, Space
from kirigami.spaces.window import Window
from tests.spaces.sampler_cases import CONFIG, NESTED, SAMPLERS, run

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


class TestWindow:
    """A long study's sampler sees its best and its latest trials; a short one's sees all."""

    @staticmethod
    def filled(values, states=None, directions=("minimize",)):
        study = optuna.create_study(directions=directions)
        for number, value in enumerate(values):
            state = (states or {}).get(number, TrialState.COMPLETE)
            values_of = value if isinstance(value, tuple) else (value,)
            study.add_trial(
                optuna.create_trial(
                    state=state,
                    values=values_of if state is TrialState.COMPLETE else None,
                    params={"x": number / len(values)},
                    distributions={"x": optuna.distributions.FloatDistribution(0, 1)},
                    intermediate_values={number % 4: 1.0} if state is TrialState.PRUNED else {},
                )
            )
        return study

    def test_a_study_that_fits_is_shown_as_it_is(self):
        study = self.filled(range(60))
        assert Window(60).over(study) is study

    def test_the_best_and_the_latest_are_shown_and_all_that_are_open(self):
        study = self.filled(range(100), {3: TrialState.FAIL, 99: TrialState.PRUNED})
        study.ask()
        seen = Window(50).over(study).get_trials()
        best = [number for number in range(26) if number != 3]
        assert [trial.number for trial in seen] == [*best, *range(75, 101)]

    def test_a_window_that_grew_with_the_study_shows_what_a_fresh_one_shows(self):
        states = dict.fromkeys(range(0, 200, 3), TrialState.PRUNED)
        study = self.filled([(number * 37) % 101 for number in range(120)], states)
        grown = Window(50)
        grown.over(study)
        running = [study.ask() for _ in range(4)]
        grown.over(study)
        study.tell(running[2], -1.0)
        study.tell(running[0], 7.0)
        study.ask()  # Optuna's own reading is as old as the last ask
        numbers = [[one.number for one in window.over(study).get_trials()] for window in (grown, Window(50))]
        assert numbers[0] == numbers[1]
        assert running[2].number in numbers[0]

    def test_a_window_is_read_on_from_trial_to_trial_under_hyperband_too(self):
        study = self.filled(range(100))
        study.pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=9)
        study.sampler = PriorSampler(
            SAMPLERS["tpe"], Space.from_config({"x": {"low": 0.0, "high": 1.0}}, {"x": 0.5}), 0
        )
        study.sampler._window = Window(50)
        for _ in range(3):
            trial = study.ask()
            trial.suggest_float("x", 0, 1)
            trial.report(1.0, 1)
            trial.should_prune()
            study.tell(trial, 1.0)
        assert study.sampler._window._read == 103
        assert len(study.sampler._window._latest) == 50

    def test_the_split_of_the_estimator_keeps_its_best(self):
        """The 25 trials that the estimator takes for good are those it takes from the whole study."""
        from optuna.samplers._tpe.sampler import _split_trials

        states = dict.fromkeys(range(290), TrialState.PRUNED)
        study = self.filled([(number * 37) % 101 for number in range(300)], states)
        seen = Window(60).over(study)
        good = [_split_trials(one, one.get_trials(deepcopy=False), 25)[0] for one in (study, seen)]
        assert [trial.number for trial in good[0]] == [trial.number for trial in good[1]]

    def test_with_several_objectives_the_front_is_shown(self):
        values = [(1.0, 5.0), (2.0, 4.0), (0.5, 6.0), *[(9.0, 9.0 + number) for number in range(80)]]
        study = self.filled(values, directions=("minimize", "minimize"))
        seen = Window(50).over(study).get_trials()
        assert [trial.number for trial in seen] == [0, 1, 2, *range(36, 83)]

    @pytest.mark.parametrize("name", ["tpe", "tpe alone", "tpe groups"])
    def test_draws_are_the_same_below_the_cap_and_go_on_above_it(self, name):
        space = Space.from_config(NESTED, CONFIG)
        whole = run(PriorSampler(SAMPLERS[name], space, seed=3), space, 70)
        seen = run(PriorSampler(SAMPLERS[name], space, seed=3, window=50), space, 70)
        assert seen[:51] == whole[:51]
        assert seen != whole

    def test_estimators_read_a_study_by_the_names_that_a_view_has(self, monkeypatch):
        """Whatever reads the whole study past the view would grow slower with it: hold Optuna to it."""
        study = self.filled([float(number % 10) for number in range(80)])
        seen = Window(50).over(study)
        monkeypatch.setattr(type(study), "_get_trials", None)
        monkeypatch.setattr(type(study), "get_trials", None)
        trial = seen.get_trials()[-1]
        sampler = TPESampler(seed=0, multivariate=True, group=True)
        space = sampler.infer_relative_search_space(seen, trial)
        monkeypatch.setattr(study._storage, "set_trial_system_attr", lambda *_: None)
        assert 0 <= sampler.sample_relative(seen, trial, space)["x"] <= 1
