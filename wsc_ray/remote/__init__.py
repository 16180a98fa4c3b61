"""Where a call runs: here, at an address, or on the cluster of a file; and coming back to it."""
