import math
import tracemalloc
from functools import partial

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from skrelmetric._data.samples import Samples
from skrelmetric.relations import (
    AbsoluteDifference,
    ClassDifference,
    Factored,
    Jeffreys,
    Pairwise,
    make_relation,
    relation_name,
)

EVERYTHING = slice(None)


def cosine(pairs):
    u, v = math.hypot(*(a for a, _ in pairs)), math.hypot(*(b for _, b in pairs))
    return 1 - sum(a * b for a, b in pairs) / (u * v) if u and v else float(u != v)


def jaccard(pairs):
    either = sum(a == 1 or b == 1 for a, b in pairs)
    return sum(a != b for a, b in pairs) / either if either else 0.0


def jeffreys(pairs, eps=1e-6):
    raised = [(max(a, eps), max(b, eps)) for a, b in pairs]
    return sum(a * math.log(a / b) + b * math.log(b / a) for a, b in raised)


# g(y_i, y_j), each from its definition, over the pairs of values of the outputs that are known of both.
DEFINITIONS = {
    "hamming": lambda pairs: sum(a != b for a, b in pairs),
    "discrete": lambda pairs: sum(a != b for a, b in pairs),
    "l1": lambda pairs: sum(abs(a - b) for a, b in pairs),
    "sqeuclidean": lambda pairs: sum((a - b) ** 2 for a, b in pairs),
    "hellinger": lambda pairs: sum((math.sqrt(a) - math.sqrt(b)) ** 2 for a, b in pairs) / 2,
    "cosine": cosine,
    "jeffreys": jeffreys,
    "jaccard": jaccard,
    "callable": lambda pairs: max((abs(a - b) for a, b in pairs), default=0),
}
FACTORED = ["hamming", "sqeuclidean", "hellinger", "cosine", "jeffreys"]


def largest_difference(A, B):
    """The relation "callable": all pairs of rows of numpy arrays."""
    assert isinstance(A, np.ndarray)
    assert isinstance(B, np.ndarray)
    return np.nan_to_num(abs(A[:, None].astype(float) - B[None])).max(-1)


RELATIONS = {name: name for name in DEFINITIONS} | {"callable": largest_difference}


def reference(Y, relation):
    g = DEFINITIONS[relation] if isinstance(relation, str) else relation
    rows = np.asarray(Y).reshape(len(Y), -1).tolist()
    known = [[[(a, b) for a, b in zip(u, v, strict=True) if a == a and b == b] for v in rows] for u in rows]
    return np.array([[float(g(pairs)) for pairs in row] for row in known])


def targets(relation, rng, n=23):
    indicator = (rng.random((n, 5)) < 0.4).astype(int)
    distributions = rng.dirichlet(np.ones(4), n) * (rng.random((n, 4)) < 0.8)
    return {
        "hamming": indicator,
        "discrete": rng.integers(0, 4, (n, 2)),
        "l1": np.vstack([rng.dirichlet(np.ones(4), n), np.full((3, 4), 0.25)])[-n:],
        "sqeuclidean": rng.standard_normal((n, 3)) + 100,
        "hellinger": distributions,
        "cosine": rng.standard_normal((n, 3)).round(1) * (rng.random((n, 1)) < 0.9),
        "jeffreys": distributions,
        "jaccard": indicator,
        "callable": rng.integers(0, 3, (n, 2)),
    }[relation]


