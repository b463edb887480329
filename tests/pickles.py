"""Pickles of each estimator, kept for all later versions: ``python tests/pickles.py`` writes those of this one.

Each minor version has a folder, which is written when it is released and never again: `<name>.pkl.gz` there holds an
estimator that it has fitted, queries, and what it answered. With a version as an argument that is the folder's name.
"""

import gzip
import pickle
import sys
from pathlib import Path

import numpy as np

import skrelmetric
from skrelmetric import (
    AAKNN,
    DRMLTransformer,
    HRAMLTransformer,
    MLkNN,
    MultilabelThresholdClassifier,
    MultilabelVotingClassifier,
    MultioutputVotingRegressor,
    RAMLLinear,
    RelationalNeighborsClassifier,
    RelationalNeighborsRegressor,
    SoftNeighborsClassifier,
    SoftNeighborsRegressor,
)

FOLDER = Path(__file__).parent / "fixtures" / "pickles"

SHORT = {"hidden_layer_sizes": (4,), "max_epochs": 2, "early_stopping": False, "random_state": 0}
ESTIMATORS = {  # name of the file, estimator, kind of targets
    "RAMLLinear": (RAMLLinear(), "labels"),
    "RAMLLinear-constrained": (RAMLLinear(2, psd="constrained", relation="cosine"), "distributions"),
    "HRAMLTransformer": (HRAMLTransformer(2), "labels"),
    "HRAMLTransformer-tanh": (HRAMLTransformer(2, encoder="tanh"), "labels"),
    "HRAMLTransformer-mlp": (HRAMLTransformer(2, encoder="mlp", **SHORT), "classes"),
    "HRAMLTransformer-linear": (HRAMLTransformer(2, encoder="mlp", head="linear", **SHORT), "labels"),
    "DRMLTransformer": (DRMLTransformer(4, n_branches=2, **SHORT), "classes"),
    "DRMLTransformer-triplet": (
        DRMLTransformer(4, n_branches=2, loss="triplet", output="embedding", **SHORT),
        "classes",
    ),
    "MLkNN": (MLkNN(3), "labels"),
    "MLkNN-several": (MLkNN(range(1, 4)), "labels"),
    "MLkNN-cosine": (MLkNN(3, metric="cosine"), "labels"),
    "AAKNN": (AAKNN(3), "distributions"),
    "SoftNeighborsClassifier": (SoftNeighborsClassifier(), "labels"),
    "SoftNeighborsClassifier-classes": (SoftNeighborsClassifier(5, scale="local"), "classes"),
    "SoftNeighborsRegressor": (SoftNeighborsRegressor(), "distributions"),
    "RelationalNeighborsClassifier": (RelationalNeighborsClassifier(cv=2, random_state=0), "labels"),
    "RelationalNeighborsRegressor": (RelationalNeighborsRegressor(cv=None, random_state=0), "distributions"),
    "RelationalNeighborsRegressor-number": (RelationalNeighborsRegressor(cv=None, random_state=0), "number"),
    "MultilabelThresholdClassifier": (MultilabelThresholdClassifier(MLkNN(3), cv=2), "labels"),
    "MultilabelVotingClassifier": (MultilabelVotingClassifier([("few", MLkNN(2)), ("many", MLkNN(4))]), "labels"),
    "MultioutputVotingRegressor": (
        MultioutputVotingRegressor([("few", AAKNN(2)), ("many", AAKNN(4))]),
        "distributions",
    ),
}


def answers(estimator, X):
    """Everything that a fitted estimator says of samples, by method."""
    methods = [name for name in ("transform", "features", "predict", "predict_proba") if hasattr(estimator, name)]
    return {method: getattr(estimator, method)(X) for method in methods}


def fitted(name, rng):
    """Estimator fitted to a few samples."""
    estimator, kind = ESTIMATORS[name]
    X = rng.standard_normal((16, 3))
    labels = (X[:, :2] > 0).astype(int)
    shares = np.exp(X) / np.exp(X).sum(1, keepdims=True)
    targets = {"labels": labels, "classes": labels.sum(1), "distributions": shares, "number": X.sum(1)}
    return estimator.fit(X, targets[kind])


def write(folder):
    """Write pickles of the version that is installed."""
    folder.mkdir(parents=True)
    for name in ESTIMATORS:
        rng = np.random.default_rng(0)
        estimator, queries = fitted(name, rng), rng.standard_normal((5, 3))
        content = {"estimator": estimator, "X": queries, "answers": answers(estimator, queries)}
        (folder / f"{name}.pkl.gz").write_bytes(gzip.compress(pickle.dumps(content, protocol=4), mtime=0))


if __name__ == "__main__":
    minor = sys.argv[1] if len(sys.argv) > 1 else ".".join(skrelmetric.__version__.split(".")[:2])
    write(FOLDER / minor)
    files = sorted((FOLDER / minor).iterdir())
    print(f"{len(files)} pickles, {sum(file.stat().st_size for file in files)} bytes, in {FOLDER / minor}")
