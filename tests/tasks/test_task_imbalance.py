"""Rare classes are weighed or get rows, in training alone."""

import math
from collections.abc import Callable
from fractions import Fraction

import pytest
import torch

from kirigami import tasks
from kirigami.errors import ArgumentError
from kirigami.tasks import Parts, Split, Task, imbalance
from kirigami.tasks.bundled import Digits
from kirigami.tasks.imbalance import METHODS

ADDING = [name for name in METHODS if name != "weights"]
RARE, FEW = 3, 6


class RareDigits(Digits):
    """Digits of which one is rare, and one occurs once."""

    def load(self) -> Parts:
        parts = super().load()
        targets = parts.train.targets
        keep = torch.ones(len(targets), dtype=torch.bool)
        for label, count in ((RARE, FEW), (RARE + 1, 1)):
            keep[torch.nonzero(targets == label).flatten()[count:]] = False
        train = Split(parts.train.inputs[keep], targets[keep])
        return Parts(parts.kind, train, parts.validation, parts.classes)


@pytest.fixture(params=["digits", "table"])
def build(request: pytest.FixtureRequest, make: Callable[..., Task]) -> Callable[..., Task]:
    """Build a task with a method, ready to train: rare digits, or a table."""

    def built(method: str, *, seed: int = 0, fraction: float = 1.0, **options: object) -> Task:
        digits = request.param == "digits"
        task = RareDigits(seed=seed, fraction=fraction) if digits else make("table", seed=seed, fraction=fraction)
        task.imbalance = imbalance.build({"method": method, **options})
        task.setup("fit")
        return task

    return built


def rows(split: Split) -> list[bytes]:
    return [row.numpy().tobytes() for row in split.inputs]


@pytest.mark.parametrize("method", METHODS)
class TestEveryMethod:
    def test_only_train_rows_change(self, build: Callable[..., Task], method: str) -> None:
        plain, task = build("none"), build(method)
        plain.setup("test"), task.setup("test")

        for part in ("validation", "test"):
            assert torch.equal(getattr(plain, part).inputs, getattr(task, part).inputs)
            assert torch.equal(getattr(plain, part).targets, getattr(task, part).targets)
        count = len(plain.train.targets)
        assert torch.equal(task.train.inputs[:count], plain.train.inputs)
        assert torch.equal(task.train.targets[:count], plain.train.targets)
        assert (len(task.train.targets) > count) == (method in ADDING)
        assert (task.class_weights is None) == (method in ADDING)
        assert task.fingerprint() == plain.fingerprint()
        assert task.in_shape == plain.in_shape

    def test_seeds_reproduce(self, build: Callable[..., Task], method: str) -> None:
        first, second, other = build(method, seed=3), build(method, seed=3), build(method, seed=4)

        assert torch.equal(first.train.inputs, second.train.inputs)
        assert torch.equal(first.train.targets, second.train.targets)
        assert rows(first.train) != rows(other.train)

    def test_nothing_is_drawn_outside_its_own_generators(self, build: Callable[..., Task], method: str) -> None:
        first = build(method)
        torch.manual_seed(1)
        drawn = torch.get_rng_state()
        again = build(method)

        assert torch.equal(torch.get_rng_state(), drawn)
        assert torch.equal(again.train.inputs, first.train.inputs)

    def test_the_largest_class_stays(self, build: Callable[..., Task], method: str) -> None:
        plain, task = build("none"), build(method)
        before = torch.bincount(plain.train.targets)
        after = torch.bincount(task.train.targets, minlength=len(before))
        assert (after[before == before.max()] == before.max()).all()
        assert (after >= before).all()

    def test_acts_on_the_rows_that_a_fraction_keeps(self, build: Callable[..., Task], method: str) -> None:
        plain, task = build("none", fraction=0.5), build(method, fraction=0.5)
        count = len(plain.train.targets)
        assert torch.equal(task.train.inputs[:count], plain.train.inputs)
        if method in ("oversample", "smote"):
            counts = torch.bincount(task.train.targets)
            assert (counts == torch.bincount(plain.train.targets).max()).all()
        if method == "oversample":
            assert set(rows(task.train)) == set(rows(plain.train))

    def test_trains_and_iterates(self, build: Callable[..., Task], method: str) -> None:
        task = build(method)
        inputs, targets = next(iter(task.train_dataloader()))
        assert torch.isfinite(inputs).all()
        assert inputs.dtype == torch.float32
        assert targets.dtype == torch.int64

    @pytest.mark.parametrize("name", ["paths", "text"])
    def test_needs_classes(self, make: Callable[..., Task], method: str, name: str) -> None:
        task = make(name)
        task.imbalance = imbalance.build({"method": method})
        kind = {"paths": "pixels", "text": "characters"}[name]
        with pytest.raises(ValueError, match="needs a task of classes") as caught:
            task.setup("fit")
        assert str(caught.value) == (
            f"imbalance '{method}' needs a task of classes, but this one is of {kind}. Set imbalance=none."
        )

    def test_needs_no_second_class(self, method: str) -> None:
        inputs, targets = torch.rand(4, 3), torch.zeros(4, dtype=torch.long)
        assert torch.equal(METHODS[method]().resample(inputs, targets, 0)[0], inputs)


