"""Manifest -> batches: which patches a step holds, their pixels, and the Ray Data glue."""
