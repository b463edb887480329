"""Dask arrays, which every estimator takes."""

import inspect

import dask
import dask.array as da
import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

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
from skrelmetric._interop.dask import is_dask

SETS = [("ours", MLkNN(4)), ("lists", KNeighborsClassifier())]
NUMBERS = [("ours", AAKNN(4)), ("other", KNeighborsRegressor())]

ESTIMATORS = [  # with a kind of target each
    (RAMLLinear(2), "sets"),
    (HRAMLTransformer(2), "sets"),
    (DRMLTransformer(16, max_epochs=1, random_state=0), "classes"),
    (MLkNN(range(1, 4)), "sets"),
    (AAKNN(), "distributions"),
    (SoftNeighborsClassifier(), "sets"),
    (SoftNeighborsRegressor(), "numbers"),
    (RelationalNeighborsClassifier(cv=None), "classes"),
    (RelationalNeighborsClassifier(cv=None), "sets"),
    (RelationalNeighborsRegressor(cv=None), "numbers"),
    (RelationalNeighborsRegressor(cv=None), "distributions"),
    (MultilabelVotingClassifier(SETS), "sets"),
    (MultilabelVotingClassifier(SETS), "one label"),
    (MultilabelThresholdClassifier(MLkNN(4)), "sets"),
    (MultilabelThresholdClassifier(MLkNN(4), thresholds=0.3), "one label"),
    (MultioutputVotingRegressor(NUMBERS), "distributions"),
    (MultioutputVotingRegressor(NUMBERS), "numbers"),
]

LAZY = {"features", "predict", "predict_proba", "transform"}
AT_ONCE = {"kneighbors", "kneighbors_graph", "pair_distance", "pair_score", "score"}


@pytest.fixture(autouse=True)
def synchronous():
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture
def samples(rng):
    X = rng.standard_normal((60, 5))
    sets = (X[:, :3] > 0).astype(int)
    targets = {
        "sets": sets,
        "one label": np.array(["no", "yes"])[sets[:, 0]],
        "classes": np.array(["a", "b", "c"])[sets[:, 0] + sets[:, 1]],
        "distributions": rng.dirichlet(np.ones(3), 60),
        "numbers": X[:, 0] + rng.random(60),
    }
    return X, targets


def asked_of_samples(estimator):
    """Public methods that answer about samples that they are given."""
    methods = inspect.getmembers(estimator, inspect.ismethod)
    return {
        name
        for name, method in methods
        if not name.startswith("_") and next(iter(inspect.signature(method).parameters), "") in ("X", "pairs")
    } - {"fit", "fit_transform", "partial_fit"}


def test_every_estimator_is_among_these():
    public = {kind for name in skrelmetric.__all__ if inspect.isclass(kind := getattr(skrelmetric, name))}
    assert public == {type(estimator) for estimator, _ in ESTIMATORS}


@pytest.mark.parametrize(("estimator", "kind"), ESTIMATORS)
def test_answers_about_dask_arrays_are_those_about_arrays(estimator, kind, samples):
    X, targets = samples
    y = targets[kind]
    lazy = da.from_array(X, chunks=((25, 0, 35), 4))
    methods = asked_of_samples(estimator)
    assert methods <= LAZY | AT_ONCE
    for name in methods & LAZY:
        with pytest.raises(NotFittedError):
            getattr(clone(estimator), name)(lazy)
    fitted = clone(estimator).fit(X, y)
    pairs = np.stack([X, X[::-1]], 1)
    for name in methods:
        arguments = [pairs if "pair" in name else X, *[y] * (name == "score")]
        given = [da.from_array(pairs, chunks=7) if "pair" in name else lazy, *arguments[1:]]
        expected, answer = getattr(fitted, name)(*arguments), getattr(fitted, name)(*given)
        if name in LAZY:
            assert is_dask(answer)
            assert (answer.shape, answer.dtype) == (expected.shape, expected.dtype)
            assert answer.chunks[0] == lazy.chunks[0]
        same_as(answer, expected)
    for name in methods & LAZY:
        with pytest.raises(ValueError, match="expecting 5 features|expects 5 features|X has 4 features"):
            getattr(fitted, name)(lazy[:, :4])


def same_as(answer, expected):
    if isinstance(expected, tuple):
        for each, other in zip(answer, expected, strict=True):
            same_as(each, other)
        return
    answer, expected = (each.toarray() if sparse.issparse(each) else np.asarray(each) for each in (answer, expected))
    if expected.dtype.kind == "f":
        np.testing.assert_allclose(answer, expected, rtol=1e-10, atol=1e-12)
    else:
        np.testing.assert_array_equal(answer, expected)


@pytest.mark.parametrize(("estimator", "kind"), ESTIMATORS)
def test_fits_to_dask_arrays_are_those_to_arrays(estimator, kind, samples):
    X, targets = samples
    y = targets[kind]
    lazy, lazy_y = da.from_array(X, chunks=(25, 4)), da.from_array(y, chunks=25)
    if isinstance(estimator, DRMLTransformer):
        with pytest.raises(ValueError, match=r"X comes in Array. Pass an array.*X.compute\(\)"):
            clone(estimator).fit(lazy, lazy_y)
        return
    expected, fitted = clone(estimator).fit(X, y), clone(estimator).fit(lazy, lazy_y)
    method = "transform" if hasattr(fitted, "transform") else "predict"
    answer, expected = getattr(fitted, method)(X), getattr(expected, method)(X)
    if expected.dtype.kind == "f":
        np.testing.assert_allclose(abs(answer), abs(expected), rtol=1e-5, atol=1e-7)
    else:
        np.testing.assert_array_equal(answer, expected)


def test_chunks_of_a_partial_fit_come_one_by_one(samples):
    X, targets = samples
    y = targets["sets"]
    for given in ((da.from_array(X), da.from_array(y)), (skrelmetric.chunks.Chunks.of(X, y), None)):
        with pytest.raises(ValueError, match="partial_fit learns from one chunk in memory, but X is a .* of several"):
            HRAMLTransformer().partial_fit(*given)
