"""Costs against what can be worked out by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kirigami.models import cost

ROWS = 32


def chain() -> nn.Module:
    return nn.Sequential(nn.Linear(10, 100), nn.ReLU(), nn.Linear(100, 20), nn.ReLU(inplace=True), nn.Linear(20, 5))


class Residual(nn.Module):
    """Hold the input until the sum: 3 tensors of one size are alive at its peak."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.second(self.first(inputs).relu_())


class Slow(nn.Module):
    """Take a number of milliseconds by a clock of its own, at every tenth pass ten times as many."""

    def __init__(self, milliseconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.milliseconds, self.passes, self.now = milliseconds, 0, 0.0
        monkeypatch.setattr(cost, "perf_counter", lambda: self.now)
        monkeypatch.setattr(cost, "_switches", lambda: 0)

    def forward(self, inputs: Tensor) -> Tensor:
        assert torch.is_inference_mode_enabled()
        assert not self.training
        self.passes += 1
        self.now += self.milliseconds / 1e3 * (10 if self.passes % 10 == 0 else 1)
        return inputs


class TestLatency:
    def test_is_the_median_of_all_repeats(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The slow tenth would have raised a mean to 3.8 ms or more."""
        network = Slow(2.0, monkeypatch)
        measured = cost.latency(network, torch.zeros(1), repeats=20, warmup=3)
        assert network.passes == 23
        assert (measured.repeats, measured.disturbed) == (20, 0)
        assert measured.fastest == pytest.approx(2.0)
        assert measured.median == pytest.approx(2.0)
        assert measured.deviation == pytest.approx(0, abs=1e-6)

    def test_is_taken_by_the_real_clock(self) -> None:
        measured = cost.latency(nn.Linear(64, 64), torch.zeros(8, 64), repeats=3)
        assert 0 < measured.fastest <= measured.median
        assert measured.repeats >= 3

    def test_leaves_out_interrupted_passes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Every tenth pass is said to be interrupted: the slow ones, so none of them counts."""
        network = Slow(0.5, monkeypatch)
        monkeypatch.setattr(cost, "_switches", lambda: network.passes // 10)
        found = cost.latency(network, torch.zeros(1), repeats=30, warmup=0)
        assert network.passes == 33
        assert found.repeats == 30
        assert found.disturbed == pytest.approx(3 / 33)

    def test_counts_all_where_every_pass_is_interrupted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        network = Slow(0.0, monkeypatch)
        monkeypatch.setattr(cost, "_switches", lambda: network.passes)
        found = cost.latency(network, torch.zeros(1), repeats=5, warmup=0)
        assert (found.repeats, found.disturbed) == (20, 1.0)

    def test_stops_in_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        network = Slow(1.0, monkeypatch)
        assert cost.latency(network, torch.zeros(1), repeats=1000, warmup=0, seconds=0.0).repeats <= 10
        assert network.passes == 10

    def test_grows_with_the_network(self) -> None:
        inputs = torch.randn(64, 64)
        small, large = nn.Linear(64, 8), nn.Sequential(nn.Linear(64, 2048), nn.Linear(2048, 512))
        assert cost.latency_ms(small, inputs) < cost.latency_ms(large, inputs)

    def test_leaves_every_mode_as_it_was(self) -> None:
        network = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout())
        network.train()
        network[1].eval()
        before = network[1].running_mean.clone()
        cost.latency(network, torch.randn(4, 4), repeats=2)
        assert [module.training for module in network] == [True, False, True]
        assert torch.equal(network[1].running_mean, before)

    @pytest.mark.parametrize(("name", "value"), [("repeats", 0), ("warmup", -1)])
    def test_refuses_numbers_out_of_range(self, name: str, value: int) -> None:
        with pytest.raises(ValueError, match=f"{name} must be at least"):
            cost.latency(chain(), torch.zeros(1, 10), **{name: value})


class TestMemory:
    def test_counts_parameters_and_buffers_once(self) -> None:
        network = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3))
        network[2].weight = network[0].weight
        # A weight, two biases, four rows of the norm, of 4 bytes each; and the norm's count of batches of 8.
        assert cost.stored_bytes(network) == 4 * (9 + 2 * 3 + 4 * 3) + 8

    def test_peak_of_a_chain(self) -> None:
        # Largest while the first activation is made: the input, and both sides of the first ReLU.
        assert cost.activation_bytes(chain(), torch.randn(ROWS, 10)) == 4 * ROWS * (10 + 100 + 100)

    def test_rows_of_a_larger_tensor_count_alone(self) -> None:
        assert cost.activation_bytes(chain(), torch.randn(9 * ROWS, 10)[:ROWS]) == 4 * ROWS * (10 + 100 + 100)

    def test_peak_of_a_residual_block(self) -> None:
        assert cost.activation_bytes(Residual(), torch.randn(ROWS, 8)) == 4 * ROWS * 3 * 8

    def test_views_cost_nothing_and_types_count(self) -> None:
        class Flat(nn.Module):
            def forward(self, inputs: Tensor) -> Tensor:
                return inputs.flatten(1).view(-1)

        assert cost.activation_bytes(Flat(), torch.zeros(4, 3, 2, dtype=torch.float64)) == 8 * 24

    def test_is_the_same_twice_and_leaves_nothing(self) -> None:
        network, inputs = (
            nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)).train(),
            torch.randn(2, 1, 8, 8),
        )
        found = [cost.memory_bytes(network, inputs) for _ in range(2)]
        assert found[0] == found[1]
        assert found[0] == cost.stored_bytes(network) + 4 * 2 * 64 * (1 + 4 + 4)  # the input stays
        assert network.training


