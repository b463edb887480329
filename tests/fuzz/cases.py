"""Cases of the fuzzers: samples, targets and weights of every kind, in every container, dtype and scale."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from scipy import sparse

SHAPES = [(12, 3), (20, 1), (30, 5), (8, 14), (40, 2), (2, 2), (3, 4)]
VALUES = ["normal", "normal", "counts", "grid", "duplicates", "constant column", "alike", "clusters", "outlier", "tiny"]
SPARSE = ["csr", "csr twice", "csc", "coo"]
CONTAINERS = ["array", "array", "fortran", "view", "readonly", "list", "frame", *SPARSE, "tensor"]
DTYPES = ["float64", "float64", "float32", "float16", "int64", "int8", "uint8", "bool", "object"]

# Powers of two that samples are multiplied by: in range, at its ends and beyond, down to denormal numbers.
EXPONENTS = {
    "float64": [0, 0, 0, -20, 20, -330, 330, -480, 480, -1060, -660, -550, 520, 660, 1015],
    "float32": [0, 0, -20, 20, -100, 100, -140],
}
# Up to which nothing may be refused.
ORDINARY = {"float64": 400, "float32": 60}
ORDINARY_SPARSE = 60

WEIGHTS = [None, None, None, "ones", "some 0", "whole", "tiny", "huge", "uneven", "as columns"]


class Case(NamedTuple):
    """Samples as a user has them, and what is known of them.

    Attributes
    ----------
    X, queries : ndarray of float64 of shape (n_samples, n_features)
        Samples to fit and to predict, as their container has them.
    y, sample_weight : array-like or None
        Targets and weights.
    container, dtype : str
        What the samples are passed in.
    ordinary : bool
        Whether nothing is out of the ordinary, so that nothing may be refused.
    """

    X: np.ndarray
    queries: np.ndarray
    y: Any
    sample_weight: Any
    container: str
    dtype: str
    ordinary: bool

    def given(self, X: np.ndarray) -> Any:
        """Samples in the container."""
        return contained(X, self.container, self.dtype)


def of(n_cases: int) -> Any:
    """Settings under which so many cases are drawn, the same each time."""
    return settings(
        max_examples=n_cases,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )


@st.composite
def cases(draw, kinds: list[str]) -> Case:
    """Cases with targets of some kinds."""
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    choices = SHAPES, VALUES, CONTAINERS, DTYPES, kinds, WEIGHTS
    (n, n_features), value, container, dtype, target, weight = (draw(st.sampled_from(choice)) for choice in choices)
    if dtype in ("float16", "object", "bool") and container in [*SPARSE, "tensor"]:
        dtype = "float64"
    exponent = draw(st.sampled_from(EXPONENTS.get(dtype, [0])))
    X = as_held(values(value, rng, (n + 6, n_features)), exponent, dtype)
    usual = ORDINARY_SPARSE if container in SPARSE else ORDINARY.get(dtype, 0)
    ordinary = abs(exponent) <= usual and n >= 8 and weight not in ("tiny", "huge", "as columns")
    ordinary &= (
        value != "tiny"
        and target not in ("tiny numbers", "huge numbers")
        and (target, container) != ("names", "tensor")
    )
    return Case(X[:n], X[n:], targets(target, rng, n), weights(weight, rng, n), container, dtype, ordinary)


def values(kind: str, rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Samples of a kind, in multiples of 1/8, so that single precision has them, too."""
    X = np.round(8 * rng.standard_normal(shape)) / 8
    if kind == "counts":
        return rng.poisson(0.6, shape).astype(float)
    if kind == "grid":
        return rng.integers(-1, 2, shape).astype(float)
    if kind == "duplicates":
        return X[rng.integers(0, 4, shape[0])]
    if kind == "constant column":
        X[:, rng.integers(shape[1])] = 3.0
    if kind == "alike":
        X[:] = X[0]
    if kind == "clusters":
        return X + 64.0 * rng.integers(0, 3, (shape[0], 1))
    if kind == "tiny":  # beside others, whose squares are in range
        X[:, rng.integers(shape[1])] *= 2.0 ** rng.choice([-100.0, -600.0, -1060.0])
    if kind == "outlier":
        X[rng.integers(shape[0])] *= 2.0**10
    return X


