"""Comparison of methods on the same folds: methods, criteria, cells and their runs."""
