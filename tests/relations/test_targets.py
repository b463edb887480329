"""Which targets are taken, and how they are read."""

import math
from functools import partial

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
import torch
from scipy import sparse

from skrelmetric import RAMLLinear
from skrelmetric.relations import AbsoluteDifference, ClassDifference, Factored, Jeffreys, make_relation, relation_name
from tests.relations.definitions import (
    DEFINITIONS,
    EVERYTHING,
    NAN,
    assert_operator_is,
    jeffreys,
    largest_difference,
    reference,
    targets,
    with_missing,
)


@pytest.mark.parametrize(
    ("y", "relation"),
    [
        ([0, 1, 1, 0], "discrete"),
        (["a", "b", "c", "a"], "discrete"),
        ([["a", "x"], ["b", "x"], ["a", "y"]], "discrete"),
        ([[0, 1], [1, 1], [1, 0], [0, 0]], "hamming"),
        ([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0], [0.0, 0.0]], "hamming"),
        ([[False, True], [True, True]], "hamming"),
        ([[0], [1], [1]], "discrete"),
        ([[0, 2], [1, 1], [1, 0], [0, 0]], "discrete"),
        ([0.5, 1.25, 2.0, 0.1], "l1"),
        ([[0.5, 0.5], [0.1, 0.9], [1.0, 0.0], [0.3, 0.7]], "l1"),
        ([[0, 1], [NAN, 1], [1, 0], [NAN, NAN]], "hamming"),
        ([0, 1, NAN, 2], "discrete"),
        ([[0, 2], [NAN, 1], [1, 0]], "discrete"),
        ([[0.5, NAN], [0.1, 0.9], [1.0, 0.0]], "l1"),
        ([0.5, NAN, 2.0], "l1"),
    ],
)
@pytest.mark.parametrize("kind", [list, np.array, sparse.csr_array, pd.DataFrame, pl.DataFrame])
def test_auto_goes_by_the_type_of_target(y, relation, kind):
    if kind in (sparse.csr_array, pl.DataFrame):
        array = np.array(y)
        if kind is sparse.csr_array and (array.ndim == 1 or array.dtype.kind == "U"):
            pytest.skip("nothing sparse")
        G = make_relation(kind(array))
    else:
        G = make_relation(kind(y))
    np.testing.assert_allclose(G.block(EVERYTHING, EVERYTHING), reference(y, relation), atol=1e-12)
    assert type(G) is {"hamming": Factored, "discrete": ClassDifference, "l1": AbsoluteDifference}[relation]


@pytest.mark.parametrize(
    ("y", "relation"),
    [
        (pd.DataFrame({"a": [0, 1, 1], "b": [1, None, 0]}, dtype=object), "hamming"),
        (pd.DataFrame({"a": [0, 1, 1], "b": [1, pd.NA, 0]}, dtype="Int64"), "hamming"),
        (pd.DataFrame({"a": [0.5, 1, 1], "b": [1, None, 0.25]}, dtype=object), "l1"),
        (pd.DataFrame({"a": [0, 1, 1], "b": [1, 0, 0]}).astype("Sparse[int]"), "hamming"),
        (pl.DataFrame({"a": [0, 1, 1], "b": [1, None, 0]}), "hamming"),
        (pl.DataFrame({"a": [0, 1, 1], "b": [1, None, 0]}, schema={"a": pl.Object, "b": pl.Object}), "hamming"),
        (pd.Series(["x", "y", "x"]), "discrete"),
        (pd.Series(["x", "y", "x"], dtype="category"), "discrete"),
        (pd.Series(["x", "y", "x"], dtype=object), "discrete"),
        (pl.Series(["x", "y", "x"]), "discrete"),
        (pl.Series([0.5, None, 1.0]), "l1"),
    ],
)
def test_columns_of_data_frames(y, relation):
    rows = [[NAN if a is None or a is pd.NA else a for a in np.atleast_1d(row)] for row in y.to_numpy()]
    expected = np.array(
        [
            [DEFINITIONS[relation]([(a, b) for a, b in zip(u, v, strict=True) if a == a and b == b]) for v in rows]
            for u in rows
        ]
    )
    for name in ("auto", relation):
        np.testing.assert_allclose(make_relation(y, name).block(EVERYTHING, EVERYTHING), expected, atol=1e-12)


