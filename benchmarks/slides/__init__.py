"""`python -m benchmarks.slides`: patches a second straight from slides and from manifests, beside wsistream, with how well batches are mixed."""
