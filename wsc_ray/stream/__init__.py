"""Manifest or features -> batches: which patches a step holds, their views, and the Ray Data glue."""
