"""Seams to scikit-learn, torch, Dask and accelerators: each is touched in one place."""
