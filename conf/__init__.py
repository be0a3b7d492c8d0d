"""The knobs, as data: YAML only."""

KIRIGAMI = True