class TestWeights:
    def test_balanced_is_the_usual_formula(self) -> None:
        targets = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)
        found = METHODS["weights"]().class_weights(targets, 3)
        assert found.dtype == torch.float32
        assert found.tolist() == pytest.approx([100 / (3 * count) for count in (60, 30, 10)])

    @pytest.mark.parametrize("strength", [0, 0.5, 1])
    def test_mean_over_the_rows_is_one(self, strength: float) -> None:
        targets = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)
        found = METHODS["weights"](strength=strength).class_weights(targets, 4)
        assert float(found[targets].mean()) == pytest.approx(1)
        assert float(found[2] / found[0]) == pytest.approx(6**strength)
        assert torch.isfinite(found).all()

    def test_the_rows_are_those_kept(self, make: Callable[..., Task]) -> None:
        task = make("table", fraction=0.3)
        task.imbalance = imbalance.build({"method": "weights"})
        task.setup("fit")
        counts = torch.bincount(task.train.targets)
        assert task.class_weights.tolist() == pytest.approx((counts.sum() / (2 * counts)).tolist())


def samples(rare: int, common: int, columns: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    targets = torch.tensor([1] * rare + [0] * common)
    return torch.randn(rare + common, columns, generator=generator), targets


class TestRings:
    @pytest.mark.parametrize(("rare", "common"), [(1, 9), (7, 42), (5, 7), (3, 4)])
    def test_fuzzy_is_the_published_rule(self, rare: int, common: int) -> None:
        inputs, targets = samples(rare, common)
        expected = []
        for row in inputs[:rare].tolist():
            share, ring = Fraction(rare, rare + common), 0
            while ring < 10:
                for _ in range(math.floor(1 / share / 2**ring)):
                    expected += [[value - 0.03 * ring for value in row], [value + 0.03 * ring for value in row]]
                ring += 1

        made, labels = METHODS["fuzzy"]().resample(inputs, targets, 0)

        assert (labels[rare + common :] == 1).all()
        torch.testing.assert_close(made[rare + common :], torch.tensor(expected))

    def test_radius_and_rings(self) -> None:
        inputs, targets = samples(1, 9)
        made, _ = METHODS["fuzzy"](radius=0.5, rings=2).resample(inputs, targets, 0)
        moves = (made[10:] - inputs[0])[:, 0]
        assert moves.tolist() == pytest.approx([0] * 20 + [-0.5, 0.5] * 5, abs=1e-6)

    def test_radial_points_lie_in_their_balls_and_fill_them(self) -> None:
        inputs, targets = samples(2, 1998, columns=2)
        made, _ = METHODS["radial"](reach=0.5, balls=3).resample(inputs, targets, 0)
        counts = [1000, 500, 250]
        lengths = (made[2000:].view(2, sum(counts), 2) - inputs[:2, None]).norm(dim=2)
        for ball, found in enumerate(lengths.split(counts, dim=1)):
            radius = 0.5 * (ball + 1)
            assert float(found.max()) <= radius + 1e-5
            # Even in the disc: half of the points within radius / sqrt 2; 4 standard errors.
            inner = float((found < radius / math.sqrt(2)).float().mean())
            assert abs(inner - 0.5) < 4 * 0.5 / math.sqrt(found.numel())


class TestSmote:
    def test_points_lie_between_two_rows_of_the_class(self) -> None:
        inputs, targets = samples(3, 20)
        made, labels = METHODS["smote"](neighbours=2).resample(inputs, targets, 0)
        assert len(made) == 40
        assert (labels[23:] == 1).all()
        for point in made[23:]:
            gaps = []
            for first in inputs[:3]:
                for second in inputs[:3]:
                    through = (point - first).norm() + (point - second).norm() - (first - second).norm()
                    gaps.append(abs(float(through)))
            assert min(gaps) < 1e-5

    def test_few_rows_have_fewer_neighbours_and_one_is_repeated(self) -> None:
        for rare in (1, 2):
            inputs, targets = samples(rare, 10)
            made, _ = METHODS["smote"]().resample(inputs, targets, 0)
            assert len(made) == 20
            assert rare == 2 or (made[11:] == inputs[0]).all()

    @pytest.mark.parametrize("method", ["oversample", "smote"])
    def test_ratio(self, method: str) -> None:
        inputs, targets = samples(3, 20)
        _, labels = METHODS[method](ratio=0.5).resample(inputs, targets, 0)
        assert torch.bincount(labels).tolist() == [20, 10]
        assert torch.equal(METHODS[method](ratio=0.1).resample(inputs, targets, 0)[0], inputs)


@pytest.mark.parametrize("method", ADDING)
def test_pixels_stay_whole_numbers(method: str) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(256, (12, 3, 4, 4), generator=generator, dtype=torch.uint8)
    inputs[:2] = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1)
    targets = torch.tensor([1] * 3 + [0] * 9)
    made, _ = METHODS[method]().resample(inputs, targets, 0)
    assert made.dtype == torch.uint8
    assert made.shape[1:] == inputs.shape[1:]
    assert torch.equal(made[:12], inputs)
    if method == "fuzzy":  # the outer ring of a class of a quarter: 3 * 0.03 * 255 levels do not exist, 2 do
        assert sorted(set(made[12:][made[12:].flatten(1).sum(1) < 4000].flatten().tolist())) == [0, 8, 15]


