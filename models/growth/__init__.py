"""Growth: wider and deeper networks that begin as the same function, and a loop that grows or shrinks to a budget."""

from kirigami.models.growth.budget import CURRENCIES, Budget
from kirigami.models.growth.build import METHODS, build
from kirigami.models.growth.deeper import activations, deepen, insert
from kirigami.models.growth.initial import INITS, firefly, gradmax, net2wider, random, split
from kirigami.models.growth.loop import GrowAndShrink
from kirigami.models.growth.place import Ground

__all__ = [
    "CURRENCIES",
    "INITS",
    "METHODS",
    "Budget",
    "Ground",
    "GrowAndShrink",
    "activations",
    "build",
    "deepen",
    "firefly",
    "gradmax",
    "insert",
    "net2wider",
    "random",
    "split",
]
