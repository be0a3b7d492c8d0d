"""What is remembered of a study: its trials, their order, what they have cost, what a dead worker has left."""
