"""Measurements that need a GPU: tests, the training step, decoding, the losses, MIL heads and a curve of evidence."""
