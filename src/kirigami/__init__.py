"""Hyperparameter and architecture search that ends with the smallest network that does the job."""
