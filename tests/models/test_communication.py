"""Compressed gradients: codes that decode, nothing lost, and what is passed on; in one process."""

import math
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from kirigami.models.communication import CompressedGradients, Layout, exchange

SIZES = (144, 16, 1, 4608, 32)
FORMS = [(0.02, 1, "gaps"), (0.1, 3, "gaps"), (0.5, 2, "mask"), (1.0, 1, "all"), (1.0, 4, "all")]


def parameters(*sizes: int) -> list[nn.Parameter]:
    return [nn.Parameter(torch.zeros(size)) for size in sizes]


@pytest.fixture
def alone() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize(("density", "bits", "form"), FORMS)
def test_the_largest_entries_of_each_tensor_come_back(density: float, bits: int, form: str) -> None:
    layout = Layout(SIZES, density, bits)
    values = torch.randn(layout.entries, generator=torch.Generator().manual_seed(0))
    data = layout.encode(values)
    assert layout.form == form
    assert data.dtype == torch.uint8
    assert len(data) == layout.bytes
    for own, found in zip(values.split(SIZES), layout.decode(data).split(SIZES), strict=True):
        kept = own.abs().sort(descending=True).values[: max(1, math.ceil(density * len(own)))]
        some = found != 0
        assert some.sum() == len(kept)
        assert own[some].abs().min() == kept[-1]
        assert torch.equal(found[some].sign(), own[some].sign())
        assert found.abs().sum() == pytest.approx(float(kept.sum()), rel=1e-5)  # magnitudes are means
        assert (found - own)[some].abs().max() <= (kept[0] - kept[-1]) / 2 ** (bits - 1) + 1e-6


@pytest.mark.parametrize("density", [0.001, 0.01, 0.05, 0.1, 0.2, 0.4])
def test_bytes_are_near_the_entropy_of_the_signs(density: float) -> None:
    layout = Layout([100_000], density, 1)
    entropy = -density * math.log2(density) - (1 - density) * math.log2(1 - density) + density
    assert 8 * layout.bytes <= 1.15 * 100_000 * entropy + 8 * 4


def test_nothing_is_lost_but_late() -> None:
    state, own = CompressedGradients(0.05, bits=2), parameters(*SIZES)
    sums = [torch.zeros(sum(SIZES), dtype=torch.float64) for _ in range(2)]
    for step in range(30):
        gradient = torch.randn(sum(SIZES), generator=torch.Generator().manual_seed(step))
        layout, data = state.encode(own, gradient)
        sums[0] += gradient
        sums[1] += layout.decode(data)
    late = torch.cat([state._residual(one, torch.device("cpu")) for one in own])
    torch.testing.assert_close(sums[1] + late, sums[0], atol=1e-4, rtol=0)
    assert late.norm() > 1  # and something is late


def test_what_is_late_follows_its_parameter_into_another_bucket() -> None:
    state, (one, two) = CompressedGradients(0.5), parameters(4, 2)
    state.encode([one, two], torch.tensor([4.0, 3, 2, 1, 8, 7]))
    before = state._residual(one, torch.device("cpu"))
    assert before.tolist() == [0.5, -0.5, 2, 1]
    layout, data = state.encode([one], torch.zeros(4))  # as after DDP has rebuilt its buckets
    assert layout.decode(data).tolist() == [0, 0, 1.5, 1.5]
    assert state._residual(two, torch.device("cpu")).tolist() == [0, 7]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("bits", [1, 3])
def test_gradients_that_are_not_finite_are_passed_on_and_not_kept(bad: float, bits: int) -> None:
    state, own = CompressedGradients(0.1, bits=bits), parameters(100, 50)
    state.encode(own, torch.randn(150))
    before = [state._residual(one, torch.device("cpu")) for one in own]
    gradient = torch.randn(150)
    gradient[7] = bad
    layout, data = state.encode(own, gradient)
    found = state.decode(layout, torch.stack([layout.encode(torch.ones(150)), data]))
    assert not bool(found[:100].isfinite().all())
    assert bool(found[100:].isfinite().all())
    assert torch.equal(state._residual(own[0], torch.device("cpu")), before[0])
    assert bool(state._residual(own[1], torch.device("cpu")).isfinite().all())


