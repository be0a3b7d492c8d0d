"""Losses against their formulas, and which task takes which."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kirigami.errors import ArgumentError
from kirigami.models.outputs import LOSSES, loss

KINDS = {
    "classes": ((6, 4), torch.arange(6) % 4),
    "values": ((6, 1), torch.linspace(-1, 1, 6)),
    "labels": ((6, 4), (torch.arange(24) % 3 == 0).float().reshape(6, 4)),
    "pixels": ((6, 3, 3), (torch.arange(54) % 2).reshape(6, 3, 3)),
    "pixels of classes": ((6, 4, 3, 3), (torch.arange(54) % 4).reshape(6, 3, 3)),
    "characters": ((6, 5, 4), torch.arange(30).reshape(6, 5) % 4),
}
SUITED = {
    "classes": ["auto", "cross_entropy", "squared", "exponential", "cosh"],
    "values": ["auto", "mse", "mae"],
    "labels": ["auto", "binary_cross_entropy"],
    "pixels": ["auto", "binary_cross_entropy"],
    "pixels of classes": ["auto", "cross_entropy"],
    "characters": ["auto", "cross_entropy"],
}
PAIRS = [(kind, name) for kind, names in SUITED.items() for name in names]


def outputs(kind: str) -> Tensor:
    return torch.randn(KINDS[kind][0], generator=torch.Generator().manual_seed(0), requires_grad=True)


def error(z: Tensor, targets: Tensor) -> Tensor:
    return z - (2.0 * F.one_hot(targets, z.shape[-1]) - 1)


@pytest.mark.parametrize(("kind", "name"), PAIRS)
def test_descending_the_gradient_lowers_the_loss(kind: str, name: str) -> None:
    classes = None if kind in ("pixels", "values", "characters") else 4
    function, z, targets = loss(name, kind.partition(" ")[0], classes), outputs(kind), KINDS[kind][1]
    before = function(z, targets)
    assert before.ndim == 0
    before.backward()
    assert z.grad is not None
    assert function(z - 1e-2 * z.grad, targets) < before


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("squared", lambda e: 0.5 * e**2),
        ("exponential", lambda e: e.abs().exp() - e.abs() - 1),
        ("cosh", lambda e: e.cosh() - 1),
    ],
)
def test_linear_outputs_follow_the_formula(name: str, formula: object) -> None:
    z, targets = outputs("classes"), KINDS["classes"][1]
    expected = formula(error(z, targets)).sum(1).mean()  # type: ignore[operator]
    torch.testing.assert_close(LOSSES[name](z, targets), expected)


@pytest.mark.parametrize(("name", "slope"), [("exponential", lambda a: math.exp(a) - 1), ("cosh", math.sinh)])
@pytest.mark.parametrize("size", [0.0, 0.5, 7.0, 8.0, 30.0])
def test_gradient_is_clamped_but_never_gone(name: str, slope: object, size: float) -> None:
    for sign in (1.0, -1.0):
        z = torch.tensor([[1 + sign * size, -1.0]], dtype=torch.double, requires_grad=True)
        LOSSES[name](z, torch.tensor([0])).backward()
        assert z.grad is not None
        assert z.grad[0, 0].item() == pytest.approx(sign * slope(min(size, 8.0)))  # type: ignore[operator]


def test_cross_entropy_over_positions_is_that_over_rows() -> None:
    z, targets = outputs("characters"), KINDS["characters"][1]
    expected = F.cross_entropy(z.reshape(30, 4), targets.reshape(30))
    torch.testing.assert_close(loss("auto", "characters")(z, targets), expected)


def test_smoothing() -> None:
    z, targets = outputs("classes"), KINDS["classes"][1]
    expected = F.cross_entropy(z, targets, label_smoothing=0.1)
    torch.testing.assert_close(loss("auto", "classes", 4, smoothing=0.1)(z, targets), expected)
    assert loss("auto", "classes", 4)(z, targets) != expected


def test_one_column_is_compared_row_by_row() -> None:
    targets = torch.tensor([1.0, 2.0, 4.0])
    assert loss("mse", "values")(torch.zeros(3, 1), targets).item() == pytest.approx(7.0)
    assert loss("mae", "values")(torch.zeros(3), targets).item() == pytest.approx(7 / 3)


@pytest.mark.parametrize(
    ("name", "kind", "classes", "smoothing", "expected"),
    [
        ("cross_entropi", "classes", 4, 0.0, "Did you mean 'cross_entropy'?"),
        ("mse", "classes", 4, 0.0, "must be one of (cross_entropy, squared, exponential, cosh) for a task of classes"),
        ("cross_entropy", "values", None, 0.0, "must be one of (mse, mae) for a task of values"),
        ("auto", "classes", ("only",), 0.0, "needs at least 2 classes"),
        ("auto", "classes", 4, 1.0, "smoothing must be at least 0 and below 1, but got 1.0"),
        ("squared", "classes", 4, 0.1, "smoothing must be 0 with loss=squared, but got 0.1"),
    ],
)
def test_names_the_fault(name: str, kind: str, classes: object, smoothing: float, expected: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        loss(name, kind, classes, smoothing=smoothing)  # type: ignore[arg-type]
    assert expected in str(caught.value)


@pytest.mark.parametrize("name", SUITED["classes"])
def test_weights_multiply_each_samples_loss(name: str) -> None:
    z, targets, weights = outputs("classes"), KINDS["classes"][1], torch.tensor([0.5, 0.0, 1.0, 3.0])
    alone = torch.stack([loss(name, "classes", 4)(z[i : i + 1], targets[i : i + 1]) for i in range(len(z))])
    torch.testing.assert_close(loss(name, "classes", 4, weights=weights)(z, targets), (alone * weights[targets]).mean())
    once = loss(name, "classes", 4, weights=torch.ones(4))
    torch.testing.assert_close(once(z, targets), loss(name, "classes", 4)(z, targets))


def test_weights_and_smoothing_go_together() -> None:
    z, targets, weights = outputs("classes"), KINDS["classes"][1], torch.tensor([0.5, 2.0, 1.0, 3.0])
    each = F.cross_entropy(z, targets, label_smoothing=0.1, reduction="none")
    function = loss("auto", "classes", 4, smoothing=0.1, weights=weights)
    torch.testing.assert_close(function(z, targets), (each * weights[targets]).mean())


def test_weights_follow_the_outputs() -> None:
    function = loss("squared", "classes", 2, weights=torch.ones(2))
    z = torch.zeros(3, 2, device="meta")
    assert function(z, torch.zeros(3, dtype=torch.long, device="meta")).device.type == "meta"


@pytest.mark.parametrize(
    ("kind", "weights", "expected"),
    [
        ("values", [1.0, 1.0], "class weights need a task of classes, but got one of values"),
        ("classes", [1.0, 1.0, 1.0], "class weights must be 2 numbers, one a class, but got shape (3,)"),
        ("classes", [1.0, -1.0], "class weights must be finite, at least 0 and not all 0, but got [1.0, -1.0]"),
        ("classes", [0.0, 0.0], "class weights must be finite, at least 0 and not all 0"),
        ("classes", [math.nan, 1.0], "class weights must be finite"),
    ],
)
def test_names_the_fault_of_weights(kind: str, weights: list[float], expected: str) -> None:
    with pytest.raises(ValueError, match=r"^class weights") as caught:
        loss("auto", kind, 2, weights=torch.tensor(weights))
    assert str(caught.value).startswith(expected)


def test_a_pixel_that_does_not_count_is_left_out() -> None:
    function, z = loss("auto", "pixels", 4), outputs("pixels of classes")
    targets = KINDS["pixels of classes"][1].clone()
    targets[0] = -100

    assert torch.isclose(function(z, targets), function(z[1:], targets[1:]))
