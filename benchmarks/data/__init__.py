"""`python -m benchmarks.data`: patches per second and core, compared with the reference's loader and with decoding alone."""
