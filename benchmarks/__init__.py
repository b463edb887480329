"""Comparison of metrics by the neighbours they give, and measurements of their cost: ``python -m benchmarks``.

Folders from the ground up: `data` (data sets by name, files of one's own), `rivals` (learners of others), `compare`
(methods, folds, runs and their records), and side by side on top `show` (results, ranks, tables, the report) and
`speed` (hot paths, scale, precision); `estimators` compares one's own in Python. A *record* is the line of JSON of one
fold, a *result* the means over folds; `evidence` keeps the records that RESULTS.md is made of.
"""
