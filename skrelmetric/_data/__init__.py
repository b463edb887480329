"""Samples, targets and weights: read once, checked once, described once."""
