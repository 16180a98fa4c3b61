"""How often the intervals of `evaluate --compare` cover a known difference."""