def test_workers_are_averaged() -> None:
    layout = Layout([10], 0.2, 1)
    rows = [torch.zeros(10), torch.zeros(10), torch.zeros(10)]
    for place, row in enumerate(rows):
        row[place : place + 2] = 3.0
    found = CompressedGradients.decode(layout, torch.stack([layout.encode(row) for row in rows]))
    assert found.tolist() == [1, 2, 2, 1, 0, 0, 0, 0, 0, 0]


def test_half_precision_is_summed_in_single() -> None:
    state, own = CompressedGradients(1.0), parameters(4)
    state.encode(own, torch.tensor([1.0, 2, 3, 4]).bfloat16())
    assert state._residual(own[0], torch.device("cpu")).dtype == torch.float32


def test_places_of_another_number_are_refused() -> None:
    layout = Layout([100], 0.1, 1)
    with pytest.raises(ValueError, match=r"^a worker sent 0 places where 10 were expected: all must be alike\.$"):
        layout.decode(torch.zeros(layout.bytes, dtype=torch.uint8))


@pytest.mark.usefixtures("alone")
def test_plain_ddp_trains_with_the_hook() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 1))
    model = DistributedDataParallel(network, bucket_cap_mb=0.0005)
    state = CompressedGradients(0.2, start=1)
    model.register_comm_hook(state, exchange)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    inputs = torch.randn(64, 6)
    losses = []
    for step in range(60):
        optimizer.zero_grad()
        loss = (model(inputs) - inputs[:, :1]).square().mean()
        loss.backward()
        assert bool(state._late) == (step > 0)  # the first step is summed as it is
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.1 * losses[0]
    assert state.steps == 60


def test_what_is_late_survives_a_checkpoint() -> None:
    network, other = nn.Linear(3, 2), nn.Linear(3, 2)
    state, again = CompressedGradients(0.3), CompressedGradients(0.3)
    state.encode(list(network.parameters()), torch.randn(8))
    state.sent_bytes, state.plain_bytes, state.steps = 10, 100, 3
    saved = state.residuals(network)
    again.restore(other, saved)
    again.load_state_dict(state.state_dict())
    for name, value in again.residuals(other).items():
        assert torch.equal(value, saved[name])
    assert again.report() == {"sent_bytes": 10, "plain_bytes": 100, "ratio": 10.0}
    with pytest.raises(
        ValueError, match=r"^residuals must be those of this network, but 'bias' is \(2,\) there and \(4,\) here\."
    ):
        again.restore(nn.Linear(3, 4), saved)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"density": 0}, r"^density must be a number above 0 and at most 1, but got 0\.$"),
        ({"density": True}, r"^density must be a number above 0 and at most 1, but got True\.$"),
        ({"bits": 5}, r"^bits must be a whole number from 1 to 4, but got 5\.$"),
        ({"start": -1}, r"^start must be at least 0, but got -1\.$"),
    ],
)
def test_what_is_wrong_is_said(arguments: dict[str, float], line: str) -> None:
    with pytest.raises(ValueError, match=line):
        CompressedGradients(**arguments)  # type: ignore[arg-type]


def test_another_strategy_is_refused() -> None:
    strategy = SimpleNamespace(model=nn.Linear(1, 1))
    with pytest.raises(
        ValueError,
        match=r"^CompressedGradients needs Trainer\(strategy='ddp'\), but got the strategy SimpleNamespace\.$",
    ):
        CompressedGradients().on_fit_start(SimpleNamespace(world_size=2, strategy=strategy), None)  # type: ignore
    CompressedGradients().on_fit_start(SimpleNamespace(world_size=1, strategy=strategy), None)  # type: ignore


def test_the_same_gradients_give_the_same_bytes() -> None:
    def sent() -> list[Tensor]:
        state, own = CompressedGradients(0.1, bits=2), parameters(*SIZES)
        rows = [torch.randn(sum(SIZES), generator=torch.Generator().manual_seed(step)) for step in range(3)]
        return [state.encode(own, row)[1] for row in rows]

    assert all(torch.equal(one, other) for one, other in zip(sent(), sent(), strict=True))
