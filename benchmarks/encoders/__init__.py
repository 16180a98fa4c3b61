"""Features of several encoders, compared on the same slides by the package's own commands: `python -m benchmarks.encoders`."""
