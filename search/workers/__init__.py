"""The processes that run a study's trials, and the one that follows them."""
