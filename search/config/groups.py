"""The groups of a config that build techniques."""

TECHNIQUES = ("growth", "sharing", "sparsity", "bits")
"""In the order of attaching: grow, share, mask, quantise. `kirigami.models.GROUP.build` builds a group's technique."""
