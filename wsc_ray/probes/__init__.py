"""Probes, which measure features without a head: nearest neighbours, a linear classifier, and the influence of the site."""
