"""What is tried next, and which trials go on: samplers, pruners, halving."""