def with_missing(Y, rng):
    """Targets of which some, all of one sample and all of an output more are missing."""
    Y = np.column_stack([Y.astype(float), Y[:, 0]])
    Y[rng.random(Y.shape) < 0.3] = np.nan
    Y[len(Y) // 2], Y[:, -1] = np.nan, np.nan
    return Y


def samples_of(kind, rng, n=23):
    """Samples of a kind, their centred rows in float64, and their weights."""
    density, dtype = {"dense": (1, "f8"), "dense32": (1, "f4"), "sparse": (0.04, "f8"), "filled": (0.5, "f4")}[kind]
    X = (rng.standard_normal((n, 12)) * (rng.random((n, 12)) < density) + (density == 1)).astype(dtype)
    p = rng.dirichlet(np.ones(n))
    Z = X.astype(float) - p @ X.astype(float)
    rows = torch.from_numpy(X) if density == 1 else sparse.csr_array(X)
    return Samples(rows, torch.from_numpy(p)), Z, p


def assert_operator_is(G, expected, rng, V_dtype=torch.float64, tolerance=1e-10):
    n = G.n_samples
    assert expected.shape == (n, n)
    V = torch.from_numpy(rng.standard_normal((n, 4))).to(V_dtype)
    p = rng.dirichlet(np.ones(n))
    i, j = torch.from_numpy(rng.integers(0, n, (2, 70)))
    scale = max(1.0, np.abs(expected).sum(1).max())
    np.testing.assert_allclose(G.block(EVERYTHING, EVERYTHING), expected, atol=1e-10 * scale)
    np.testing.assert_allclose(G.pairs(i, j), expected[i, j], atol=1e-10 * scale)
    np.testing.assert_allclose(G @ V, expected @ V.double().numpy(), atol=tolerance * scale)
    Z = V.double().numpy()
    np.testing.assert_allclose(G.quadratic(V), Z.T @ expected @ Z, atol=tolerance * scale * n)
    weighted, P = G.quadratic(V, torch.from_numpy(3 * p)), np.diag(3 * p)
    np.testing.assert_allclose(weighted, Z.T @ P @ expected @ P @ Z, atol=tolerance * scale)
    np.testing.assert_allclose(G.row_means(), expected.mean(1), atol=1e-10 * scale)
    np.testing.assert_allclose(G.row_means(torch.from_numpy(p)), expected @ p, atol=1e-10 * scale)
    assert (G @ V).dtype == V_dtype
    assert G.quadratic(V).dtype == weighted.dtype == G.row_means().dtype == torch.float64


@pytest.mark.parametrize("relation", DEFINITIONS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_operator_equals_the_matrix(relation, dtype, tolerance, rng):
    Y = targets(relation, rng)
    assert_operator_is(make_relation(Y, RELATIONS[relation]), reference(Y, relation), rng, dtype, tolerance)


@pytest.mark.parametrize("relation", DEFINITIONS)
@pytest.mark.parametrize("n", [1, 2])
def test_one_and_two_samples(relation, n, rng):
    Y = targets(relation, rng)[:n]
    assert_operator_is(make_relation(Y, RELATIONS[relation]), reference(Y, relation), rng)
    assert_operator_is(make_relation(Y[[0] * n], RELATIONS[relation]), np.zeros((n, n)), rng)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("relation", DEFINITIONS)
def test_many_blocks(relation, missing, rng, monkeypatch):
    monkeypatch.setattr("skrelmetric._interop.torch._BLOCK_ELEMENTS", {"cpu": 1})
    Y = targets(relation, rng, n=150)
    Y = with_missing(Y, rng) if missing else Y
    with sklearn.config_context(working_memory=7 * 8 * len(Y) / 2**20):
        assert_operator_is(make_relation(Y, RELATIONS[relation]), reference(Y, relation), rng)


@pytest.mark.parametrize("relation", DEFINITIONS)
def test_block_takes_rows_and_columns(relation, rng):
    Y = targets(relation, rng)
    rows, columns = torch.tensor([3, 1]), torch.tensor([0, 5, 2])
    block = make_relation(Y, RELATIONS[relation]).block(rows, columns)
    np.testing.assert_allclose(block, reference(Y, relation)[np.ix_(rows, columns)], atol=1e-10)


@pytest.mark.parametrize("relation", DEFINITIONS)
@pytest.mark.parametrize("value", [0, 1])
def test_outputs_that_never_differ(relation, value, rng):
    # They add nothing to a sum over outputs, but count in what is divided by a size.
    Y = targets(relation, rng)
    Y = np.column_stack([np.full(len(Y), value), Y, np.full(len(Y), value)])
    assert_operator_is(make_relation(Y, RELATIONS[relation]), reference(Y, relation), rng)
    assert_operator_is(make_relation(Y[:, [0, -1]], RELATIONS[relation]), np.zeros((len(Y),) * 2), rng)


@pytest.mark.parametrize("relation", DEFINITIONS)
@pytest.mark.parametrize("n", [1, 2, 23])
def test_missing_labels_are_left_out_of_their_pairs(relation, n, rng):
    Y = with_missing(targets(relation, rng, n), rng)
    assert_operator_is(make_relation(Y, RELATIONS[relation]), reference(Y, relation), rng, tolerance=1e-12)
    assert_operator_is(make_relation(np.full((n, 2), np.nan), RELATIONS[relation]), np.zeros((n, n)), rng)


@pytest.mark.parametrize("relation", DEFINITIONS)
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize(
    "kind",
    [
        sparse.csr_matrix,
        sparse.csr_array,
        sparse.csc_matrix,
        sparse.coo_array,
        sparse.lil_matrix,
        sparse.lil_array,
        sparse.dok_array,
    ],
)
def test_sparse_targets_are_those_of_dense_ones(relation, missing, kind, rng):
    Y = np.abs(targets(relation, rng)) * 1.0
    Y = with_missing(Y, rng) if missing else Y
    G, expected = make_relation(kind(Y), RELATIONS[relation]), reference(Y, relation)
    assert_operator_is(G, expected, rng)
    if relation in FACTORED and not missing:
        assert isinstance(G.factor, sparse.csr_array)


@pytest.mark.parametrize("relation", [*FACTORED, "jaccard", "l1"])
def test_sparse_targets_with_explicit_zeros_and_duplicates(relation):
    # Entry (0, 1) is stored as 1/4 + 3/4, and (1, 0) as 0.
    Y = sparse.csr_array((np.array([0.25, 0.75, 0.0, 1.0]), np.array([1, 1, 0, 2]), np.array([0, 2, 4])), (2, 3))
    stored = Y.data.copy()
    G = make_relation(Y, relation)
    np.testing.assert_allclose(G.block(EVERYTHING, EVERYTHING), reference([[0, 1, 0], [0, 0, 1]], relation), atol=1e-12)
    np.testing.assert_array_equal(Y.data, stored)


@pytest.mark.parametrize("relation", FACTORED)
def test_wide_sparse_targets_stay_sparse(relation, rng, monkeypatch):
    n, n_labels, per_sample = 2_000, 1_000_000, 3
    indices = np.concatenate([np.sort(rng.choice(n_labels, per_sample, replace=False)) for _ in range(n)])
    indices[::per_sample] = rng.integers(0, 50, n)  # labels that samples share
    Y = sparse.csr_array(
        (rng.random(n * per_sample), indices, np.arange(0, n * per_sample + 1, per_sample)), (n, n_labels)
    )
    Y.sum_duplicates()
    Y.data[:] = np.ones(Y.nnz) if relation == "hamming" else Y.data
    V, p = torch.from_numpy(rng.standard_normal((n, 3))), torch.from_numpy(rng.dirichlet(np.ones(n)))

    def refuse(*args, **kwargs):
        raise AssertionError("sparse rows were made dense")

    tracemalloc.start()
    with monkeypatch.context() as patch:
        patch.setattr(sparse.csr_array, "toarray", refuse)
        patch.setattr(sparse.csr_array, "todense", refuse)
        G = make_relation(Y, relation)
        product, form, means = G @ V, G.quadratic(V, p), G.row_means(p)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * 8 * n_labels  # a few rows of labels; the dense targets are 2,000

    spans = map(slice, Y.indptr, Y.indptr[1:])
    rows = [dict(zip(Y.indices[at].tolist(), Y.data[at].tolist(), strict=True)) for at in spans]
    some, g = [0, 7, 1999], DEFINITIONS[relation]
    expected = np.array([[g([(rows[i].get(k, 0), v.get(k, 0)) for k in rows[i] | v]) for v in rows] for i in some])
    np.testing.assert_allclose(product[some], expected @ V.numpy(), atol=1e-9)
    np.testing.assert_allclose(means[some], expected @ p.numpy(), atol=1e-12)
    i = torch.tensor(some)
    np.testing.assert_allclose(G.block(i, torch.arange(40)), expected[:, :40], atol=1e-12)
    np.testing.assert_allclose(G.pairs(i, i.flip(0)), expected[range(3), some[::-1]], atol=1e-12)
    PV = p[:, None] * V
    np.testing.assert_allclose(form, PV.T @ (G @ PV), atol=1e-9)


@pytest.mark.parametrize("relation", DEFINITIONS)
@pytest.mark.parametrize("labels", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize(
    ("kind", "tolerance"), [("dense", 1e-11), ("dense32", 1e-6), ("sparse", 1e-11), ("filled", 1e-6)]
)
def test_quadratic_of_samples(relation, labels, kind, tolerance, rng, monkeypatch):
    monkeypatch.setattr("skrelmetric._interop.torch._BLOCK_ELEMENTS", {"cpu": 1})
    Y = np.abs(targets(relation, rng, n=70))
    samples, Z, p = samples_of(kind, rng, n=70)
    assert samples.multiplied_sparse == (kind == "sparse")
    G, expected = make_relation(labels(Y), RELATIONS[relation]), reference(Y, relation)
    scale = max(1.0, np.abs(expected).sum(1).max())
    for weights in (p, None):
        PZ = Z if weights is None else weights[:, None] * Z
        form = G.quadratic(samples, None if weights is None else torch.from_numpy(weights))
        assert form.dtype == torch.float64
        atol = tolerance * scale * (len(Z) if weights is None else 1)
        np.testing.assert_allclose(form, PZ.T @ expected @ PZ, rtol=0, atol=atol)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30), st.integers(0, 2**32 - 1))
def test_sorted_l1_on_any_numbers(values, seed):
    Y = np.array(values)
    # Rounding to tenths makes ties, which are what prefix sums get wrong first.
    assert_operator_is(make_relation(Y.round(1), "l1"), reference(Y.round(1), "l1"), np.random.default_rng(seed))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(list(DEFINITIONS)), st.integers(1, 40), st.booleans(), st.booleans(), st.integers(0, 2**32 - 1))