WRONG = {
    "method": (
        {"method": "smot"},
        "method must be one of (none, weights, oversample, smote, fuzzy, radial), but got 'smot'. "
        "Did you mean 'smote'?",
    ),
    "key": ({"method": "smote", "ratios": 1}, "ratios is no argument of any method. Did you mean 'ratio'?"),
    "key of none": (
        {"method": "none", "x": 1},
        "x is no argument of any method. They have (strength, ratio, neighbours, radius, rings, reach, balls).",
    ),
    "strength": (
        {"method": "weights", "strength": 1.5},
        "strength must be at least 0 and at most 1, but got 1.5. Set strength=1.",
    ),
    "ratio": (
        {"method": "oversample", "ratio": 0},
        "ratio must be above 0 and at most 1, but got 0. Set ratio=1.",
    ),
    "neighbours": (
        {"method": "smote", "neighbours": 0},
        "neighbours must be a whole number of at least 1, but got 0. Set neighbours=5.",
    ),
    "radius": (
        {"method": "fuzzy", "radius": float("nan")},
        "radius must be a number above 0, but got nan. Set radius=0.03.",
    ),
    "balls": (
        {"method": "radial", "balls": True},
        "balls must be a whole number of at least 1, but got True. Set balls=9.",
    ),
}


@pytest.mark.parametrize(("config", "line"), WRONG.values(), ids=WRONG)
def test_errors(config: dict, line: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        imbalance.build(config)
    assert str(caught.value) == line


def test_keys_of_other_methods_are_left_out() -> None:
    built = imbalance.build({"method": "weights", "strength": 0.5, "ratio": 0.1, "radius": 3})
    assert built.strength == 0.5
    assert imbalance.build({"method": "none", "ratio": 1.0}) is None
    assert imbalance.build({}) is None


def test_a_method_of_ones_own() -> None:
    class Drop(imbalance.Imbalance):
        method = "drop"

        def resample(self, inputs: torch.Tensor, targets: torch.Tensor, seed: int) -> tuple:
            return inputs[targets > 0], targets[targets > 0]

    task = tasks.build({"name": "breast_cancer"}, seed=0)
    task.imbalance = Drop()
    task.setup("fit")
    assert (task.train.targets == 1).all()
