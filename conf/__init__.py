"""The knobs, as data: YAML only."""
