"""Structure: which channels and neurons of a network belong together, and taking them away or adding some."""

from models.structure.find import units
from models.structure.shapes import resize, shapes, to_shapes
from models.structure.surgery import remove, widen
from models.structure.units import Axis, Units

__all__ = ["Axis", "Units", "remove", "resize", "shapes", "to_shapes", "units", "widen"]
