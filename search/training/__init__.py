"""From a config to a trained network: the contract of a job, and what carries it out."""
