"""`python -m benchmarks.loss`: time and memory of our losses, compared with plain O(N^2) restatements and other libraries' losses."""
