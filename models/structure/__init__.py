"""Structure: which channels and neurons of a network belong together, and taking them away or adding some."""

from kirigami.models.structure.calls import Calls, Inputs, Watch
from kirigami.models.structure.find import units
from kirigami.models.structure.price import OF, Price, lowest, price
from kirigami.models.structure.reshaping import Reshaping
from kirigami.models.structure.shapes import resize, shapes, to_shapes
from kirigami.models.structure.surgery import remove, widen
from kirigami.models.structure.tensors import check_links
from kirigami.models.structure.units import Axis, Role, Units

__all__ = [
    "OF",
    "Axis",
    "Calls",
    "Inputs",
    "Price",
    "Reshaping",
    "Role",
    "Units",
    "Watch",
    "check_links",
    "lowest",
    "price",
    "remove",
    "resize",
    "shapes",
    "to_shapes",
    "units",
    "widen",
]