def test_symmetric_with_zero_diagonal_whatever_the_order_of_samples(relation, n, missing, is_sparse, seed):
    rng = np.random.default_rng(seed)
    Y = np.abs(targets(relation, rng, n))
    Y = with_missing(Y, rng) if missing else Y
    kind = sparse.csr_array if is_sparse else np.asarray
    G = make_relation(kind(Y), RELATIONS[relation]).block(EVERYTHING, EVERYTHING).numpy()
    order = rng.permutation(n)
    permuted = make_relation(kind(Y[order]), RELATIONS[relation])
    np.testing.assert_allclose(G, G.T, atol=1e-9)
    np.testing.assert_allclose(G.diagonal(), 0, atol=1e-9)
    assert (G > -1e-9).all()
    np.testing.assert_allclose(permuted.block(EVERYTHING, EVERYTHING), G[np.ix_(order, order)], atol=1e-9)
    V = rng.standard_normal((n, 2))
    np.testing.assert_allclose(permuted @ torch.from_numpy(V[order]), (G @ V)[order], atol=1e-9)


NAN = math.nan


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


def test_bound_relation_stands_for_its_own_samples(rng):
    G = make_relation(targets("l1", rng), "l1")
    assert make_relation(rng.random((23, 2)), G) is G
    for y in (np.zeros(22), sparse.csr_array((22, 3)), [[0, 1]] * 22):
        with pytest.raises(ValueError, match=r"operator over 23 samples, but y has 22\. In cross-validation"):
            make_relation(y, G)


