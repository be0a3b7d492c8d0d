"""Rows are parted class by class, and fractions are nested."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from kirigami.tasks.fraction import subset
from kirigami.tasks.splits import carve, check_amount, rows_of, strata_of


@pytest.mark.parametrize("sizes", [(50, 50), (1000, 2, 2, 2), (97, 3), (1, 40), (5, 5, 5)])
@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_carve_parts_all_rows_in_proportion(sizes: tuple[int, ...], share: float) -> None:
    strata = np.repeat(np.arange(len(sizes)), sizes)
    rows = max(len(sizes), round(share * len(strata)))
    kept, taken = carve(strata, rows, seed=0, stream=1)
    assert sorted([*kept, *taken]) == list(range(len(strata)))
    assert len(taken) == rows
    for label, size in enumerate(sizes):
        count = int((strata[taken] == label).sum())
        assert count < size or size == 1
        assert count >= (size > 1)
        if len(set(sizes)) == 1:
            assert count == pytest.approx(rows / len(sizes), abs=1)


def test_carve_draws_by_seed_and_stream() -> None:
    strata = np.zeros(100, dtype=int)
    drawn = [tuple(carve(strata, 20, seed=seed, stream=stream)[1]) for seed, stream in ((0, 1), (0, 2), (1, 1), (0, 1))]
    assert drawn[0] == drawn[3]
    assert len(set(drawn)) == 3


def test_carve_can_take_all_or_all_but_one() -> None:
    strata = np.repeat([0, 1, 2], 4)
    for rows in (11, 12):
        kept, taken = carve(strata, rows, seed=0, stream=1)
        assert (len(kept), len(taken)) == (12 - rows, rows)


def test_subset_is_nested_for_every_pair() -> None:
    strata = np.random.default_rng(0).integers(0, 4, 333)
    kept = [set(subset(strata, fraction, seed=7)) for fraction in np.linspace(0.01, 1, 40)]
    assert all(small <= large for small, large in pairwise(kept))
    assert kept[-1] == set(range(333))
    assert subset(strata, 0.3, seed=7).tolist() != subset(strata, 0.3, seed=8).tolist()


def test_strata_of_values_are_deciles() -> None:
    strata = strata_of(torch.arange(100.0).unsqueeze(1), "values")
    assert np.bincount(strata).tolist() == [10] * 10
    assert set(strata_of(torch.ones(5, 1), "values")) <= {0, 1}


@pytest.mark.parametrize("amount", [0, -1, 1.5, "x", True, None, float("nan")])
def test_wrong_amount(amount: object) -> None:
    with pytest.raises(ValueError, match=r"^validation must be a share below 1 or a number of rows, but got"):
        check_amount("validation", amount)


def test_rows_of() -> None:
    assert (rows_of("x", 0.25, 100), rows_of("x", 30, 100), rows_of("x", 0.001, 100)) == (25, 30, 1)
    with pytest.raises(ValueError, match="asks for 100 of 100 rows"):
        rows_of("x", 100, 100)
