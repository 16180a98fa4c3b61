"""Pretraining: one step, the loop, checkpoints, and the Ray Train glue."""
