"""The files of a feature store, one for each slide, and their rows as a source for training."""
