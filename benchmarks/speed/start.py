"""Start of a service: a pipeline is unpickled in a new process and asked for one sample."""

import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.speed.timing import Measurement, measurement, medians
from skrelmetric import MLkNN, RAMLLinear
from skrelmetric.datasets import load_yeast

_SERVICE = "import pickle, sys; model, x = pickle.load(open(sys.argv[1], 'rb')); model.predict_proba(x)"


def measure() -> Iterator[Measurement]:
    """Measurements of the first sample and of those after it."""
    X, Y = load_yeast(return_X_y=True)
    ours = make_pipeline(StandardScaler(), RAMLLinear(), MLkNN()).fit(X, Y)
    theirs = make_pipeline(StandardScaler(), PCA(), KNeighborsClassifier(10)).fit(X, Y)
    size = f"({X.shape[0]:,} x {X.shape[1]}, {Y.shape[1]} labels)"
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("ours.pickle", "theirs.pickle")]
        for path, model in zip(paths, (ours, theirs), strict=True):
            path.write_bytes(pickle.dumps((model, X[:1])))
        seconds, peer = medians(lambda: _serve(paths[0]), lambda: _serve(paths[1]), repeats=2, rounds=2)
    floor = "scikit-learn's PCA and neighbours"
    yield measurement(f"unpickling RAMLLinear + MLkNN, and one sample {size}", seconds, floor, peer)
    seconds, peer = medians(lambda: _one_by_one(ours, X), lambda: _one_by_one(theirs, X), repeats=2)
    yield measurement(f"RAMLLinear + MLkNN, 100 samples one by one {size}", seconds, floor, peer)


def _serve(path: Path) -> None:
    subprocess.run([sys.executable, "-c", _SERVICE, path], check=True)


def _one_by_one(model: Pipeline, X: np.ndarray) -> None:
    for x in X[:100]:
        model.predict_proba(x[None])
