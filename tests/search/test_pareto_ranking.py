"""How the trials of a Pareto study are ranked."""

import numpy as np

from kirigami.search.proposal.fronts import order, spread_out
from kirigami.spaces.front import undominated


class TestRanking:
    def test_the_front_is_what_nothing_dominates(self):
        generator = np.random.default_rng(0)
        for columns in (1, 2, 3, 4):
            values = generator.integers(0, 6, size=(80, columns)).astype(float)
            dominated = [any((a <= b).all() and (a < b).any() for a in values) for b in values]
            assert undominated(values).tolist() == [not one for one in dominated]

    def test_no_row_stands_before_one_that_dominates_it(self):
        values = np.random.default_rng(1).random((60, 2)).round(1)
        place = {row: index for index, row in enumerate(order(values, [0.0] * 60))}
        assert sorted(place) == list(range(60))
        for a in range(60):
            for b in range(60):
                if (values[a] <= values[b]).all() and (values[a] < values[b]).any():
                    assert place[a] < place[b]

    def test_a_net_takes_the_best_first_then_the_farthest(self):
        line = np.array([[0.5, 0.5], [0.1, 0.9], [0.0, 1.0], [1.0, 0.0], [0.2, 0.8]])
        assert spread_out(line) == [2, 3, 0, 4, 1]

    def test_of_equal_rows_the_earlier_one(self):
        assert order(np.array([[1.0, 2.0], [1.0, 2.0], [0.0, 3.0], [1.0, 2.0]]), [0.0] * 4) == [2, 0, 1, 3]

    def test_the_unit_of_an_objective_decides_nothing(self):
        values = np.random.default_rng(2).random((40, 2))
        stretched = np.stack([values[:, 0], 10 ** (6 * values[:, 1])], axis=1)
        assert order(values, [0.0] * 40) == order(stretched, [0.0] * 40)

    def test_what_is_over_a_limit_stands_last_by_how_far(self):
        values = np.array([[0.0, 0.0], [9.0, 9.0], [0.0, 0.0], [8.0, 9.5]])
        assert order(values, [0.5, 0.0, 0.1, 0.0]) == [3, 1, 2, 0]
