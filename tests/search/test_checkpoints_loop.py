"""Checkpoints in a loop: a retry goes on from them, and a trial that ends leaves none."""

from collections.abc import Callable

import optuna
import pytest

from kirigami.search.proposal.pruners import Pruning
from kirigami.search.study import recovery
from kirigami.search.study.record import stored_result
from kirigami.search.study.states import state_of
from kirigami.search.training.job import Job, Metrics, Outcome
from kirigami.search.training.runners import Solo
from tests.search.checkpointed import DATA, files

pytestmark = [
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
]


class TestLoop:
    """A runner in nine reports that keeps its place, as a network's does."""

    @staticmethod
    def runner(dies_at: int | None = None) -> tuple[Solo, list[int]]:
        steps: list[int] = []

        def one(job: Job) -> Outcome:
            begin = 0
            for attempt, fidelity, data in job.checkpoints.read():
                job.recall(attempt, [(at, {"score": float(value)}) for at, value in enumerate(data, start=1)])
                begin = fidelity
                break
            for fidelity in range(begin + 1, 10):
                steps.append(fidelity)
                job.report(fidelity, {"score": float(fidelity)})
                job.checkpoints.put(fidelity, bytes(range(1, fidelity + 1)))
                if fidelity == dies_at:
                    raise KeyboardInterrupt
            return Outcome("complete", {"score": 9.0})

        return Solo(one), steps

    @pytest.fixture
    def killed(self, make_loop, checkpoint_store, dead_worker) -> Callable:
        """Return a function that makes a loop whose first trial died after a checkpoint."""

        def make(**settings):
            runner, _ = self.runner(dies_at=4)
            loop = make_loop(runner, checkpoint_store=checkpoint_store, trials=2, **settings)
            with pytest.raises(KeyboardInterrupt):
                loop.run()
            (trial,) = loop.study.get_trials(deepcopy=False)
            loop.study._storage.set_trial_user_attr(trial._trial_id, "worker", dead_worker)
            runner, steps = self.runner()
            return make_loop(runner, checkpoint_store=checkpoint_store, study=loop.study, trials=2, **settings), steps

        return make

    def test_the_retry_goes_on_and_leaves_nothing(self, killed, folder):
        loop, steps = killed()
        assert files(folder)
        loop.run()
        assert steps == [5, 6, 7, 8, 9, *range(1, 10)]
        assert [state_of(trial) for trial in loop.study.trials] == ["interrupted", "complete", "complete"]
        curve = stored_result(loop.study.trials[1])["curve"]
        assert [at for at, _ in curve] == list(range(1, 10))
        assert files(folder) == []

    def test_rungs_are_reported_again_and_end_nothing(self, killed, monkeypatch):
        loop, _ = killed(rungs=(1, 3, 9))

        class Strict(optuna.pruners.BasePruner):
            asked: list[int]

            def prune(self, study, trial):
                asked.append(trial.last_step)
                return trial.last_step == 3

        asked: list[int] = []
        loop.judge = Pruning(Strict(), (1, 3, 9))
        loop.run()
        retry = loop.study.trials[1]
        assert retry.intermediate_values == {1: 1.0, 3: 3.0, 9: 9.0}
        assert state_of(retry) == "complete"
        assert asked[:3] == [1, 3, 9]
        assert state_of(loop.study.trials[2]) == "pruned"

    def test_rungs_of_several_objectives_are_taken_over(self, make_loop, checkpoint_store, dead_worker):
        from kirigami.search.config.pruner import Asha
        from kirigami.search.proposal import halving

        halve = halving.build(Asha(min_resource=1, reduction_factor=3), fidelities=9)
        settings = {"objectives": ("score", "size"), "checkpoint_store": checkpoint_store, "trials": 1, "judge": halve}

        def make(dies_at):
            def one(job: Job) -> Outcome:
                values: Callable[[int], Metrics] = lambda at: {"score": float(at), "size": 1.0}  # noqa: E731
                begin = 0
                for attempt, begin, _ in job.checkpoints.read():
                    job.recall(attempt, [(at, values(at)) for at in range(1, begin + 1)])
                for fidelity in range(begin + 1, 10):
                    job.report(fidelity, values(fidelity))
                    job.checkpoints.put(fidelity, DATA)
                    if fidelity == dies_at:
                        raise KeyboardInterrupt
                return Outcome("complete", values(9))

            return Solo(one)

        loop = make_loop(make(4), **settings)
        with pytest.raises(KeyboardInterrupt):
            loop.run()
        (trial,) = loop.study.get_trials(deepcopy=False)
        loop.study._storage.set_trial_user_attr(trial._trial_id, "worker", dead_worker)
        make_loop(make(None), study=loop.study, **settings).run()
        first, retry = loop.study.trials
        assert [key for key in retry.user_attrs if key.startswith("rung:")] == ["rung:1", "rung:3"]
        assert all(retry.user_attrs[key] == first.user_attrs[key] for key in ("rung:1", "rung:3"))
        assert state_of(retry) == "complete"

    def test_what_a_given_up_trial_left_is_swept(self, make_loop, checkpoint_store, folder, dead_worker):
        runner, _ = self.runner()
        loop = make_loop(runner, checkpoint_store=checkpoint_store, trials=1)
        trial = loop.study.ask()
        trial.set_user_attr("retries", recovery.RETRIES)
        trial.set_user_attr("worker", dead_worker)
        checkpoint_store.attempt(loop.study, trial).put(1, DATA)
        loop.run()
        assert state_of(loop.study.trials[0]) == "failed"
        assert files(folder) == []
