"""Every estimator on cases of every kind: a clear error or a finite result, and the invariants of such a result.

The default run takes a few cases of each. ``pytest -m fuzz tests/fuzz`` takes as many as the environment variable
FUZZ_CASES says, 400 for each if it is not set; ``--hypothesis-show-statistics`` counts what became of them.
"""

import os

import numpy as np
import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone
from sklearn.utils.validation import has_fit_parameter

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
from tests.fuzz.attempts import RefusedError, attempt, digest, dispatched
from tests.fuzz.cases import cases, of
from tests.process import untouched

LABELS = ["labels", "labels", "constant labels", "sparse labels", "label frame", "one label"]
NUMBERS = ["distributions", "numbers", "columns", "huge numbers", "tiny numbers"]
CLASSES = ["classes", "names"]
ANY = [*LABELS, *NUMBERS, *CLASSES, "missing"]

MLP = {"encoder": "mlp", "hidden_layer_sizes": (4, 4), "max_epochs": 2, "random_state": 0}
SEARCHES = {
    "": {},
    " brute": {"algorithm": "brute"},
    " cosine": {"metric": "cosine"},
    " manhattan": {"metric": "manhattan"},
    " squares": {"metric": "sqeuclidean"},
}
FUZZED = {
    "RAMLLinear": (RAMLLinear(tol=1e-9), ANY),
    "RAMLLinear constrained": (RAMLLinear(relation="cosine", psd="constrained"), LABELS + NUMBERS),
    "RAMLLinear krr": (RAMLLinear(solver="krr", n_pairs=30, random_state=0), ANY),
    "RAMLLinear svr": (RAMLLinear(solver="svr", n_pairs=30, random_state=0), ANY),
    "RAMLLinear predictions": (RAMLLinear(prediction_weight=1), ANY),
    "HRAMLTransformer": (HRAMLTransformer(random_state=0), ANY),
    "HRAMLTransformer trained": (HRAMLTransformer(**MLP, dropout=0.3), ANY),
    "DRMLTransformer": (DRMLTransformer(8, max_epochs=1, random_state=0), CLASSES),
    **{f"MLkNN{name}": (MLkNN(3, **search), LABELS) for name, search in SEARCHES.items()},
    **{f"AAKNN{name}": (AAKNN(2, **search), NUMBERS) for name, search in SEARCHES.items()},
    "SoftNeighborsClassifier": (SoftNeighborsClassifier(temperature=0.5), LABELS + CLASSES),
    "SoftNeighborsClassifier tuned": (SoftNeighborsClassifier(metric="cosine"), LABELS + CLASSES),
    "SoftNeighborsRegressor": (SoftNeighborsRegressor(temperature=0.5), NUMBERS),
    "MultilabelVotingClassifier": (MultilabelVotingClassifier([("a", MLkNN(2)), ("b", MLkNN(3))]), LABELS),
    "MultilabelThresholdClassifier": (MultilabelThresholdClassifier(MLkNN(2), cv=2), LABELS),
    "MultioutputVotingRegressor": (MultioutputVotingRegressor([("a", AAKNN(2)), ("b", AAKNN(3))]), NUMBERS),
    "RelationalNeighborsClassifier": (RelationalNeighborsClassifier(cv=2, random_state=0), LABELS + CLASSES),
    "RelationalNeighborsRegressor": (RelationalNeighborsRegressor(cv=2, random_state=0), NUMBERS),
}
# What is chosen among candidates that rounding may reorder, trained for so long that it grows, or solved roughly.
NOT_INVARIANT = ["svr", "Relational", "tuned", "DRML", "trained", "Threshold"]
ITERATED = {"RAMLLinear constrained": 1e-2}

METHODS = ["transform", "predict_proba", "predict", "kneighbors"]


def fitted(name, case):
    estimator, params = clone(FUZZED[name][0]), {}
    if case.sample_weight is not None and has_fit_parameter(estimator, "sample_weight"):
        params["sample_weight"] = case.sample_weight
    return attempt(estimator.fit, case.given(case.X), case.y, **params)


def results(model, X):
    """What a model makes of samples, as dense arrays on the host."""
    options = {"kneighbors": {"n_neighbors": 1}}
    found = {}
    for method in METHODS:
        # Features of the kernel round by how many samples there are, and may reorder neighbours that are as near.
        if hasattr(model, method) and not (method == "kneighbors" and hasattr(model, "members_")):
            result = attempt(getattr(model, method), X, **options.get(method, {}))
            found[method] = [dense(each) for each in (result if isinstance(result, tuple) else (result,))]
    return found


def dense(result):
    return result.toarray() if sparse.issparse(result) else np.asarray(result)


def distances(Z):
    Z = Z.astype(np.float64)
    return np.sqrt(((Z[:, None] - Z) ** 2).sum(2))


def assert_alike(found, expected, tolerance):
    for method, arrays in found.items():
        for a, b in zip(arrays, expected[method], strict=True):
            if a.dtype.kind in "OU":
                assert (a == b).all(), method
                continue
            size = max(np.abs(b).max(initial=0), 1e-6)  # that rounds
            x, y = (distances(a), distances(b)) if method == "transform" else (a, b)
            np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance * size)


def check(name, case, change):
    precise = case.dtype != "float32" or not (hasattr(FUZZED[name][0], "transform") or case.container == "tensor")
    with dispatched(case.container), untouched():
        inputs = case.given(case.X), case.y, case.sample_weight
        mark = digest(*inputs)
        try:
            model = fitted(name, case)
            found = results(model, case.given(case.queries))
        except RefusedError as error:
            if case.ordinary:
                raise AssertionError("refused though nothing is out of the ordinary") from error
            event(f"{name}: refused")
            return
        event(f"{name}: fitted")
        assert digest(*inputs) == mark, "what was given was written to"
        assert all(np.isfinite(a).all() for arrays in found.values() for a in arrays if a.dtype.kind not in "OU")
        assert_alike(results(fitted(name, case), case.given(case.queries)), found, 0)
        for rows in (slice(0, 2), slice(None, None, -1)):
            some = {method: [array[rows] for array in arrays] for method, arrays in found.items()}
            assert_alike(results(model, case.given(case.queries[rows])), some, 1e-9 if precise else 1e-4)
    if any(word in name for word in NOT_INVARIANT) or (name == "HRAMLTransformer" and not precise):
        return  # which directions a kernel has above rounding depends on the precision
    if change == "container":
        case = case._replace(container="array", dtype="float64")
    elif change == "order of features":
        order = np.arange(case.X.shape[1])[::-1]
        case = case._replace(X=case.X[:, order], queries=case.queries[:, order])
    elif case.ordinary and "float" in case.dtype:
        case = case._replace(X=case.X / 4, queries=case.queries / 4)
        found.pop("kneighbors", None)
    with dispatched(case.container):
        expected = results(fitted(name, case), case.given(case.queries))
    assert_alike(found, expected, ITERATED.get(name, 1e-6 if precise else 1e-3))


def fuzz(name, n_cases):
    changes = st.sampled_from(["container", "order of features", "scale"])
    of(n_cases)(given(cases(FUZZED[name][1]), changes)(lambda case, change: check(name, case, change)))()


@pytest.mark.parametrize("name", FUZZED)
def test_some_cases(name):
    fuzz(name, 12 if "Relational" not in name else 4)


@pytest.mark.fuzz
@pytest.mark.parametrize("name", FUZZED)
def test_many_cases(name):
    fuzz(name, int(os.environ.get("FUZZ_CASES", "400")))