@pytest.mark.parametrize("relation", [name for name in DEFINITIONS if name != "callable"])
@pytest.mark.parametrize("dispatch", [False, True])
@pytest.mark.parametrize("missing", [False, True])
def test_tensors(relation, dispatch, missing, rng):
    Y = targets(relation, rng)
    Y = with_missing(Y, rng) if missing else Y
    with sklearn.config_context(array_api_dispatch=dispatch):
        G = make_relation(torch.from_numpy(Y), relation)
    assert_operator_is(G, reference(Y, relation), rng)


@pytest.mark.parametrize("dtype", ["?", "u1", "i1", "u2", "u4", "u8", "f2", "f4", ">i4", ">f8"])
@pytest.mark.parametrize("relation", [name for name in DEFINITIONS if name != "callable"])
def test_dtypes_of_numbers(relation, dtype, rng):
    Y = targets("hamming", rng)
    G = make_relation(Y.astype(dtype), relation)
    np.testing.assert_allclose(G.block(EVERYTHING, EVERYTHING), reference(Y, relation), atol=1e-11)


def test_discrete_is_hamming_for_two_classes(rng):
    Y = targets("hamming", rng)
    V = torch.from_numpy(rng.standard_normal((len(Y), 3)))
    np.testing.assert_allclose(make_relation(Y, "hamming") @ V, make_relation(Y, "discrete") @ V, atol=1e-12)


@pytest.mark.parametrize("kind", [np.array, sparse.csr_array])
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("relation", ["cosine", "jaccard"])
def test_without_labels_samples_are_alike_and_at_1_from_others(relation, missing, kind):
    Y = np.array([[0, 0, 0], [0, 0, 0], [1, 0, 1.0], [1, 0, 0]])
    if missing:
        Y[1, 1] = NAN
    G = make_relation(kind(Y), relation).block(EVERYTHING, EVERYTHING)
    np.testing.assert_allclose(G[:2], [[0, 0, 1, 1]] * 2, atol=1e-12)


@pytest.mark.parametrize("eps", [1e-9, 0.1])
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix, partial(with_missing, rng=np.random.default_rng(1))])
def test_jeffreys_with_an_eps_of_its_own(eps, kind, rng):
    Y = kind(targets("jeffreys", rng))
    expected = reference(Y.toarray() if sparse.issparse(Y) else Y, partial(jeffreys, eps=eps))
    assert_operator_is(make_relation(Y, Jeffreys(eps=eps)), expected, rng, tolerance=1e-9)
    assert_operator_is(Jeffreys(eps).bind(Y), expected, rng, tolerance=1e-9)


@pytest.mark.parametrize("eps", [0, 1, -1e-3, 2.0, math.inf, NAN])
def test_jeffreys_eps_out_of_range(eps):
    with pytest.raises(ValueError, match=r"eps=.* must be between 0 and 1"):
        make_relation([[0.5, 0.5], [1, 0]], Jeffreys(eps=eps))


