"""Several devices for one trial: Lightning's DDP over processes that a worker starts beside itself.

The worker is rank 0, and alone talks to the store and the pruner. The other ranks (`rank.py`) build the same trial from
the same config and take their shares of every batch; what they measure goes nowhere.
"""
