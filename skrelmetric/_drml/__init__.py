"""Ensemble, supervision, model and objective of DRML."""
