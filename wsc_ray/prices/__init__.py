"""The prices of a cluster file's machines, from a dated list."""
