"""Multiple-instance learning on slide labels: bags of features, attention heads, their fit and search."""
