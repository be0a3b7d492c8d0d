"""Closed form: ridge regression against an independent computation, and networks fitted without a step."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kirigami import models
from kirigami.models.initial import ClosedForm, Moments, build
from kirigami.models.initial.closed import best_scale
from kirigami.models.sparsity import ContinuousSparsification


def table(rows=60, features=7, outputs=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, features, generator=generator, dtype=torch.float64) + 2
    return x, x[:, :outputs].sin() + 0.1 * torch.randn(rows, outputs, generator=generator, dtype=torch.float64)


def moments(x, y, batch=16):
    sums = Moments()
    for begin in range(0, len(x), batch):
        sums.add(x[begin : begin + batch], y[begin : begin + batch])
    return sums


def direct(x, y, ridge):
    """Solve the centred normal equations of all rows at once; return weight and bias."""
    centred = x - x.mean(0)
    strength = ridge * centred.square().mean()
    gram = centred.T @ centred / len(x) + strength * torch.eye(x.shape[1], dtype=x.dtype)
    weight = torch.linalg.solve(gram, centred.T @ (y - y.mean(0)) / len(x)).T
    return weight, y.mean(0) - weight @ x.mean(0)


@pytest.mark.parametrize("features", [7, 200], ids=["sums", "rows kept"])
def test_ridge_is_that_of_all_rows_at_once(features):
    x, y = table(features=features)
    found = moments(x, y).solve(0.3)
    weight, bias = direct(x, y, 0.3)
    assert (found.buffered is None) == (features == 7)
    assert torch.allclose(found.weight, weight, atol=1e-9)
    assert torch.allclose(found.bias, bias, atol=1e-9)


@pytest.mark.parametrize("features", [7, 200])
def test_left_out_outputs_are_those_of_a_refit_without_the_row(features):
    x, y = table(rows=30, features=features)
    sums = moments(x, y)
    found = sums.solve(0.5)
    leverage = found.buffered[2] if found.buffered else found.leverage(x)
    left = found.left_out(x, y, leverage)
    strength = 0.5 * (x - x.mean(0)).square().mean()
    for row in (0, 11, 29):
        rest = torch.arange(30) != row
        # Leaving a row out leaves its share of the mean: strengths are those of sums, the intercept is free.
        inner = torch.cat([x[rest], torch.ones(29, 1, dtype=x.dtype)], 1)
        penalty = 30 * strength * torch.eye(features + 1, dtype=x.dtype)
        penalty[-1, -1] = 0
        refit = torch.linalg.solve(inner.T @ inner + penalty, inner.T @ y[rest])
        assert torch.allclose(left[row], torch.cat([x[row], x.new_ones(1)]) @ refit, atol=1e-8)


@pytest.mark.parametrize("features", [7, 200])
def test_the_strength_has_the_least_generalised_cross_validation(features):
    x, y = table(features=features)
    found = moments(x, y).solve()

    def criterion(ridge):
        weight, bias = direct(x, y, ridge)
        centred = x - x.mean(0)
        eye = torch.eye(features, dtype=x.dtype)
        inverse = torch.linalg.inv(centred.T @ centred / len(x) + ridge * centred.square().mean() * eye)
        degrees = 1 + torch.trace(inverse @ centred.T @ centred / len(x))
        return (y - x @ weight.T - bias).square().sum() / (1 - degrees / len(x)) ** 2

    assert criterion(found.ridge) <= min(criterion(found.ridge * factor) for factor in (0.5, 0.8, 1.25, 2)) * 1.02


def rings(seed=0, rows=300):
    """Return batches of a task that a linear model cannot do: which of three rings a point lies in."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(rows, 2, generator=generator)
    targets = (points.norm(dim=1) > 0.8).long() + (points.norm(dim=1) > 1.5).long()
    return list(zip(points.split(64), targets.split(64), strict=True))


