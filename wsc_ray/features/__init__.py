"""Frozen encoder -> features: one file for each slide, in TRIDENT's format."""
