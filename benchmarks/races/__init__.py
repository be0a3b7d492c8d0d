"""Ours beside what others offer for the same work, in one run on one machine; one file each."""
