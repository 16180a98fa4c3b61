"""Where a call runs (on this machine, at an address, or on the cluster of a file), and following its job later."""
