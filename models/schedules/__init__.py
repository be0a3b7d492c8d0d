"""Learning-rate schedules by name, rates from the network's own curvature, and the range test."""

from kirigami.models.schedules.build import SCHEDULES, build_schedule, schedule_callbacks, stepping
from kirigami.models.schedules.curves import Curve, constant, cosine, onecycle, step
from kirigami.models.schedules.lipschitz import RULES, LipschitzLR
from kirigami.models.schedules.ranges import RangeTest, range_test

__all__ = [
    "RULES",
    "SCHEDULES",
    "Curve",
    "LipschitzLR",
    "RangeTest",
    "build_schedule",
    "constant",
    "cosine",
    "onecycle",
    "range_test",
    "schedule_callbacks",
    "step",
    "stepping",
]
