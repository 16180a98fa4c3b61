"""Embedding patches beside the bare model's forward pass, and the memory of the process that gives out the work."""
