"""How often intervals of `evaluate --compare` cover a difference that is known."""
