"""Few bits for what goes into the layers: the grid, how its range is found, and that it is kept."""

import copy
import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kirigami.models.bits import SMOL, Quantisation, Uniform
from kirigami.models.bits.inputs import CHILD, InputQuantiser, fitted, grid, insert
from kirigami.models.compact import decode, decode_state, encode, plain
from kirigami.models.loading import about, load
from kirigami.models.networks import build_network
from kirigami.models.structure import remove, units
from tests.models.compact_files import closed, opened
from tests.models.foreign_images import Foreign, fit, inputs


def fixed(low: float, high: float, bits: int) -> InputQuantiser:
    quantiser = InputQuantiser(bits)
    quantiser.range.copy_(torch.tensor([low, high]))
    quantiser.fix()
    return quantiser


def as_onnx(inputs: Tensor, step: Tensor, zero: Tensor, bits: int) -> Tensor:
    """Return what QuantizeLinear and DequantizeLinear, with a clip for fewer than 8 bits, make of inputs."""
    levels = (torch.round(inputs / step) + zero).clamp(0, 2**bits - 1)
    return (levels - zero) * step


@pytest.fixture(scope="module")
def trained() -> tuple[Foreign, Uniform]:
    technique = Uniform(4, activation_bits=3)
    return fit(technique), technique


class TestGrid:
    @pytest.mark.parametrize("bits", [2, 3, 8])
    @pytest.mark.parametrize(("low", "high"), [(0.0, 3.0), (-1.0, 3.0), (-2.0, 0.0), (-0.17, 5.0)])
    def test_is_that_of_onnx(self, low: float, high: float, bits: int) -> None:
        quantiser, rows = fixed(low, high, bits), 3 * torch.randn(1000)
        step, zero = grid(quantiser.range, bits)
        found = quantiser(rows)
        assert torch.equal(found, as_onnx(rows, step, zero, bits))
        assert len(found.unique()) <= 2**bits
        assert float(quantiser(torch.zeros(1))) == 0

    def test_rounds_to_the_nearest_level_inside_and_clips_outside(self) -> None:
        quantiser, rows = fixed(0.0, 3.0, 2), torch.tensor([-1.0, 0.4, 0.6, 1.5, 2.5, 2.6, 9.0])
        assert quantiser(rows).tolist() == [0, 0, 1, 2, 2, 3, 3]  # halves to even

    def test_same_with_and_without_gradient(self) -> None:
        quantiser, rows = fixed(-1.3, 2.9, 5), 2 * torch.randn(5000)
        with torch.no_grad():
            expected = quantiser(rows)
        assert torch.equal(quantiser(rows.requires_grad_()), expected)

    def test_gradient_goes_through_inside_the_range_only(self) -> None:
        rows = torch.tensor([-0.5, 0.2, 2.9, 3.5], requires_grad=True)
        fixed(0.0, 3.0, 2)(rows).sum().backward()
        assert rows.grad.tolist() == pytest.approx([0, 1, 1, 0])

    def test_numbers_that_are_not_finite(self) -> None:
        found = fixed(-1.0, 3.0, 4)(torch.tensor([float("inf"), -float("inf"), float("nan")]))
        assert found[0] == pytest.approx(3, abs=0.2)
        assert found[1] == pytest.approx(-1, abs=0.2)
        assert found[2].isnan()


class TestRange:
    def test_few_bits_clip_more(self) -> None:
        rows = torch.randn(4096, generator=torch.Generator().manual_seed(0)).relu()
        ends = [float(fitted(rows, bits)[1]) for bits in (2, 4, 8)]
        assert ends[0] < ends[1] < ends[2] <= rows.max()

    @pytest.mark.parametrize("bits", [2, 4])
    def test_has_less_error_than_the_whole_range(self, bits: int) -> None:
        rows = torch.randn(2000, generator=torch.Generator().manual_seed(0))
        ends, whole = fitted(rows, bits), torch.stack([rows.min(), rows.max()])
        errors = [float((as_onnx(rows, *grid(at, bits), bits) - rows).square().mean()) for at in (ends, whole)]
        assert errors[0] < 0.9 * errors[1]

    def test_running_mean_is_kept_over_batches(self) -> None:
        quantiser = InputQuantiser(8)
        quantiser.watching = True
        for value in (1.0, 2.0):
            quantiser(value * torch.linspace(0, 1, 500))
        assert quantiser.range[1] == pytest.approx(0.9 * 1 + 0.1 * 2, rel=0.05)

    def test_odd_batches_do_no_harm(self) -> None:
        quantiser = InputQuantiser(4)
        quantiser.watching = True
        quantiser(torch.zeros(0, 3))
        quantiser(torch.tensor([float("inf"), float("nan"), 2.0, 0.5]))
        assert quantiser.range.tolist() == pytest.approx([0, 2], abs=0.2)

    def test_watches_in_training_and_when_told_only(self) -> None:
        quantiser = InputQuantiser(4)
        quantiser(torch.ones(3))
        quantiser.watching = True
        quantiser.eval()(torch.ones(3))
        assert not quantiser.range.any()

    def test_without_inputs_nothing_is_rounded(self) -> None:
        quantiser, rows = InputQuantiser(2), torch.randn(50)
        quantiser.fix()
        assert torch.equal(quantiser(rows), rows)
        assert int(quantiser.bits) == 0


