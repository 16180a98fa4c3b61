"""`python -m benchmarks.data`: patches a second a core beside the reference's loader and beside decoding alone."""