@pytest.mark.parametrize(
    ("y", "ndim", "kind"),
    [
        ([0, 1, 2, 1], 1, "i"),
        ([0.5, 1, 2, 1], 1, "f"),
        (["ab", "ac", "bc", "ac"], 1, "U"),
        (np.array(["ab", "ac", "bc", "ac"], dtype=object), 1, "O"),
        (pd.Series(["ab", "ac", "bc", "ac"]), 1, "O"),
        ([[0, 1], [1, 1], [0, 2], [1, 1]], 2, "i"),
        (sparse.csr_matrix([[0, 1], [1, 1], [0, 2], [1, 1]]), 2, "f"),
        (sparse.coo_array([[0, 1], [1, 1], [0, 2], [1, 1]]), 2, "f"),
        (torch.tensor([[0, 1], [1, 1], [0, 2], [1, 1]]), 2, "i"),
    ],
)
def test_callable_takes_numpy_rows_of_the_target(y, ndim, kind, rng):
    received = []

    def differ(A, B):
        received.extend([A, B])
        return np.array([[float(np.any(a != b)) for b in B] for a in A]).reshape(len(A), len(B))

    G = make_relation(y, differ)
    expected = np.ones((4, 4)) - np.eye(4)
    expected[1, 3] = expected[3, 1] = 0
    assert_operator_is(G, expected, rng)
    assert isinstance(G, Pairwise)
    assert all(isinstance(A, np.ndarray) and A.ndim == ndim and A.dtype.kind == kind for A in received)