def as_held(X: np.ndarray, exponent: int, dtype: str) -> np.ndarray:
    """Samples times a power of two as a dtype has them, in float64."""
    if dtype in ("int8", "uint8", "bool"):
        X = np.abs(np.round(X)).clip(0, 100)
    floats = dtype if dtype in ("float32", "float16") else "float64"
    most = np.finfo(floats).max / 64  # of which scikit-learn can take the sum without a warning
    with np.errstate(over="ignore"):
        X = np.ldexp(X, exponent).clip(-most, most)
    return X.astype("float64" if dtype == "object" else dtype).astype(np.float64)


def contained(X: np.ndarray, container: str, dtype: str) -> Any:
    """Samples in a container."""
    X = X.astype(dtype)
    if container == "fortran":
        return np.asfortranarray(X)
    if container == "view":
        return np.repeat(X[::-1], 2, axis=1)[::-1, ::2]
    if container == "readonly":
        X.setflags(write=False)
        return X
    if container == "list":
        return X.tolist()
    if container == "frame":
        return pd.DataFrame(X, columns=[f"f{j}" for j in range(X.shape[1])])
    if container == "csr twice":
        return entered_twice(X)
    if container in SPARSE:
        return getattr(sparse, "csr_array" if container == "csr" else f"{container}_matrix")(X)
    return torch.from_numpy(X) if container == "tensor" else X


def entered_twice(X: np.ndarray) -> sparse.csr_matrix:
    """Sparse matrix with two entries at each place, in no order, as counting words makes it."""
    rows, columns = X.nonzero()
    entries = X[rows, columns]
    part = entries // 4 if entries.dtype.kind in "iu" else entries / 4
    halves = np.concatenate([part, entries - part])
    rows, columns = np.tile(rows, 2), np.tile(columns[::-1], 2)[::-1]
    order = rows.argsort(kind="stable")
    starts = np.searchsorted(rows[order], np.arange(len(X) + 1))
    return sparse.csr_matrix((halves[order], columns[order], starts), X.shape)


def targets(kind: str, rng: np.random.Generator, n: int) -> Any:
    """Targets of a kind."""
    labels = (rng.random((n, 4)) < [0.5, 0.3, 0.8, 0.1]).astype(int)
    columns = rng.standard_normal((n, 2))
    return {
        "labels": labels,
        "constant labels": labels * 0 + [0, 1, 1, 0],
        "sparse labels": sparse.csr_matrix(labels),
        "label frame": pd.DataFrame(labels.astype(bool), columns=list("abcd")),
        "one label": np.arange(n) % 2,
        "distributions": rng.dirichlet(np.ones(4), n),
        "numbers": np.round(rng.standard_normal(n), 2) + 0.125,
        "columns": columns * [1.0, 1e6],
        "missing": np.where(rng.random((n, 2)) < 0.3, np.nan, columns),
        "huge numbers": columns * 2.0 ** rng.choice([520.0, 700.0, 1000.0]),
        "tiny numbers": columns * 2.0 ** rng.choice([-520.0, -700.0, -1060.0]),
        "classes": np.arange(n) % 3,
        "names": np.array(["ant", "bee", "cat"])[np.arange(n) % 3],
    }[kind]


def weights(kind: str | None, rng: np.random.Generator, n: int) -> Any:
    """Weights of a kind."""
    weights = 0.25 + rng.random(n)
    return {
        None: None,
        "ones": np.ones(n),
        "some 0": np.where(np.arange(n) % 3 == 2, 0.0, weights),
        "whole": rng.integers(1, 4, n).tolist(),
        "uneven": weights * 2.0 ** rng.integers(-10, 10, n),
        "as columns": weights[:, None],
        "tiny": 1e-310 * weights,
        "huge": 1e306 * weights,
    }[kind]
