"""Schedules follow their curves, whatever the length of the run."""

import pytest
from torch import nn
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import OneCycleLR

from kirigami.errors import ArgumentError
from kirigami.models.schedules import SCHEDULES, build_schedule

PEAK = 0.5


def sgd(momentum: float = 0.95) -> Optimizer:
    return SGD(nn.Linear(2, 1).parameters(), lr=PEAK, momentum=momentum)


def rates(config: dict, total: int = 100, extra: int = 0) -> list[float]:
    """Return the rate of each step."""
    optimizer = sgd()
    schedule = build_schedule(optimizer, config, total, 10)
    seen = []
    for _ in range(total + extra):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return seen


@pytest.mark.parametrize("name", SCHEDULES)
class TestSchedule:
    def test_never_exceeds_the_rate(self, name: str) -> None:
        seen = rates({"name": name})
        assert max(seen) == pytest.approx(PEAK)
        assert min(seen) > 0

    @pytest.mark.parametrize("total", [1, 2, 3, 10])
    def test_serves_the_shortest_runs(self, name: str, total: int) -> None:
        assert all(0 <= rate <= PEAK for rate in rates({"name": name}, total=total))

    def test_outlasts_the_run(self, name: str) -> None:
        seen = rates({"name": name}, extra=5)
        assert all(0 <= rate <= seen[99] + 1e-9 for rate in seen[100:])

    def test_resumes(self, name: str) -> None:
        whole = rates({"name": name})
        first, second = sgd(), sgd()
        one = build_schedule(first, {"name": name}, 100, 10)
        for _ in range(40):
            one.step()
        other = build_schedule(second, {"name": name}, 100, 10)
        other.load_state_dict(one.state_dict())
        other.step()
        assert second.param_groups[0]["lr"] == pytest.approx(whole[41])

    def test_state_is_plain(self, name: str) -> None:
        def plain(value: object) -> bool:
            return all(map(plain, value)) if isinstance(value, list) else isinstance(value, int | float)

        assert all(map(plain, build_schedule(sgd(), {"name": name}, 100, 10).state_dict().values()))


def test_constant() -> None:
    assert rates({"name": "constant"}) == [PEAK] * 100


@pytest.mark.parametrize("name", ["constant", "cosine", "step"])
def test_warmup(name: str) -> None:
    seen = rates({"name": name, "warmup": 0.1})
    assert seen[:10] == pytest.approx([PEAK * (i + 1) / 10 for i in range(10)])


def test_cosine() -> None:
    seen = rates({"name": "cosine", "final": 0.1})
    assert seen == sorted(seen, reverse=True)
    assert seen[50] == pytest.approx(PEAK * 0.55)
    assert seen[-1] == pytest.approx(PEAK * 0.1, abs=1e-3)


def test_step_falls_at_milestones() -> None:
    seen = rates({"name": "step", "milestones": [0.32, 0.6], "factor": 0.5})
    assert seen == pytest.approx([PEAK] * 32 + [PEAK / 2] * 28 + [PEAK / 4] * 40)


def test_step_falls_every_so_many_epochs() -> None:
    seen = rates({"name": "step", "every": 4, "factor": 0.5})
    assert seen == pytest.approx([PEAK] * 40 + [PEAK / 2] * 40 + [PEAK / 4] * 20)


def test_onecycle_is_the_library_s() -> None:
    ours, theirs = sgd(0.95), sgd(0.95)
    one = build_schedule(ours, {"name": "onecycle"}, 60, 10)
    other = OneCycleLR(theirs, max_lr=PEAK, total_steps=60)
    for _ in range(60):
        for key in ("lr", "momentum"):
            assert ours.param_groups[0][key] == pytest.approx(theirs.param_groups[0][key], rel=1e-6)
        for optimizer, schedule in ((ours, one), (theirs, other)):
            optimizer.step()
            schedule.step()


def test_onecycle_swings_the_momentum_that_is_set() -> None:
    adam = Adam(nn.Linear(2, 1).parameters(), betas=(0.9, 0.99))
    schedule = build_schedule(adam, {"name": "onecycle", "rise": 0.5, "swing": 0.2}, 41, 10)
    seen = []
    for _ in range(41):
        seen.append(adam.param_groups[0]["betas"])
        schedule.step()
    assert max(seen) == (0.9, 0.99)
    assert min(seen)[0] == pytest.approx(0.7, abs=1e-3)


def test_groups_keep_their_own_rates() -> None:
    layers = nn.Linear(2, 1), nn.Linear(2, 1)
    optimizer = SGD([{"params": layers[0].parameters(), "lr": 0.1}, {"params": layers[1].parameters()}], lr=1.0)
    schedule = build_schedule(optimizer, {"name": "cosine"}, 10, 10)
    schedule.step()
    first, second = (group["lr"] for group in optimizer.param_groups)
    assert first == pytest.approx(second / 10)
    assert second < 1


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, "name is not set"),
        ({"name": "cosin"}, "Did you mean 'cosine'?"),
        ({"name": "cosine", "warmpu": 0.1}, "warmpu is no argument of cosine. Did you mean 'warmup'?"),
        ({"name": "cosine", "warmup": 5}, "warmup must be at least 0 and below 1, but got 5"),
        ({"name": "step", "milestones": 0.3}, "milestones must be a list"),
        (
            {"name": "step", "milestones": [60, 120]},
            "milestones must be shares of the run in [0, 1], but got 60",
        ),
        ({"name": "step", "every": 0}, "every must be at least 1, but got 0"),
        ({"name": "onecycle", "rise": "half"}, "rise must be a number, but got 'half'"),
        ({"name": "onecycle", "total_steps": 3}, "total_steps is no argument of onecycle"),
    ],
)
def test_names_the_fault(config: dict, expected: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        build_schedule(sgd(), config, 100, 10)
    assert expected in str(caught.value)
