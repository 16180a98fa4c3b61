"""`python -m benchmarks.loss`: our losses beside plain O(N^2) restatements and other libraries' losses, in time and memory."""
