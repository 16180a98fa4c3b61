"""Sending a call to a cluster that is up: the call's files, Ray Jobs, Slurm jobs, following a log."""
