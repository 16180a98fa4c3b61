"""Multiple-instance learning on slide labels: bags of features, heads, fitting them, and the search for the best one."""
