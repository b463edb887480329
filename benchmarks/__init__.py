"""Comparison of metrics by the neighbours they give: ``python -m benchmarks``."""
