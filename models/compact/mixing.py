"""Mixes of templates, computed in a fixed order of roundings, so that every machine computes the same bits.

A matrix library may round in any order. The writer chooses the order below that comes nearest to the stored weight,
and stores the remaining difference in units of the last place.
"""

import numpy
from numpy.typing import NDArray

from kirigami.models.compact.kinds import COMPUTED, Kind, Patterns, patterns

# apart: every product and every sum is rounded. joined: products are added unrounded, as fused instructions do. once:
# all is summed with 53 bits, and rounded at the end.
ORDERS = ("apart", "joined", "once")


def mix(
    row: Patterns, templates: Patterns, mask: NDArray[numpy.bool_], factor: Patterns, kind: Kind, order: int
) -> Patterns:
    """Return the mix of templates (k, *shape) by coefficients (k,), times the factor (1,) in the mask, else zero."""
    number = COMPUTED[kind.name]
    wide = numpy.float64 if ORDERS[order] != "apart" else number
    total = numpy.zeros(templates.shape[1:], wide)
    with numpy.errstate(all="ignore"):
        for coefficient, template in zip(row.view(number), templates.view(number), strict=True):
            total = total + wide(coefficient) * template.astype(wide)
            if ORDERS[order] == "joined":
                total = total.astype(number).astype(wide)
        mixed = patterns(total.astype(number) * factor.reshape(-1).view(number)[0])
    return numpy.where(mask, mixed, numpy.zeros_like(mixed)).reshape(templates.shape[1:])
