"""Mixes of templates, computed in a fixed order of roundings, so that every machine finds the same bits.

A matrix library may round a mix in any order. The writer takes the order here that comes nearest to it, and stores the
difference that is left, in units of the last place.
"""

import numpy
from numpy.typing import NDArray

from kirigami.models.compact.kinds import COMPUTED, Kind, Patterns, patterns

# apart: every product and every sum is rounded. joined: products are added unrounded, as fused instructions do. once:
# all is summed with 53 bits, and rounded at the end.
ORDERS = ("apart", "joined", "once")


def mix(
    row: Patterns, templates: Patterns, kept: NDArray[numpy.bool_], factor: Patterns, kind: Kind, order: int
) -> Patterns:
    """Return what coefficients (k,) make of templates (k, *shape), times the factor (1,) where kept, else zero."""
    number = COMPUTED[kind.name]
    wide = numpy.float64 if ORDERS[order] != "apart" else number
    total = numpy.zeros(templates.shape[1:], wide)
    with numpy.errstate(all="ignore"):
        for coefficient, template in zip(row.view(number), templates.view(number), strict=True):
            total = total + wide(coefficient) * template.astype(wide)
            if ORDERS[order] == "joined":
                total = total.astype(number).astype(wide)
        found = patterns(total.astype(number) * factor.reshape(-1).view(number)[0])
    return numpy.where(kept, found, numpy.zeros_like(found)).reshape(templates.shape[1:])
