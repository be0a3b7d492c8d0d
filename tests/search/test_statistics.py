"""Verdicts on paired repeats, against scipy and against values computed by hand."""

from math import isnan

import numpy as np
import pytest
from scipy import stats

from kirigami.search.comparing import statistics
from kirigami.search.comparing.statistics import (
    cliffs_delta,
    compare,
    decide,
    differences,
    holm,
    median_interval,
    wilcoxon_p,
)


def noise(seed: int, scale: float = 0.01, repeats: int = 20) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, repeats)


def test_wilcoxon_of_six_rises_is_two_in_sixty_four():
    assert wilcoxon_p([1, 2, 3, 4, 5, 6]) == pytest.approx(2 / 64)


def test_wilcoxon_is_scipys_without_ties():
    gaps = noise(0)
    assert wilcoxon_p(gaps) == pytest.approx(stats.wilcoxon(gaps, method="exact").pvalue)


def test_wilcoxon_of_nothing_but_zeros_is_one():
    assert wilcoxon_p([0.0] * 8) == 1.0
    assert wilcoxon_p([]) == 1.0


def test_wilcoxon_shares_the_ranks_of_zeros_by_hand():
    """Ranks: two zeros 1.5 each, then 3 to 8; half of the zeros' ranks goes to each sign, so W- = 1.5, W+ = 34.5."""
    assert stats.wilcoxon([0, 0, 1, 2, 3, 4, 5, 6], zero_method="zsplit").statistic == 1.5
    with_zeros, without = wilcoxon_p([0, 0, 1, 2, 3, 4, 5, 6]), wilcoxon_p([1, 2, 3, 4, 5, 6])
    assert with_zeros == pytest.approx(2 / 64)
    assert wilcoxon_p([0] * 12 + [1] * 6) > without  # many zeros speak against a difference


def test_wilcoxon_gives_ties_their_mean_rank_by_hand():
    """|d| = 1 1 1 2 2 1: ranks 2.5 and 5.5, so W- = 2.5; 10 of 64 sign patterns have a rank sum of 2.5 or less, or
    18.5 or more: none, one of the four small ones, and their mirror images."""
    assert wilcoxon_p([1, 1, 1, 2, 2, -1]) == pytest.approx(10 / 64)


def test_equal_differences_are_ties_whatever_their_last_bit():
    gaps = differences([0.9, 0.8, 0.7], [0.8, 0.7, 0.6])
    assert len(set(gaps)) == 1
    assert 0.9 - 0.8 != 0.8 - 0.7


def test_differences_leave_out_what_has_no_value():
    assert list(differences([1.0, np.nan, 3.0, 4.0], [0.5, 1.0, np.inf, 1.0])) == [0.5, 3.0]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),  # 3·.01, then 2·.03; 1·.04 may not fall below it
        ([0.04], [0.04]),
        ([0.5, 0.6], [1.0, 1.0]),
        ([], []),
    ],
)
def test_holm_by_hand(given, expected):
    assert holm(given) == pytest.approx(expected)


def test_cliffs_delta_by_hand():
    assert cliffs_delta([1, 2, 3], [2, 2, 4]) == pytest.approx((2 - 5) / 9)
    assert cliffs_delta([5, 6], [1, 2]) == 1.0
    assert cliffs_delta([1, 2], [1, 2]) == 0.0
    assert isnan(cliffs_delta([], []))


def test_cliffs_delta_is_that_of_the_rank_sum():
    first, second = noise(1), noise(2) + 0.005
    u = stats.mannwhitneyu(first, second).statistic
    assert cliffs_delta(first, second) == pytest.approx(2 * u / 400 - 1)


def test_interval_is_scipys_percentile_bootstrap():
    gaps = noise(3, repeats=31)
    theirs = stats.bootstrap(
        (gaps,), np.median, n_resamples=20_000, confidence_level=0.9, method="percentile", rng=1
    ).confidence_interval
    assert median_interval(gaps) == pytest.approx((theirs.low, theirs.high), abs=0.0008)


def test_interval_holds_the_median_nine_times_in_ten():
    """The median of what is drawn is 0; an interval of 90 % may miss it in 13 % of cases, not in 20 %."""
    drawn = [median_interval(noise(seed), resamples=1000) for seed in range(400)]
    assert 0.82 < np.mean([low <= 0 <= high for low, high in drawn]) < 0.97


def test_interval_of_one_value_and_of_none():
    assert median_interval([0.25]) == (0.25, 0.25)
    assert all(isnan(end) for end in median_interval([]))


