"""Ensemble, supervision and objective of DRML."""