def test_macs_keep_modes() -> None:
    network = nn.Sequential(nn.Linear(3, 5), nn.Dropout().eval())
    assert cost.macs(network, torch.zeros(7, 3)) == 15
    assert [module.training for module in network] == [True, False]


class Attention(nn.MultiheadAttention):
    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs, inputs, inputs)[0]


class Products(nn.Module):
    """By functions that torch's counter does not know."""

    def forward(self, inputs: Tensor) -> Tensor:
        first = inputs[0]
        return torch.mv(torch.ones(4, 5), first).sum() + first.dot(first) + torch.cdist(inputs, torch.ones(3, 5)).sum()


class Bilinear(nn.Bilinear):
    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs, inputs)


IMAGE, SEQUENCE = (4, 6, 6), (10, 8)
LSTM_MACS = 4 * 16 * (8 + 16)  # a step: four gates of 16, each of 8 inputs and 16 states


HAND_COUNTS = {
    "linear": (nn.Linear(5, 7), (5,), 35),
    "bilinear": (Bilinear(5, 5, 7), (5,), 7 * 5 * 5 + 7 * 5),
    "conv1d": (nn.Conv1d(8, 6, 3), (8, 10), 6 * 8 * 3 * 8),
    "conv2d in groups": (nn.Conv2d(4, 8, 3, groups=2), IMAGE, 8 * 2 * 9 * 16),
    "transposed": (nn.ConvTranspose2d(4, 5, 3), IMAGE, 4 * 5 * 9 * 36),
    "conv3d": (nn.Conv3d(2, 3, 2), (2, 3, 3, 3), 3 * 2 * 8 * 8),
    "rnn": (nn.RNN(8, 16, batch_first=True), SEQUENCE, 10 * 16 * (8 + 16)),
    "gru": (nn.GRU(8, 16, batch_first=True), SEQUENCE, 10 * 3 * 16 * (8 + 16)),
    "lstm": (nn.LSTM(8, 16, batch_first=True), SEQUENCE, 10 * LSTM_MACS),
    "lstm cell": (nn.LSTMCell(8, 16), (8,), LSTM_MACS),
    "attention": (Attention(64, 4, batch_first=True), (16, 64), 4 * 16 * 64 * 64 + 2 * 16 * 16 * 64),
    "transformer": (
        nn.TransformerEncoderLayer(32, 4, 64, batch_first=True),
        (8, 32),
        8 * (4 * 32 * 32 + 2 * 32 * 64) + 2 * 8 * 8 * 32,
    ),
    "products": (Products(), (5,), 4 * 5 + 5 + 3 * 5),
}


@pytest.mark.parametrize("case", HAND_COUNTS)
def test_macs_are_those_counted_by_hand(case: str) -> None:
    network, shape, macs = HAND_COUNTS[case]
    assert cost.macs(network, torch.randn(3, *shape)) == macs


def test_macs_of_two_layers_both_ways() -> None:
    network = nn.LSTM(8, 16, 2, bidirectional=True, batch_first=True)
    assert cost.macs(network, torch.randn(2, 10, 8)) == 10 * 2 * (LSTM_MACS + 4 * 16 * (32 + 16))
    assert torch.backends.mha.get_fastpath_enabled()
    assert torch.backends.mkldnn.enabled


def test_functional_weights_are_not_activations() -> None:
    class Made(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(6, 2))

        def forward(self, inputs: Tensor) -> Tensor:
            return F.linear(inputs, self.weight)

    assert cost.activation_bytes(Made(), torch.zeros(5, 2)) == 4 * (5 * 2 + 5 * 6)
