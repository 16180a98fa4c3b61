"""Measuring the chosen head on test slides, which were not used to choose it: metrics, intervals over patients, attention."""
