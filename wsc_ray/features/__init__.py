"""Frozen encoder -> features: one file a slide, as TRIDENT writes it."""
