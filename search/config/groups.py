"""The top-level keys of a config, by what they decide."""

TECHNIQUES = ("growth", "sharing", "sparsity", "bits")
"""In the order of attaching: grow, share, mask, quantise. `kirigami.models.GROUP.build` builds a group's technique."""
MADE_BY = ("imbalance", "network", "init", *TECHNIQUES, "optimizer", "schedule", "regime", "trainer")
"""Groups of files that decide, beside the task, what a trial is."""
CONDUCT = ("sampler", "pruner", "cost", "checkpoint", "storage", "launcher")
"""Groups of files that decide how a study goes about its trials, and leave the trials what they are."""
GROUPS = ("task", *MADE_BY, "budget", *CONDUCT)

QUESTION = ("seed", "space", "budget", "objective")
"""What a study asks, rather than what one of its trials is."""
FREE = ("name", "export", "workers", "cores_per_worker", "rivals", *CONDUCT)
"""What may change between two runs of one study without making its trials incomparable."""
KEYS = (
    *(
        "name",
        "seed",
        "workers",
        "cores_per_worker",
        "export",
        "objective",
        "output",
        "metrics",
        "weight_entropy",
        "rivals",
        "space",
    ),
    *GROUPS,
)