def images(rows=96, classes=4):
    generator = torch.Generator().manual_seed(1)
    targets = torch.randint(classes, (rows,), generator=generator)
    stripes = torch.sin(torch.arange(8.0)[:, None] * (targets[:, None, None] + 1)).expand(-1, 8, 8)
    inputs = stripes.unsqueeze(1) + 0.3 * torch.randn(rows, 1, 8, 8, generator=generator)
    return list(zip(inputs.split(32), targets.split(32), strict=True))


def accuracy(network, batches):
    network.eval()
    with torch.no_grad():
        return float(torch.cat([network(x).argmax(1) == y for x, y in batches]).float().mean())


def test_random_features_and_a_readout_learn_without_a_step():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(2, 100), nn.ReLU(), nn.Dropout(), nn.Linear(100, 3)).train()
    before = network[0].weight.detach().clone()
    found = ClosedForm().fit(network, rings(), "classes")
    assert network.training
    ratio = network[0].weight.detach() / before
    assert torch.allclose(ratio, ratio[0, 0].expand_as(ratio), atol=1e-5)  # random features, only scaled
    assert found["init_train"] == pytest.approx(accuracy(network, rings()), abs=0.01)
    assert accuracy(network, rings(seed=5)) > 0.9
    assert abs(found["init_left_out"] - accuracy(network, rings(seed=5))) < 0.06
    assert found["init_rows"] == 300


def test_steps_that_follow_do_not_destroy_the_fit():
    torch.manual_seed(0)
    layers = [[nn.Linear(64 if one else 2, 64), nn.ReLU()] for one in range(3)]
    network = nn.Sequential(*(part for pair in layers for part in pair), nn.Linear(64, 3))
    ClosedForm().fit(network, rings(), "classes")
    begun = accuracy(network, rings())
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    for _ in range(10):
        for x, y in rings():
            optimizer.zero_grad()
            F.cross_entropy(network(x), y).backward()
            optimizer.step()
    assert accuracy(network, rings()) >= begun - 0.02


def test_the_scale_makes_the_loss_of_unseen_rows_sane():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(2, 100), nn.ReLU(), nn.Linear(100, 3))
    found = ClosedForm().fit(network, rings(), "classes")

    def loss(factor):
        with torch.no_grad():
            return float(torch.stack([F.cross_entropy(factor * network(x), y) for x, y in rings(seed=5)]).mean())

    assert found["init_scale"] > 1.5
    assert loss(1) < min(0.7 * loss(1 / found["init_scale"]), loss(0))


def test_scale_is_the_one_of_a_grid():
    outputs, targets = torch.randn(40, 3).double(), torch.randint(3, (40,))
    outputs[torch.arange(40), targets] += 1
    found = best_scale(outputs, targets, F.cross_entropy, "classes")
    grid = torch.logspace(-2, 2, 2001).tolist()
    assert found == pytest.approx(min(grid, key=lambda one: float(F.cross_entropy(one * outputs, targets))), rel=0.01)


@pytest.mark.parametrize("name", ["convnet", "resnet", "vgg"])
def test_norms_are_measured_and_a_cascade_helps_deep_networks(name):
    torch.manual_seed(0)
    options = {"name": name, "width": 4} | ({"depth": 8} if name == "resnet" else {})
    scores = {}
    for cascade in (0.0, 0.5):
        network = models.build_network(options, in_shape=(1, 8, 8), out_features=4)
        ClosedForm(cascade=cascade).fit(network, images(), "classes")
        norms = [one for one in network.modules() if isinstance(one, nn.BatchNorm2d)]
        assert norms[0].running_var.ne(1).all()
        scores[cascade] = accuracy(network, images())
    assert scores[0.5] >= max(0.8, scores[0.0] - 0.05)


