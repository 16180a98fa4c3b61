"""Where it runs: a Ray session on this machine or a cluster's, and what it must have."""