class TestTechnique:
    @pytest.mark.parametrize("technique", [Uniform(4, activation_bits=2), SMOL(3.0, activation_bits=2)])
    def test_layers_see_few_levels_once_hard(self, technique: Quantisation) -> None:
        module, seen = Foreign(), {}
        module.body[4].register_forward_hook(lambda layer, args, _: seen.update(rows=args[0]))
        technique.attach(module)
        module(inputs())
        assert len(seen["rows"].unique()) > 16
        fit(technique, module)
        module(inputs())
        assert 1 < len(seen["rows"].unique()) <= 4
        assert technique.report()["activation_bits"] == 5.0  # 8 of the first layer, 2 of the other

    def test_nothing_is_rounded_while_soft(self) -> None:
        module, technique = Foreign().eval(), Uniform(4, activation_bits=2)
        before = module(inputs())
        technique.attach(module)
        technique.advance(0.0)
        assert torch.equal(module(inputs()), before)

    def test_ranges_stay_when_hard(self, trained: tuple[Foreign, Uniform]) -> None:
        module, technique = copy.deepcopy(trained)
        ranges = [quantiser.range.clone() for quantiser in technique.inputs.quantisers]
        fit(technique, module.train(), epochs=1)
        assert all(map(torch.equal, ranges, [quantiser.range for quantiser in technique.inputs.quantisers]))

    def test_layer_that_is_never_called_rounds_nothing(self) -> None:
        """Attention reads the weight of its last projection without calling it."""
        network = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        technique = Uniform(4, names=["self_attn.out_proj", "linear1"], activation_bits=4)
        technique.attach(network)
        technique.advance(0.0)
        network(torch.randn(2, 3, 8))
        technique.harden()
        assert technique.report()["activation_bits"] == (32 + 4) / 2
        assert network(torch.randn(2, 3, 8)).isfinite().all()

    def test_input_may_have_its_name(self) -> None:
        layer = nn.Linear(3, 2)
        insert(layer, fixed(0.0, 3.0, 2))
        rows = torch.rand(5, 3)
        assert torch.equal(layer(input=rows), layer(rows))


class TestKeeping:
    def test_decodes_into_a_network_that_has_none(self, trained: tuple[Foreign, Uniform]) -> None:
        module, _ = trained
        data = encode(module)
        fresh = decode(data, Foreign().eval())
        assert torch.equal(fresh(inputs()), module(inputs()))
        assert int(fresh.body[4].input_quantiser.bits) == 3
        assert torch.equal(decode(data, fresh)(inputs()), module(inputs()))
        assert encode(fresh)  # and it is a network like any other

    def test_ranges_count_in_the_file(self, trained: tuple[Foreign, Uniform]) -> None:
        bare = plain(trained[0])
        for layer in (bare.body[0], bare.body[4]):
            delattr(layer, CHILD)
        assert len(encode(bare)) + 2 * 9 < len(encode(plain(trained[0])))
        assert f"body.4.{CHILD}.range" in decode_state(encode(trained[0]))

    def test_damaged_bits_are_refused_and_leave_the_network(self, trained: tuple[Foreign, Uniform]) -> None:
        records, *contents = opened(encode(trained[0]))
        for record in records:
            record.name = record.name.replace(f"body.4.{CHILD}", f"body.1.{CHILD}")
        hostile = closed(records, *contents)
        fresh = Foreign()
        names = set(fresh.state_dict())
        with pytest.raises(ValueError, match=r"the file is of another network: body.1.input_quantiser"):
            decode(hostile, fresh)
        assert set(fresh.state_dict()) == names
        wrong = copy.deepcopy(trained[0])
        wrong.body[4].input_quantiser.bits.fill_(77)
        with pytest.raises(ValueError, match=r"body.4.input_quantiser.bits must be one of .* but is \[77\]"):
            decode(encode(wrong), fresh)
        assert set(fresh.state_dict()) == names

    def test_its_file_says_how_to_load_it(self, tmp_path: Path) -> None:
        config, shapes = {"name": "mlp", "width": 8, "depth": 2}, {"in_shape": [1, 8, 8], "out_features": 10}
        network, technique = (
            build_network(config, **shapes, vocabulary=None, dense=False),
            Uniform(3, activation_bits=4),
        )
        technique.attach(network)
        technique.advance(0.0)
        rows = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        network.train()(rows)
        technique.harden()
        path = tmp_path / "network.kgm"
        path.write_bytes(encode(network, extra={"about": about(config, shapes, [])}))
        assert torch.equal(load(path)(rows), network.eval()(rows))

    def test_pickles_and_exports(self, trained: tuple[Foreign, Uniform]) -> None:
        body = plain(trained[0].body).eval()
        expected = body(inputs())
        assert torch.equal(pickle.loads(pickle.dumps(body))(inputs()), expected)
        assert torch.equal(torch.export.export(body, (inputs(),)).module()(inputs()), expected)

    def test_copies_have_quantisers_of_their_own(self, trained: tuple[Foreign, Uniform]) -> None:
        other = copy.deepcopy(trained[0])
        other.body[4].input_quantiser.range.mul_(0.1)
        other.body[4].input_quantiser.fix()
        assert not torch.equal(other(inputs()), trained[0](inputs()))

    def test_units_can_be_removed(self, trained: tuple[Foreign, Uniform]) -> None:
        body = plain(trained[0].body)
        found = next(one for one in units(body, inputs()) if one.name == "0")
        remove(body, found, [0, 2])
        assert body[0].weight.shape[0] == 4
        assert body(inputs()).shape == (4, 20)
