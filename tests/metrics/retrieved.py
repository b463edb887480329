"""Samples of classes, and the criteria of their retrieval computed in three ways."""

import numpy as np
import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN

from skrelmetric.metrics import mean_average_precision_at_r, r_precision, recall_at_k

KS = [1, 2, 5, 20]


def scores(*args, **kwargs):
    return [
        *recall_at_k(*args, k=KS, **kwargs),
        r_precision(*args, **kwargs),
        mean_average_precision_at_r(*args, **kwargs),
    ]


def reference(X, y, X_reference=None, y_reference=None):
    """The definitions, query by query; among equal distances other classes come first."""
    found, known = (X, y) if X_reference is None else (X_reference, y_reference)
    rows = []
    for i, (x, c) in enumerate(zip(X, y, strict=True)):
        others = [j for j in range(len(found)) if X_reference is not None or j != i]
        ranking = sorted((((x - found[j]) ** 2).sum(), known[j] == c) for j in others)
        hits = [hit for _, hit in ranking]
        R = sum(hits)
        if R:
            precisions = [sum(hits[: i + 1]) / (i + 1) * hits[i] for i in range(R)]
            rows.append([*(any(hits[:k]) for k in KS), sum(hits[:R]) / R, sum(precisions) / R])
    return np.mean(rows, 0)


def calculated(X, y, X_reference=None, y_reference=None):
    """What pytorch-metric-learning makes of it."""
    calculator = AccuracyCalculator(
        include=("precision_at_1", "r_precision", "mean_average_precision_at_r"),
        k="max_bin_count",
        knn_func=CustomKNN(LpDistance(normalize_embeddings=False)),
        device=torch.device("cpu"),
    )
    found, known = (X, y) if X_reference is None else (X_reference, y_reference)
    tensors = [torch.as_tensor(array) for array in (X, y, found, known)]
    values = calculator.get_accuracy(*tensors, ref_includes_query=X_reference is None)
    return [values[name] for name in ("precision_at_1", "r_precision", "mean_average_precision_at_r")]


def make_samples(rng, n=120, sizes=(0.6, 0.25, 0.1, 0.05), spread=1.0):
    """Overlapping classes of very different size, and a last one with a single member."""
    y = np.r_[rng.choice(len(sizes), n - 1, p=sizes), len(sizes)]
    return rng.standard_normal((n, 5)) + spread * rng.standard_normal((len(sizes) + 1, 5))[y], y