@pytest.mark.parametrize("kind", [list, np.array, sparse.csr_array])
@pytest.mark.parametrize(
    ("y", "relation", "message"),
    [
        ([[0, 1], [1, 0]], "haming", "Did you mean 'hamming'"),
        ([[0, 1], [1, 0]], "euclidean", "Did you mean 'sqeuclidean'"),
        ([[0, 1], [1, 0]], "zzz", r"relation='zzz' is not known\. Choose one of"),
        ([[0, 2], [1, 0]], "hamming", "0/1 indicators, but y holds 2"),
        ([[2, 0], [2, 1]], "hamming", "0/1 indicators, but y holds 2"),
        ([[0.0, np.inf], [1, 0]], "l1", "contains infinity"),
        ([[0.0, -np.inf], [1, NAN]], "hellinger", "contains infinity"),
        ([[0.0, -0.1], [1, 0]], "hellinger", "y holds -0.1"),
        ([[0.0, -0.1], [1, 0]], "jeffreys", "y holds -0.1"),
        ([[NAN, -0.1], [1, 0]], "jeffreys", "y holds -0.1"),
        ([[0.0, -0.1], [1, 0]], Jeffreys(eps=0.1), "y holds -0.1"),
        ([[0.0, 0.5], [1, 0]], "jaccard", "0/1 indicators, but y holds 0.5"),
        ([[NAN, 0.5], [1, 0]], "hamming", "0/1 indicators, but y holds 0.5"),
    ],
)
def test_unfitting_targets_are_refused(y, relation, message, kind):
    with pytest.raises(ValueError, match=message):
        make_relation(kind(y), relation)


@pytest.mark.parametrize(
    ("y", "relation", "message"),
    [
        *((["a", "b"], name, "compares numbers") for name in DEFINITIONS if name not in ("discrete", "callable")),
        (["a", "a"], "l1", "compares numbers"),
        ([[1], [2, 3]], "auto", "MultiLabelBinarizer"),
        ([[1], [2, 3]], largest_difference, "MultiLabelBinarizer"),
        ([], "auto", "0 sample"),
        (np.zeros((2, 2, 2)), "auto", "dim 3"),
        (np.array([["a"], [None]], dtype=object), "auto", "neither numbers nor"),
    ],
)
def test_unfitting_lists_are_refused(y, relation, message):
    with pytest.raises(ValueError, match=message):
        make_relation(y, relation)


def test_auto_refuses_what_it_cannot_tell():
    with pytest.raises(ValueError, match="Unknown label type|cannot tell"):
        make_relation(np.array([[{}], [1j]], dtype=object))


@pytest.mark.parametrize(
    ("y", "name"),
    [
        ([[0, 1], [1, 1]], "hamming"),
        ([[0.0, NAN], [1, 1]], "hamming"),
        (sparse.csr_array([[0, 1], [1, 1]]), "hamming"),
        (torch.tensor([[0, 1], [1, 1]]), "hamming"),
        (pd.DataFrame({"a": [True, False], "b": [True, True]}), "hamming"),
        ([0, 1], "discrete"),
        ([[0], [1]], "discrete"),
        ([[0, 2], [1, 1]], "discrete"),
        (["a", "b"], "discrete"),
        (np.array([["a", "x"], ["b", "y"]], dtype=object), "discrete"),
        ([0.5, 2], "l1"),
        ([[0.5, 0.5], [1, 0]], "l1"),
        (sparse.csr_array([[0.5, 0.5], [1, 0]]), "l1"),
        (pl.Series([0.5, None, 1.0]), "l1"),
    ],
    ids=str,
)
def test_name_of_the_relation_of_a_target(y, name):
    assert relation_name(y) == name
    assert type(make_relation(y)) is type(make_relation(y, name))


@pytest.mark.parametrize("y", [[], [[1], [2, 3]], [[0.0, np.inf], [1, 0]]])
def test_no_target_has_no_relation_name(y):
    with pytest.raises(ValueError, match=r"sample|MultiLabelBinarizer|infinity"):
        relation_name(y)


def test_tuples_are_classes_of_a_relation_of_ones_own(rng):
    intervals = np.empty(20, dtype=object)
    intervals[:] = [(k % 4, k % 4 + 2) for k in range(20)]

    def apart(a, b):
        return np.array([[abs(first[0] - second[0]) for second in b.ravel()] for first in a.ravel()], dtype=float)

    X = rng.standard_normal((20, 3))
    given = RAMLLinear(relation=apart).fit(X, intervals)
    starts = RAMLLinear(relation="l1").fit(X, np.arange(20) % 4.0)
    np.testing.assert_allclose(given.get_mahalanobis_matrix(), starts.get_mahalanobis_matrix(), atol=1e-6)
