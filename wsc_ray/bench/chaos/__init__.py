"""Chaos: commands whose processes are killed at random, repeated until they complete, compared with the same commands without kills."""