def test_callable_takes_rows_of_a_tensor_where_arrays_are_dispatched(rng):
    Y = torch.from_numpy(rng.random((9, 3)).round(1))
    with sklearn.config_context(array_api_dispatch=True):
        G = make_relation(Y, partial(torch.cdist, p=1))
    assert_operator_is(G, reference(Y, "l1"), rng)


@pytest.mark.parametrize("kind", [list, np.array, sparse.csr_array, torch.tensor])
def test_callable_is_evaluated_on_distinct_targets(kind, rng):
    distinct = np.array([[0, 0, 1], [1, 0, 1], [1, 1, 0], [0, 1, 1]])
    Y = distinct[rng.integers(0, 4, 300)]
    evaluated = []

    def g(A, B):
        evaluated.append(len(A) * len(B))
        return largest_difference(A, B)

    G = make_relation(kind(Y.tolist()), g)
    assert sum(evaluated) == 16  # once to see that it is symmetric
    for product in (
        lambda: G @ torch.ones(300, 2),
        lambda: G.quadratic(torch.ones(300, 2), torch.ones(300)),
        G.row_means,
    ):
        evaluated.clear()
        product()
        assert sum(evaluated) == 16


def test_callable_takes_blocks_of_rows_that_fit_working_memory(rng):
    lengths = []

    def g(A, B):
        lengths.append(len(A))
        return largest_difference(A, B)

    Y = rng.random((50, 2))
    with sklearn.config_context(working_memory=8 * 50 * 7.5 / 2**20):
        G = make_relation(Y, g)
        product = G @ torch.eye(50, dtype=torch.float64)
    np.testing.assert_allclose(product, reference(Y, "callable"), atol=1e-12)
    assert max(lengths) == 7
    assert lengths[-1] == 1


@pytest.mark.parametrize(
    ("g", "message"),
    [
        (lambda A, B: np.zeros(len(A)), r"returned shape \(3,\) for 3 and 3 targets\. .* all pairs, shape \(3, 3\)"),
        (lambda A, B: 1.0, r"returned shape \(\) for 3 and 3"),
        (lambda A, B: A - B, r"returned shape \(3, 2\)"),
        (lambda A, B: np.full((len(A), len(B)), NAN), "returned NaN or infinity"),
        (lambda A, B: np.full((len(A), len(B)), np.inf), "returned NaN or infinity"),
        (
            lambda A, B: A[:, None, 0] - B[None, :, 0],
            r"not symmetric: .* Return \(g\(Y_a, Y_b\) \+ g\(Y_b, Y_a\)\.T\) / 2",
        ),
        (lambda A, B: torch.zeros(len(A), 1), r"returned shape \(3, 1\)"),
    ],
)
def test_unfitting_callables_are_refused(g, message):
    with pytest.raises(ValueError, match=message):
        make_relation([[0, 1], [1, 1], [2, 0], [1, 1]], g)


def test_callable_is_checked_in_every_block():
    Y = np.arange(300.0)

    def g(A, B):
        return np.where(A[:, None] + B > 500, NAN, abs(A[:, None] - B))

    G = make_relation(Y, g)
    with pytest.raises(ValueError, match="returned NaN or infinity"):
        G @ torch.ones(300, 1)


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
        make_relation(np.array([[{}], [[]]], dtype=object))


KINDS = {"dense": lambda Y, rng: Y, "missing": with_missing, "sparse": lambda Y, rng: sparse.csr_array(Y - Y.min())}
SOME = [torch.tensor([3, 1, 20, 11, 3]), torch.tensor([22]), slice(4, 17), slice(5, 6), slice(1, None, 4)]


def relation_and_matrix(relation, kind, rng, n=23):
    """An operator over targets that are dense, partly missing or sparse, and its matrix by definition."""
    Y = KINDS[kind](targets(relation, rng, n) * 1.0, rng)
    return make_relation(Y, RELATIONS[relation]), reference(Y.toarray() if sparse.issparse(Y) else Y, relation)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("relation", DEFINITIONS)
