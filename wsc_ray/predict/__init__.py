"""Answers for new slides: from slides, a manifest or features through a run's encoder and heads; labels are not needed."""