def test_values_pixels_and_characters():
    torch.manual_seed(0)
    x = torch.linspace(-2, 2, 80).unsqueeze(1)
    network = nn.Sequential(nn.Linear(1, 60), nn.Tanh(), nn.Linear(60, 1))
    assert (
        ClosedForm().fit(network, list(zip(x.split(20), x.sin().split(20), strict=True)), "values")["init_scale"] == 1
    )
    assert float((network(x) - x.sin()).detach().square().mean()) < 1e-4

    dense = models.build_network(
        {"name": "convnet", "width": 24, "depth": 1}, in_shape=(1, 8, 8), out_features=1, dense=True
    )
    grids = [(grid, (grid[:, 0] > 0).float()) for grid in torch.randn(4, 16, 1, 8, 8)]
    assert ClosedForm().fit(dense, grids, "pixels")["init_left_out"] > 0.8

    shapes = {"in_shape": (8,), "out_features": 5, "vocabulary": 5}
    writer = models.build_network({"name": "transformer", "width": 16}, **shapes)
    text = [(words, (words + 1) % 5) for words in torch.randint(5, (4, 16, 8))]
    assert ClosedForm().fit(writer, text, "characters")["init_left_out"] > 0.5


def test_a_seed_gives_the_same_network():
    def weights(seed):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(2, 30), nn.ReLU(), nn.Linear(30, 3))
        ClosedForm(cascade=0.5, seed=seed).fit(network, rings(), "classes")
        return network.state_dict()

    first, same, other = weights(0), weights(0), weights(1)
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert not torch.equal(first["0.weight"], other["0.weight"])
    assert torch.equal(first["0.weight"][15:], other["0.weight"][15:])


class Odd(nn.Module):
    """Somebody's network whose last layer is not its output."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(2, 8), nn.Linear(8, 3)

    def forward(self, inputs):
        return self.last(self.first(inputs).relu()).softmax(-1)


def test_errors_are_one_line():
    for network, batches, match in (
        (Odd(), rings(), r"^a closed form fits the last layer, 'last', but what it gives is not the output of Odd"),
        (nn.ReLU(), rings(), r"needs a linear layer, but ReLU has none"),
        (nn.Linear(2, 2), rings(), r"class 2 has no output among 2"),
        (nn.Linear(2, 3, bias=False), rings(), r"needs a bias in the last layer"),
        (nn.Linear(2, 3), iter(rings()), r"batches must be a loader, not an iterator"),
        (nn.Linear(2, 3), [], r"batches must hold a batch of training rows"),
    ):
        with pytest.raises(ValueError, match=match) as error:
            ClosedForm().fit(network, batches, "classes")
        assert "\n" not in str(error.value)


def test_a_layer_that_a_technique_computes_is_refused_by_the_cascade_alone():
    network = nn.Sequential(nn.Linear(2, 20), nn.ReLU(), nn.Linear(20, 3))
    ContinuousSparsification(density=0.5).attach(network)
    assert ClosedForm().fit(network, rings(), "classes")["init_train"] > 0.6
    with pytest.raises(ValueError, match=r"cannot set the weight of '0', which a technique computes"):
        ClosedForm(cascade=0.5).fit(network, rings(), "classes")


def test_build():
    assert build({"name": "default", "ridge": "auto", "cascade": 0.5}) is None
    made = build({"name": "closed_form", "ridge": 0.1, "cascade": 0.25, "seed": 3})
    assert (made.ridge, made.cascade, made.seed) == (0.1, 0.25, 3)
    for config, match in (
        ({"name": "closed"}, r"^name must be one of \(default, closed_form\).*Did you mean 'closed_form'"),
        ({"name": "closed_form", "ridge": "some"}, r"^ridge must be auto or a number above 0, but got 'some'"),
        ({"name": "closed_form", "ridge": 0}, r"^ridge must be auto or a number above 0, but got 0"),
        ({"name": "closed_form", "cascade": 1.5}, r"^cascade must be from 0 to 1, but got 1.5"),
        ({"name": "closed_form", "rigde": 1}, r"rigde is no argument of closed_form. Did you mean 'ridge'"),
        ({}, r"^name is not set"),
    ):
        with pytest.raises(ValueError, match=match):
            build(config)
