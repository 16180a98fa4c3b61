"""Chaos: commands whose processes are killed at random, typed again until they are done, against the same commands left alone."""
