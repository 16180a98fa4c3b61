"""Predictions for new slides: slides, a manifest or features pass through a run's encoder and head; no labels are needed."""
