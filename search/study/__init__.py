"""The stored study: its trials, their order, their cost, and the recovery from dead workers."""
