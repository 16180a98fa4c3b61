"""The files of a feature store, a slide each: which there are, and their rows read as training wants them."""
