"""Repeats under shared seeds, and their statistics: the verbs compare and confirm."""
