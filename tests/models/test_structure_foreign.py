"""Units of networks that are not ours: what is understood, what is left out, and that looking leaves no trace."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kirigami.models.structure import remove, resize, shapes, units, widen


class Mobile(nn.Module):
    """Residual blocks with a depthwise convolution, a gate over channels, and a GRU over the columns."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.expand, self.norm1 = nn.Conv2d(8, 16, 1), nn.BatchNorm2d(16)
        self.depthwise, self.norm2 = nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False), nn.BatchNorm2d(16)
        self.squeeze, self.excite = nn.Linear(16, 4), nn.Linear(4, 16)
        self.project = nn.Conv2d(16, 8, 1)
        self.gru = nn.GRU(8, 10, batch_first=True)
        self.hidden, self.output = nn.Linear(10, 12), nn.Linear(12, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        stream = F.relu(self.norm(self.stem(inputs)))
        wide = F.relu6(self.norm2(self.depthwise(F.relu6(self.norm1(self.expand(stream))))))
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(wide.mean((2, 3))))))
        stream = stream + self.project(wide * gate[:, :, None, None])
        states, _ = self.gru(stream.mean(3).transpose(1, 2))
        return self.output(F.relu(self.hidden(states[:, -1])))


class Joined(nn.Module):
    """A concatenation that is added to a third layer, and flattened."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 4, 3, padding=1)
        self.side, self.norm = nn.Conv2d(1, 12, 1), nn.BatchNorm2d(12)
        self.c, self.output = nn.Conv2d(12, 6, 1), nn.Linear(6 * 64, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        a = F.relu(self.a(inputs))
        b = F.relu(self.b(a))
        return self.output(self.c(self.norm(torch.cat([a, b], 1) + self.side(inputs))).flatten(1))


class Mixed(nn.Module):
    """Instance norm, one slope a channel, several groups, transposed convolution, a layer used twice, fixed sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.slopes = nn.Conv2d(1, 8, 3, padding=1), nn.InstanceNorm2d(8), nn.PReLU(8)
        self.up, self.norm2 = nn.ConvTranspose2d(8, 6, 2, stride=2), nn.InstanceNorm2d(6, affine=True)
        self.grouped, self.fold = nn.Conv2d(6, 6, 1, groups=2), nn.Linear(6, 6)
        self.wide, self.fixed, self.output = nn.Linear(6, 10), nn.Linear(10, 5), nn.Linear(5, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = F.relu(self.norm2(self.up(self.slopes(self.norm(self.a(inputs))))))
        hidden = self.fold(F.relu(self.fold(self.grouped(hidden).mean((2, 3)))))
        return self.output(self.fixed(F.relu(self.wide(hidden))).reshape(-1, 5))


class Normed(nn.Module):
    """A softmax and a layer norm over units, attention, and two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.norm = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8), nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.d, self.output, self.other = nn.Linear(8, 6), nn.Linear(6, 3), nn.Linear(6, 2)

    def forward(self, inputs: Tensor, *, scale: float = 1.0) -> dict[str, Tensor]:
        hidden = self.norm(self.c(self.b(torch.softmax(self.a(scale * inputs), -1))))
        hidden = self.attention(hidden, hidden, hidden)[0]
        last = F.gelu(self.d(hidden))
        return {"one": self.output(last), "other": self.other(last)}


CASES: dict[str, tuple[type[nn.Module], tuple[int, ...], set[str]]] = {
    "mobile": (Mobile, (1, 8, 8), {"expand", "squeeze", "hidden"}),
    "joined": (Joined, (1, 8, 8), {"a", "b", "c"}),
    "mixed": (Mixed, (1, 6, 6), {"a", "wide"}),
    "normed": (Normed, (5, 8), {"b", "d"}),
}


def make(case: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    network, shape, _ = CASES[case][0](), CASES[case][1], None
    return network.eval(), torch.randn(4, *shape)


def flat(output: Tensor | dict[str, Tensor]) -> Tensor:
    return torch.cat([part.flatten() for part in output.values()]) if isinstance(output, dict) else output


@pytest.mark.parametrize("case", CASES)
class TestForeign:
    def test_finds_what_it_understands(self, case: str) -> None:
        network, inputs = make(case)
        assert {one.name for one in units(network, inputs)} == CASES[case][2]

    def test_removed_equals_zeroed(self, case: str) -> None:
        network, inputs = make(case)
        zeroed, found = copy.deepcopy(network), units(network, inputs)
        halves = [torch.randperm(one.count)[: one.count // 2] for one in found]
        for one, gone in zip(found, halves, strict=True):
            for axis in one.of("in"):
                for tensor, dim in axis.tensors.items():
                    getattr(zeroed.get_submodule(axis.module), tensor).data.index_fill_(dim, axis.entries(gone), 0)
        for one, gone in zip(found, halves, strict=True):
            remove(network, one, gone)
        with torch.no_grad():
            torch.testing.assert_close(flat(network(inputs)), flat(zeroed(inputs)), atol=1e-5, rtol=1e-5)

    def test_leaves_no_trace(self, case: str) -> None:
        network, inputs = make(case)
        network.train()
        next(network.children()).eval()
        flat(network(inputs)).sum().backward()
        calls = []
        network.register_forward_hook(lambda *_: calls.append(1))
        state, modes = copy.deepcopy(network.state_dict()), [module.training for module in network.modules()]
        gradients = [(parameter, parameter.grad) for parameter in network.parameters()]
        random = torch.get_rng_state()
        units(network, inputs)
        assert calls == []
        assert torch.equal(torch.get_rng_state(), random)
        assert [module.training for module in network.modules()] == modes
        assert all("forward" not in vars(module) for module in network.modules())
        for (parameter, gradient), now in zip(gradients, network.parameters(), strict=True):
            assert now is parameter
            assert now.grad is gradient
        assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())

    def test_a_fresh_one_takes_its_weights(self, case: str) -> None:
        network, inputs = make(case)
        for one in units(network, inputs):
            remove(network, one, [1])
        fresh = CASES[case][0]().eval()
        resize(fresh, shapes(network))
        fresh.load_state_dict(network.state_dict())
        with torch.no_grad():
            assert torch.equal(flat(fresh(inputs)), flat(network(inputs)))
        assert repr(fresh) == repr(network)


def test_inputs_come_in_order_or_by_name() -> None:
    network, inputs = make("normed")
    wanted = [one.name for one in units(network, inputs)]
    assert [one.name for one in units(network, (inputs,))] == wanted
    assert [one.name for one in units(network, {"inputs": inputs, "scale": 2.0})] == wanted


def test_dead_weights_hide_nothing() -> None:
    network, inputs = make("normed")
    nn.init.zeros_(network.output.weight)
    nn.init.zeros_(network.other.weight)
    nn.init.zeros_(network.d.weight)
    assert {one.name for one in units(network, inputs)} == {"b", "d"}


def test_tied_weights_are_left_out() -> None:
    network, inputs = make("normed")
    network.other.weight = nn.Parameter(torch.randn(3, 6))
    network.other.bias = nn.Parameter(torch.zeros(3))
    network.other.weight = network.output.weight
    assert {one.name for one in units(network, inputs)} == {"b"}


def test_units_of_named_layers_alone() -> None:
    network, inputs = make("mobile")
    assert [one.name for one in units(network, inputs, ["squeeze"])] == ["squeeze"]
    with pytest.raises(ValueError, match=r"'stem' has no units that can be removed\."):
        units(network, inputs, ["stem"])


def test_refuses_inputs_that_do_not_fit() -> None:
    network, _ = make("mobile")
    with pytest.raises(ValueError, match=r"Mobile cannot be traced with these inputs: ") as caught:
        units(network, torch.randn(2, 3))
    assert "\n" not in str(caught.value)


def test_a_part_of_a_layer_cannot_be_widened_alone() -> None:
    network, inputs = make("joined")
    found = {one.name: one for one in units(network, inputs)}
    with torch.no_grad():
        before = network(inputs)
        for name in ("a", "b", "c"):
            widen(network, found[name], [0, 2])
        torch.testing.assert_close(network(inputs), before)
    assert network.side.out_channels == network.c.in_channels == 16
