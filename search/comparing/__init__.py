"""Runs repeated under shared seeds, and what they tell: the verbs compare and confirm."""