def test_products_go_through_the_samples_in_chunks(relation, kind, rng):
    G, expected = relation_and_matrix(relation, kind, rng)
    V = torch.from_numpy(rng.standard_normal((23, 3)))
    tolerance = {"rtol": 0, "atol": 1e-11 * max(1.0, np.abs(expected).sum(1).max())}
    for size in (1, 4, 23):
        chunks = [slice(start, min(start + size, 23)) for start in range(0, 23, size)]
        collected = None
        for rows in chunks:
            collected = G.collect(V[rows], rows, collected)
        product = G.core(collected)
        chunked = torch.cat([G.spread(product, rows) for rows in chunks])
        np.testing.assert_allclose(chunked, G @ V, **tolerance)
        np.testing.assert_allclose(chunked, expected @ V.numpy(), **tolerance)
        np.testing.assert_allclose(collected.T @ product, V.numpy().T @ expected @ V.numpy(), **tolerance)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("relation", DEFINITIONS)
def test_sums_are_double_and_rows_of_a_product_have_its_dtype(relation, kind, rng):
    G, expected = relation_and_matrix(relation, kind, rng)
    V = torch.from_numpy(rng.standard_normal((23, 3))).to(torch.float32)
    product = G.core(G.collect(V))
    assert product.dtype == G.spread(product).dtype == torch.float64
    rows = G.spread(product.to(torch.float32), slice(3, 9))
    assert rows.dtype == torch.float32
    exact = expected[3:9] @ V.double().numpy()
    np.testing.assert_allclose(rows, exact, rtol=0, atol=1e-5 * max(1.0, float(product.abs().max())))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("relation", DEFINITIONS)
def test_relation_of_some_samples_is_the_submatrix(relation, kind, rng):
    G, expected = relation_and_matrix(relation, kind, rng)
    for rows in SOME:
        some, index = G[rows], np.arange(23)[rows if isinstance(rows, slice) else rows.numpy()]
        assert type(some) is type(G)
        assert_operator_is(some, expected[np.ix_(index, index)], rng)
    assert_operator_is(G, expected, rng)  # is as it was


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("relation", DEFINITIONS)
def test_pairs_are_entries_of_the_matrix(relation, kind, rng):
    G, expected = relation_and_matrix(relation, kind, rng)
    i, j = torch.cartesian_prod(torch.arange(23), torch.arange(23)).T
    tolerance = {"rtol": 0, "atol": 1e-10 * max(1.0, expected.max())}
    np.testing.assert_allclose(G.pairs(i, j).reshape(23, 23), expected, **tolerance)
    for count in (1, 2, 33):
        np.testing.assert_allclose(G.pairs(i[:count], j[-count:]), expected[i[:count], j[-count:]], **tolerance)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("relation", DEFINITIONS)
@pytest.mark.parametrize("n", [1, 2, 23])
def test_mean_square(relation, kind, n, rng):
    G, expected = relation_and_matrix(relation, kind, rng, n)
    p = rng.dirichlet(np.ones(n))
    p[0] = 0 if n > 2 else p[0]
    p /= p.sum()
    mean_square = G.mean_square(torch.from_numpy(p))
    assert mean_square.dtype == torch.float64
    assert float(mean_square) == pytest.approx(p @ expected**2 @ p, rel=1e-10, abs=1e-12)


@pytest.mark.parametrize(("relation", "tolerance"), [("l1", 0.02), ("discrete", 0.02), ("hamming", 1e-10)])
def test_mean_square_of_many_samples_is_estimated_where_there_is_no_form(relation, tolerance, rng):
    n = 1100
    Y = targets(relation, rng, n)
    p = torch.from_numpy(rng.dirichlet(np.full(n, 0.5)))
    p[:100] = 0
    p /= p.sum()
    G = make_relation(Y, relation)
    expected = p @ G.block(EVERYTHING, EVERYTHING).square() @ p
    state = torch.get_rng_state()
    estimate = G.mean_square(p)
    assert torch.equal(torch.get_rng_state(), state)
    assert float(estimate) == pytest.approx(float(expected), rel=tolerance)
    torch.manual_seed(7)
    assert float(G.mean_square(p)) == float(make_relation(Y, relation).mean_square(p)) == float(estimate)


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
