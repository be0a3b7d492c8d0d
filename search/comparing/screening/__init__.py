"""The `screen` verb: draws of a study's space, trained for an epoch and ranked; the best wait for the search."""
