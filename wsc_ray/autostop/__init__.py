"""A watch on a cluster's head that takes the cluster down when nobody uses it, or when its time is over."""
