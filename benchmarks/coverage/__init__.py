"""How often the intervals of `evaluate --compare` cover the true difference."""
