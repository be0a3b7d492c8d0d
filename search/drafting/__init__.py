"""A study for a user's own data: what the data are, and knobs that suit them."""
