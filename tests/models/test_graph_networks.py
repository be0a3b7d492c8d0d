"""Built-in networks go to ONNX, run there, and come back to the byte from their tensors; what cannot go is refused."""

import numpy
import pytest
import torch
from torch import Tensor, nn

from kirigami.models import Learner
from kirigami.models.bits import Uniform
from kirigami.models.graph import cut, fill, to_onnx
from kirigami.models.networks import NETWORKS
from tests.models.graph_networks import assert_goes_round, hardened, session
from tests.models.network_cases import CASES, batch, build

pytestmark = pytest.mark.usefixtures("operators_once")

CHOSEN = ("mlp-norm", "convnet-group", "resnet", "wrn", "vgg-dense")


def test_a_case_for_every_network() -> None:
    assert {CASES[case][0]["name"] for case in CHOSEN} | {"gru", "transformer"} == set(NETWORKS)


@pytest.mark.parametrize("case", CHOSEN)
def test_network_with_masks_and_codes(case: str) -> None:
    assert_goes_round(hardened(build(case)), batch(case))


def test_lightning_module_is_exported_as_its_network() -> None:
    network = build("mlp-vector").eval()
    module = Learner(network, nn.functional.mse_loss, None, {"name": "sgd", "lr": 0.1}, {"name": "constant"})
    assert to_onnx(module, batch("mlp-vector")) == to_onnx(network, batch("mlp-vector"))


def test_postprocessing_is_in_the_file() -> None:
    network, inputs = build("mlp-vector").eval(), batch("mlp-vector")
    data = to_onnx(network, inputs, postprocessing=nn.Softplus())
    with torch.no_grad():
        wanted = nn.functional.softplus(network(inputs)).numpy()
    numpy.testing.assert_allclose(session(data).run(None, {"input": inputs.numpy()})[0], wanted, rtol=1e-5)


def test_soft_links_are_refused() -> None:
    network = build("convnet")
    Uniform(bits=3).attach(network)
    with pytest.raises(ValueError, match="soft"):
        to_onnx(network, batch("convnet"))


def test_network_that_torch_cannot_export_is_refused_in_a_line() -> None:
    class Odd(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return inputs * float(inputs.sum().item() > 0) if inputs.sum().item() > 0 else inputs

    with pytest.raises(ValueError, match=r"^Odd cannot be exported to ONNX: [^\n]+$"):
        to_onnx(Odd(), torch.randn(2, 3))


def test_network_of_another_kind_does_not_fit_the_skeleton() -> None:
    network = build("mlp-vector").eval()
    skeleton = cut(to_onnx(network, batch("mlp-vector")), network)
    with pytest.raises(ValueError, match="of another network"):
        fill(skeleton, {"a": torch.zeros(3)})
