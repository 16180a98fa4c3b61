"""Benchmarks that run from a checkout: each beside the page that holds its figures."""
