"""Structure: which channels and neurons of a network belong together, and taking them away or adding some."""

from kirigami.models.structure.find import units
from kirigami.models.structure.shapes import resize, shapes, to_shapes
from kirigami.models.structure.surgery import remove, widen
from kirigami.models.structure.units import Axis, Units

__all__ = ["Axis", "Units", "remove", "resize", "shapes", "to_shapes", "units", "widen"]
