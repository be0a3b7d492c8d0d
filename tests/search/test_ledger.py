"""What a study's trials amount to: by state, against the budget, in seconds."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from kirigami.search.study.charges import charges, shared
from kirigami.search.study.ledger import Ledger
from kirigami.search.study.record import stored_result
from kirigami.search.study.states import state_of
from tests.search.stored_trials import NOON, trial


def failed(number, state=None, **attributes):
    return trial(number, "FAIL", 0, 1, **({"outcome": {"state": state}} if state else {}), **attributes)


def over(number):
    complete = trial(number, "COMPLETE", 0, 1)
    complete.set_constraint("bytes", 0.5)
    return complete


@pytest.mark.parametrize(
    ("made", "state"),
    [
        (trial(0, "COMPLETE", 0, 1), "complete"),
        (trial(0, "PRUNED", 0, 1), "pruned"),
        (trial(0, "RUNNING", 0), "running"),
        (trial(0, "WAITING"), "waiting"),
        (failed(0, "failed"), "failed"),
        (failed(0, "surplus"), "surplus"),
        (failed(0, "paused"), "paused"),
        (over(0), "over"),
        (failed(0), "interrupted"),
        (failed(0, handed_back=True), "interrupted"),
        (failed(0, "complete"), "interrupted"),  # killed between writing the outcome and telling it
        (failed(0, "pruned"), "interrupted"),
        (failed(0, "infeasible"), "interrupted"),
    ],
)
def test_each_record_has_one_state(made, state):
    assert state_of(made) == state
    ledger = Ledger([made])
    assert ledger.count(state) == 1
    assert sum(ledger.count(one) for one in ledger.by_state) == 1
    assert stored_result(made) == made.user_attrs.get("outcome", {})


def test_interrupted_and_surplus_trials_do_not_count():
    trials = [
        trial(0, "COMPLETE", 0, 1),
        trial(1, "PRUNED", 0, 1),
        failed(2, "failed"),
        failed(3, "surplus"),
        failed(4),
        trial(5, "RUNNING", 0),
        trial(6, "WAITING", retry_of=4),
    ]
    ledger = Ledger(trials)
    assert (ledger.finished, ledger.open, ledger.counted) == (3, 2, 5)


def test_only_interrupted_trials_without_a_retry_are_unretried():
    trials = [failed(0), failed(1), failed(2, "failed"), failed(3, "surplus"), trial(4, "WAITING", retry_of=0)]
    assert [one.number for one in Ledger(trials).unretried()] == [1]


def test_a_paused_trial_holds_its_place_until_another_goes_on_with_it():
    trials = [trial(0, "COMPLETE", 0, 1), failed(1, "paused"), trial(2, "RUNNING", 0)]
    ledger = Ledger(trials)
    assert (ledger.finished, ledger.open, ledger.counted) == (1, 2, 3)
    assert [one.number for one in ledger.paused()] == [1]
    assert ledger.unretried() == []
    ledger.update([*trials, trial(3, "WAITING", retry_of=1)])
    assert (ledger.finished, ledger.open, ledger.counted) == (1, 2, 3)
    assert (ledger.paused(), ledger.count("paused", "waiting")) == ([], 1)


def test_what_goes_on_with_a_paused_trial_is_never_too_late():
    trials = [failed(0, "paused"), trial(1, "RUNNING", 0), trial(2, "RUNNING", 0), trial(3, "RUNNING", 0, retry_of=0)]
    ledger = Ledger(trials)
    assert [ledger.is_surplus(number, 2) for number in (1, 2, 3)] == [False, True, False]


def test_of_two_that_go_on_with_one_the_second_is_surplus():
    trials = [failed(0, "paused"), trial(1, "RUNNING", 0, retry_of=0), trial(2, "RUNNING", 0, retry_of=0)]
    assert [Ledger(trials).is_surplus(number, None) for number in (1, 2)] == [False, True]


def test_what_a_paused_trial_spent_is_charged():
    paused = trial(0, "FAIL", 0, 3, outcome={"state": "paused", "device_s": 2.5})
    assert Ledger([paused]).device_seconds() == 2.5
    assert Ledger([paused]).wall_seconds(NOON) == 3


@pytest.mark.parametrize(("number", "surplus"), [(0, False), (2, False), (3, True), (4, True)])
def test_a_trial_is_surplus_where_the_budget_was_asked_before_it(number, surplus):
    assert Ledger([trial(n, "RUNNING", 0) for n in range(5)]).is_surplus(number, 3) is surplus
    assert not Ledger([trial(n, "RUNNING", 0) for n in range(5)]).is_surplus(number, None)


def test_what_does_not_count_makes_no_surplus():
    trials = [failed(0), failed(1, "surplus"), trial(2, "COMPLETE", 0, 1), trial(3, "RUNNING", 0)]
    assert not Ledger(trials).is_surplus(3, 2)
    assert Ledger(trials).is_surplus(3, 1)


def test_the_second_retry_of_a_trial_is_surplus():
    trials = [failed(0), trial(1, "RUNNING", 0, retry_of=0), trial(2, "RUNNING", 0, retry_of=0)]
    ledger = Ledger(trials)
    assert [ledger.is_surplus(number, None) for number in (1, 2)] == [False, True]


def test_the_second_retry_is_surplus_even_where_the_first_was_interrupted():
    """The first retry has a retry of its own by then: both would run the same parameters."""
    trials = [
        failed(0),
        failed(1, retry_of=0),
        trial(2, "RUNNING", 0, retry_of=0),
        trial(3, "WAITING", retry_of=1),
    ]
    assert Ledger(trials).is_surplus(2, 10)
    assert not Ledger(trials).is_surplus(3, 10)


def test_a_second_retry_whose_worker_died_before_it_was_handed_back_is_not_run_again():
    """The first retry stands for both: a retry of the second would run the same parameters once more."""
    trials = [failed(0), trial(1, "COMPLETE", 0, 1, retry_of=0), failed(2, retry_of=0)]
    assert Ledger(trials).unretried() == []
    trials[1] = failed(1, "surplus", retry_of=0)
    assert [orphan.number for orphan in Ledger(trials).unretried()] == [2]


@pytest.mark.parametrize(
    ("spans", "seconds"),
    [
        ([], 0),
        ([(0, 10)], 10),
        ([(0, 10), (10, 20)], 20),
        ([(0, 10), (5, 12)], 12),
        ([(0, 10), (2, 4)], 10),
        ([(2, 4), (0, 10), (30, 35)], 15),
        ([(0, 10), (90, None)], 20),
    ],
)
def test_wall_seconds_are_the_union_of_the_trials_intervals(spans, seconds):
    trials = [trial(n, "RUNNING" if stop is None else "COMPLETE", start, stop) for n, (start, stop) in enumerate(spans)]
    assert Ledger(trials).wall_seconds(NOON + timedelta(seconds=100)) == seconds


def test_interrupted_trials_cost_no_wall_seconds_but_what_was_trained_is_summed():
    trials = [failed(0), trial(1, "WAITING"), trial(2, "COMPLETE", 0, 3, outcome={"device_s": 2.5})]
    trials.append(trial(3, "COMPLETE", 1, 3, outcome={"device_s": 1.5}))
    assert Ledger(trials).wall_seconds(NOON) == 3
    assert Ledger(trials).device_seconds() == 4


class TestOneLedgerOfAStudyThatGrows:
    """What was read once is not read again; nothing may come out different for it."""

    @staticmethod
    def history(draw):
        """Yield the trials of a study after each of many events: asked, told, died, queued again, too late."""
        trials, clock = [], 0.0
        yield []
        for _ in range(draw.randrange(60)):
            clock += draw.random()
            running = [one.number for one in trials if one.state is TrialState.RUNNING]
            waiting = [one.number for one in trials if one.state is TrialState.WAITING]
            event, number = draw.random(), len(trials)
            if event < 0.4 or not running:
                skewed = {"worker": {"machine": "m", "pid": draw.randrange(3), "started": "1", "clock": 60.0}}
                old = trials[number := draw.choice(waiting)].user_attrs if waiting else {}
                trials[number:] = [trial(number, "RUNNING", clock, **old, **skewed), *trials[number + 1 :]]
            else:
                number = draw.choice(running)
                begun = (trials[number].datetime_start - NOON).total_seconds()
                state, recorded = draw.choice(
                    [
                        ("COMPLETE", "complete"),
                        ("PRUNED", "pruned"),
                        ("FAIL", "failed"),
                        ("FAIL", "surplus"),
                        ("FAIL", "paused"),
                        ("FAIL", None),
                    ]
                )
                ended = {"outcome": {"state": recorded, "device_s": clock - begun}} if recorded else {"lost_s": 0.5}
                trials[number] = trial(number, state, begun, clock, **trials[number].user_attrs, **ended)
                if recorded is None or (recorded == "paused" and draw.random() < 0.7):
                    trials.append(trial(len(trials), "WAITING", retry_of=number))
            yield list(trials)

    @staticmethod
    def facts(ledger, now):
        return {
            "states": {state: [one.number for one in trials] for state, trials in ledger.by_state.items()},
            "unretried": [one.number for one in ledger.unretried()],
            "paused": [one.number for one in ledger.paused()],
            "counted": ledger.counted,
            "surplus": [ledger.is_surplus(one.number, budget) for one in ledger.trials for budget in (None, 5, 20)],
            "places": [ledger.place(one) for one in ledger.trials],
            "ranked": [one.number for sign in (1, -1) for one in ledger.ranked(sign)],
            "last": [one.number for one in ledger.last_ended(5, NOON)],
            "seconds": [round(ledger.wall_seconds(now), 6), round(ledger.device_seconds(), 6)],
            "charges": sorted(charges(ledger, now)),
        }

    @settings(max_examples=settings.default.max_examples // 3)
    @given(draw=st.randoms(use_true_random=False))
    def test_it_says_what_a_fresh_one_says(self, draw):
        grown = Ledger()
        for trials in self.history(draw):
            now = NOON + timedelta(seconds=100)
            assert self.facts(grown.update(trials), now) == self.facts(Ledger(trials), now)
            assert [one.number for one in grown.unretried()] == unretried(trials)
            assert [one.number for one in grown.paused()] == unretried(trials, "paused")
            assert [grown.is_surplus(one.number, 5) for one in trials] == [is_surplus(trials, one, 5) for one in trials]
            assert [grown.place(one) for one in trials] == [place(trials, one) for one in trials]


def unretried(trials, state="interrupted"):
    retried = {one.user_attrs.get("retry_of") for one in trials}
    orphans = [one for one in trials if state_of(one) == state and one.number not in retried]
    return [one.number for one in orphans if state == "paused" or not is_second_retry(trials, one)]


def is_second_retry(trials, one):
    earlier = [other for other in trials if other.number < one.number and state_of(other) != "surplus"]
    retry_of = one.user_attrs.get("retry_of")
    return retry_of is not None and any(other.user_attrs.get("retry_of") == retry_of for other in earlier)


def goes_on(trials, one):
    """Return whether a trial goes on with a paused one, or stands for a trial that did."""
    while (original := one.user_attrs.get("retry_of")) is not None:
        one = trials[original]
        if state_of(one) == "paused":
            return True
    return False


def is_surplus(trials, one, budget):
    """By the definition, over all trials."""
    earlier = [other for other in trials if other.number < one.number and state_of(other) != "surplus"]
    if is_second_retry(trials, one):
        return True
    placed = [other for other in earlier if state_of(other) != "interrupted" and not goes_on(trials, other)]
    return not goes_on(trials, one) and len(placed) >= budget


def place(trials, one):
    """By the definition, over all trials."""
    while (original := one.user_attrs.get("retry_of")) is not None:
        one = trials[original]
    return one.number - sum(
        "retry_of" in other.user_attrs or state_of(other) == "surplus" for other in trials[: one.number]
    )


def test_an_outcome_that_was_never_told_is_an_interruption():
    """Its worker died between writing the outcome and closing the trial: the values are lost, a retry stands for it."""
    made = failed(0, "complete")
    assert state_of(made) == "interrupted"
    assert Ledger([made]).unretried() == [made]


def test_a_trial_that_ended_as_it_began_shares_no_time():
    assert shared([NOON], [(NOON + timedelta(seconds=1),) * 2], NOON + timedelta(seconds=2)) == 2
