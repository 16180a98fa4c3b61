"""The preflight: checks of every node of a cluster before a command starts."""
