"""Surround every row of a rare class with copies, fewer and fewer from ring to ring."""

from typing import ClassVar

import numpy as np

from kirigami.tasks.imbalance.base import Oversampler, check_count, check_positive


class Fuzzy(Oversampler):
    """Weighted fuzzy oversampling: copies of each row, all columns moved by +r and by -r alike.

    Ring i = 0, 1, ... below `rings` has r = `radius` * i and floor((1 / f) / 2^i) copies on either side, f being the
    share of the class (Yedida & Menzies, "On the Value of Oversampling for Deep Learning in Software Defect
    Prediction", IEEE TSE 48, 2022; counted from 0, as in the authors' package RAISE, so that the innermost ring repeats
    the row itself). Nothing is drawn by lot. Of two classes, the rare one ends up with about 3 to 4 times the rows of
    the whole set before and becomes the common one: recall and false alarms both rise.

    Of more than two classes, f is the share of the class among its own rows and those of the largest.
    """

    method: ClassVar[str] = "fuzzy"

    def __init__(self, *, radius: float = 0.03, rings: int = 10) -> None:
        check_positive("radius", radius, 0.03)
        check_count("rings", rings, 10)
        self.radius = radius
        self.rings = rings

    def more(self, rows: np.ndarray, largest: int, generator: np.random.Generator) -> np.ndarray:
        """Return the copies, row by row and from the innermost ring outwards."""
        counts = copies(len(rows), largest, self.rings)
        steps = np.repeat(self.radius * np.arange(self.rings), counts)
        moves = np.stack((-steps, steps), axis=1).reshape(1, -1, 1).astype(rows.dtype)
        copied_rows: np.ndarray = (rows[:, None, :] + moves).reshape(-1, rows.shape[1])
        return copied_rows


class Radial(Oversampler):
    """Points drawn evenly from balls around each row, instead of two points a ring as in `fuzzy`.

    Ball i = 0, 1, ... below `balls` has the radius R = `reach` * (i + 1) and floor((1 / f) / 2^i) points. It is the
    radial variant in the authors' package RAISE, which we found in no paper; there every ball comes out with the radius
    1, as its own is overwritten, and here it keeps its own. Points are R u^(1 / F) in a direction of Muller, "A Note on
    a Method for Generating Points Uniformly on N-dimensional Spheres", 1959, u uniform. R is a length in all F columns
    together: where they are many, each of them hardly moves.
    """

    method: ClassVar[str] = "radial"

    def __init__(self, *, reach: float = 0.1, balls: int = 9) -> None:
        check_positive("reach", reach, 0.1)
        check_count("balls", balls, 9)
        self.reach = reach
        self.balls = balls

    def more(self, rows: np.ndarray, largest: int, generator: np.random.Generator) -> np.ndarray:
        """Return the points, row by row and from the smallest ball on."""
        counts = copies(len(rows), largest, self.balls)
        radii = np.repeat(self.reach * np.arange(1, self.balls + 1), counts)
        count, columns = rows.shape
        directions = generator.standard_normal((count, len(radii), columns), dtype=np.float32)
        lengths = (radii * generator.random((count, len(radii))) ** (1 / columns)).astype(np.float32)
        moves = directions / np.linalg.norm(directions, axis=2, keepdims=True) * lengths[:, :, None]
        points: np.ndarray = (rows[:, None, :] + moves).astype(rows.dtype).reshape(-1, columns)
        return points


def copies(rows: int, largest: int, rings: int) -> list[int]:
    """Return floor((1 / f) / 2^i) for each ring, f = rows / (rows + largest), without rounding on the way."""
    return [(rows + largest) // (rows << ring) for ring in range(rings)]
