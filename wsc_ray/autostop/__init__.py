"""The watch on a cluster's head: it takes the cluster down when no job has run for a while, or when its time is over."""
