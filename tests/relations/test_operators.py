"""Operators equal the matrices of the definitions."""

import tracemalloc

import numpy as np
import pytest
import sklearn
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from skrelmetric._data.samples import Samples
from skrelmetric.relations import make_relation
from tests.relations.definitions import (
    DEFINITIONS,
    EVERYTHING,
    FACTORED,
    RELATIONS,
    assert_operator_is,
    reference,
    targets,
    with_missing,
)


def samples_of(kind, rng, n=23):
    """Samples of a kind, their centred rows in float64, and their weights."""
    density, dtype = {"dense": (1, "f8"), "dense32": (1, "f4"), "sparse": (0.04, "f8"), "filled": (0.5, "f4")}[kind]
    X = (rng.standard_normal((n, 12)) * (rng.random((n, 12)) < density) + (density == 1)).astype(dtype)
    p = rng.dirichlet(np.ones(n))
    Z = X.astype(float) - p @ X.astype(float)
    rows = torch.from_numpy(X) if density == 1 else sparse.csr_array(X)
    return Samples(rows, torch.from_numpy(p)), Z, p


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
    n, n_labels, per_sample = 2_000, 300_000, 3
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