@pytest.mark.parametrize(
    ("low", "high", "p", "verdict"),
    [
        (-0.010, 0.000, 0.20, "equivalent"),
        (-0.010, -0.002, 0.001, "equivalent"),  # a difference there is, but one that does not matter
        (-0.020, 0.010, 0.30, "undecided"),  # an end on the margin is not inside it
        (-0.041, -0.022, 0.001, "worse"),
        (-0.041, -0.001, 0.001, "worse"),
        (0.022, 0.041, 0.001, "better"),
        (-0.041, -0.022, 0.06, "undecided"),  # the test does not find it
        (-0.041, 0.005, 0.01, "undecided"),  # the interval does not
        (-0.041, 0.000, 0.01, "undecided"),
        (-0.300, 0.300, 0.90, "undecided"),  # finding nothing is not equivalence
        (float("nan"), float("nan"), 1.0, "undecided"),
    ],
)
def test_verdict_and_its_mirror_image(low, high, p, verdict):
    assert decide(low, high, p) == verdict
    mirrored = {"worse": "better", "better": "worse"}.get(verdict, verdict)
    assert decide(low, high, p, direction="minimize") == mirrored
    assert decide(-high, -low, p) == mirrored


def test_four_pairs_decide_nothing():
    assert decide(0.0, 0.0, 1.0, pairs=5) == "equivalent"
    assert decide(0.0, 0.0, 1.0, pairs=4) == "undecided"


def test_a_margin_of_zero_has_no_equivalence():
    assert decide(0.0, 0.0, 1.0, margin=0.0) == "undecided"
    assert decide(0.001, 0.002, 0.01, margin=0.0) == "better"


def test_compare_tells_arms_apart():
    base = 0.9 + noise(4, 0.03)  # a wide spread that the arms share: pairing takes it out
    arms = {
        "same": base + noise(5, 0.002),
        "worse": base - 0.04 + noise(6, 0.002),
        "wild": base + noise(7, 0.2),
    }
    found = compare(base, arms, direction="maximize")
    assert {name: one.verdict for name, one in found.items()} == {
        "same": "equivalent",
        "worse": "worse",
        "wild": "undecided",
    }
    worse = found["worse"]
    assert worse.pairs == 20
    assert worse.difference == pytest.approx(-0.04, abs=0.002)
    assert worse.low < worse.difference < worse.high < 0
    assert worse.p_holm == pytest.approx(3 * worse.p)  # the smallest of three
    assert -1 <= worse.delta < -0.3
    assert compare(base, arms, direction="minimize")["worse"].verdict == "better"
    assert compare(base, arms, direction="maximize") == found  # the bootstrap is seeded


def test_holm_counts_the_arms():
    base = 0.9 + noise(8, 0.03)
    gap = np.array([-0.03, -0.05, -0.04, -0.06, -0.045, -0.035])
    alone = compare(base[:6], {"worse": base[:6] + gap}, direction="maximize")
    among = compare(base[:6], {"worse": base[:6] + gap, "wild": base[:6] + noise(9, 0.2, 6)}, direction="maximize")
    assert (alone["worse"].verdict, among["worse"].verdict) == ("worse", "undecided")


@pytest.mark.parametrize(
    ("failed", "verdict"), [("arm", "undecided"), ("reference", "undecided"), ("none", "equivalent")]
)
def test_what_failed_is_not_equivalent(failed, verdict):
    base = 0.9 + noise(10, 0.03)
    arm = base + noise(11, 0.002)
    {"arm": arm, "reference": base, "none": np.zeros(20)}[failed][3] = np.nan
    found = compare(base, {"arm": arm}, direction="maximize")["arm"]
    assert found.verdict == verdict
    assert found.pairs == (20 if failed == "none" else 19)
    assert found.failed == (failed == "arm")


def test_failures_do_not_hide_that_an_arm_is_worse():
    base = 0.9 + noise(12, 0.03)
    arm = base - 0.05 + noise(13, 0.002)
    arm[0] = np.nan
    assert compare(base, {"arm": arm}, direction="maximize")["arm"].verdict == "worse"


def test_an_arm_that_always_failed_has_no_figures():
    found = compare([0.9] * 6, {"arm": [np.nan] * 6}, direction="maximize")["arm"]
    assert (found.pairs, found.failed, found.p, found.verdict) == (0, 6, 1.0, "undecided")
    assert isnan(found.difference)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"direction": "up"}, "^direction must be one of"),
        ({"direction": "maximize", "margin": -1}, "^margin must not be negative"),
    ],
)
def test_wrong_settings_are_refused(settings, match):
    with pytest.raises(ValueError, match=match):
        compare([1.0] * 5, {"a": [1.0] * 5}, **settings)


def test_lengths_must_agree():
    with pytest.raises(ValueError, match=r"^arm 'a' has shape \(4,\)"):
        compare([1.0] * 5, {"a": [1.0] * 4}, direction="maximize")


def test_every_verdict_is_listed():
    assert set(statistics.VERDICTS) == {"equivalent", "better", "worse", "undecided"}
