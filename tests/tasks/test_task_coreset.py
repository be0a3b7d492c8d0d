"""Core sets are the published orders, class by class and nested, from train inputs and classes alone."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from kirigami import tasks
from kirigami.tasks import coreset
from kirigami.tasks.coreset import CORESETS, comparable, enemy_distances, order
from kirigami.tasks.fraction import first, subset
from kirigami.tasks.splits import strata_of

CHOSEN = [name for name in CORESETS if name != "random"]


def clouds(rows: int = 60, seed: int = 0) -> tuple[Tensor, np.ndarray]:
    draw = np.random.default_rng(seed)
    strata = draw.integers(0, 3, rows)
    return torch.from_numpy((draw.normal(size=(rows, 4)) + strata[:, None]).astype(np.float32)), strata


def brute_herding(rows: np.ndarray) -> list[int]:
    """Follow Rebuffi et al., algorithm 4, as it is written."""
    found: list[int] = []
    for size in range(1, len(rows) + 1):
        gaps = {
            row: np.linalg.norm(rows.mean(axis=0) - (rows[row] + rows[found].sum(axis=0)) / size)
            for row in range(len(rows))
            if row not in found
        }
        found.append(min(gaps, key=gaps.__getitem__))
    return found


def brute_centers(rows: np.ndarray) -> list[int]:
    """Follow Sener & Savarese, algorithm 1, from the first row on."""
    found = [0]
    while len(found) < len(rows):
        gaps = {
            row: min(np.linalg.norm(rows[row] - rows[other]) for other in found)
            for row in range(len(rows))
            if row not in found
        }
        found.append(max(gaps, key=gaps.__getitem__))
    return found


@pytest.mark.parametrize(
    ("found", "brute"), [(coreset.herding, brute_herding), (coreset.centers, brute_centers)], ids=["herding", "centers"]
)
def test_greedy_orders_are_the_published_ones(found, brute) -> None:
    rows = torch.randn(25, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 5.0, 0.1]) + 2
    assert found(rows).tolist() == brute(rows.double().numpy())


def test_border_begins_with_the_rows_nearest_to_an_enemy() -> None:
    inputs, strata = clouds()
    rows = comparable(inputs).double()
    gaps = torch.cdist(rows, rows)
    for label, group in enumerate(order(inputs, strata, "border", 0)):
        nearest = gaps[group][:, strata != label].amin(dim=1)
        assert (nearest.diff() >= -1e-6).all()
    enemies = rows[strata != 0].float()
    wanted = gaps[strata == 0][:, strata != 0].amin(dim=1).square()
    found = enemy_distances(rows[strata == 0].float(), enemies).double()
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CORESETS)
def test_every_order_is_of_all_rows_class_by_class_and_nested(name: str) -> None:
    inputs, strata = clouds()
    groups = order(inputs, strata, name, seed=5)
    for label, group in enumerate(groups):
        assert sorted(group) == np.flatnonzero(strata == label).tolist()
    kept = [set(first(groups, fraction)) for fraction in (0.01, 0.25, 0.5, 1.0)]
    assert all(small < large for small, large in pairwise(kept))
    assert [len(one) for one in kept[:1]] == [3]
    again = order(inputs, strata, name, seed=5)
    assert all(np.array_equal(one, other) for one, other in zip(groups, again, strict=True))


def test_random_is_the_fraction_of_old() -> None:
    inputs, strata = clouds()
    assert first(order(inputs, strata, "random", 3), 0.4).tolist() == subset(strata, 0.4, 3).tolist()


def test_units_of_columns_do_not_matter_and_pixels_share_one() -> None:
    inputs, strata = clouds()
    scaled = inputs * torch.tensor([1.0, 1000.0, 0.001, 3.0]) + 7
    for name in ("herding", "centers"):
        kept = [set(first(order(one, strata, name, 0), 0.3)) for one in (inputs, scaled)]
        assert kept[0] == kept[1]
    still = torch.ones(10, 1)
    assert torch.isfinite(comparable(still)).all()
    pixels = (torch.arange(2 * 3 * 4 * 4) % 7).view(6, 1, 4, 4).to(torch.uint8)
    ratio = comparable(pixels).std(dim=0) / pixels.flatten(1).float().std(dim=0).clamp(min=1e-12)
    assert ratio[ratio > 0].max() == pytest.approx(float(ratio[ratio > 0].min()))


def test_a_class_of_many_rows_is_ordered_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, strata = clouds(200)
    monkeypatch.setattr(coreset, "AT_ONCE", 16)
    monkeypatch.setattr(coreset, "ENEMIES", 30)
    for name in CHOSEN:
        for label, group in enumerate(order(inputs, strata, name, 0)):
            assert sorted(group) == np.flatnonzero(strata == label).tolist()


@pytest.mark.parametrize("name", CHOSEN)
def test_a_task_keeps_them_and_leaves_validation_alone(name: str) -> None:
    chosen, plain = (
        tasks.build({"name": "digits", "fraction": 0.2, "coreset": one}, seed=1) for one in (name, "random")
    )
    chosen.setup("fit"), plain.setup("fit")
    assert torch.equal(chosen.validation.inputs, plain.validation.inputs)
    assert torch.equal(chosen.train.targets.bincount(), plain.train.targets.bincount())
    assert chosen.fingerprint() == plain.fingerprint()
    parts = chosen.load()
    rows = first(order(parts.train.inputs, strata_of(parts.train.targets, "classes"), name, 1), 0.2)
    assert torch.equal(chosen.train.inputs * 16, parts.train.inputs[rows])
    assert parts.order(name, 1) is parts.order(name, 1)  # shared by all fractions and trials


def test_wrong_names_and_targets_are_one_line(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"^coreset must be one of \(random, herding, centers, border\), but got"):
        tasks.build({"name": "digits", "coreset": "herdin"}, seed=0)
    (tmp_path / "a.csv").write_text("x,y\n" + "".join(f"{row},{row / 7}\n" for row in range(50)))
    table = {"name": "table", "train": str(tmp_path / "a.csv"), "target": "y", "kind": "values", "coreset": "border"}
    with pytest.raises(ValueError, match=r"^coreset=border needs classes, but the targets are values\. Set"):
        tasks.build(table, seed=0).setup("fit")
    with pytest.raises(ValueError, match=r"^coreset is no argument of paths"):
        tasks.build({"name": "paths", "coreset": "border"}, seed=0)
