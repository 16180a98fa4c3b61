"""Sending a call to a cluster that is up: requests, Ray Jobs, following a log."""
