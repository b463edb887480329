import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from skrelmetric.relations import AbsoluteDifference, ClassDifference, Factored, make_relation

# g(y_i, y_j), each from its definition.
DEFINITIONS = {
    "hamming": lambda u, v: sum(a != b for a, b in zip(u, v, strict=True)),
    "discrete": lambda u, v: sum(a != b for a, b in zip(u, v, strict=True)),
    "l1": lambda u, v: sum(abs(a - b) for a, b in zip(u, v, strict=True)),
    "sqeuclidean": lambda u, v: sum((a - b) ** 2 for a, b in zip(u, v, strict=True)),
}


def reference(Y, relation):
    Y = np.asarray(Y) if np.asarray(Y).dtype != bool else np.asarray(Y).astype(int)
    rows = Y.reshape(len(Y), -1).tolist()
    return np.array([[float(DEFINITIONS[relation](u, v)) for v in rows] for u in rows])


def targets(relation, rng, n=23):
    return {
        "hamming": (rng.random((n, 5)) < 0.4).astype(int),
        "discrete": rng.integers(0, 4, (n, 2)),
        "l1": np.vstack([rng.dirichlet(np.ones(4), n - 3), np.full((3, 4), 0.25)]),
        "sqeuclidean": rng.standard_normal((n, 3)) + 100,
    }[relation]


def assert_operator_is(G, expected, rng, V_dtype=torch.float64, tolerance=1e-10):
    n = len(expected)
    V = torch.from_numpy(rng.standard_normal((n, 4))).to(V_dtype)
    scale = max(1.0, np.abs(expected).sum(1).max())
    everything = slice(None)
    np.testing.assert_allclose(G.block(everything, everything), expected, atol=1e-10 * scale)
    np.testing.assert_allclose(G @ V, expected @ V.double().numpy(), atol=tolerance * scale)
    Z = V.double().numpy()
    np.testing.assert_allclose(G.quadratic(V), Z.T @ expected @ Z, atol=tolerance * scale * n)
    np.testing.assert_allclose(G.row_means(), expected.mean(1), atol=1e-10 * scale)
    assert (G @ V).dtype == V_dtype
    assert G.quadratic(V).dtype == torch.float64


@pytest.mark.parametrize("relation", DEFINITIONS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_operator_equals_the_matrix(relation, dtype, tolerance, rng):
    Y = targets(relation, rng)
    assert_operator_is(make_relation(Y, relation), reference(Y, relation), rng, dtype, tolerance)


@pytest.mark.parametrize("relation", DEFINITIONS)
@pytest.mark.parametrize("n", [1, 2])
def test_one_and_two_samples(relation, n, rng):
    Y = targets(relation, rng)[:n]
    assert_operator_is(make_relation(Y, relation), reference(Y, relation), rng)


def test_many_blocks(rng, monkeypatch):
    monkeypatch.setattr("skrelmetric._torch._BLOCK_ELEMENTS", {"cpu": 1})
    for relation in DEFINITIONS:
        Y = targets(relation, rng, n=200)
        assert_operator_is(make_relation(Y, relation), reference(Y, relation), rng)


def test_block_takes_rows_and_columns(rng):
    for relation in DEFINITIONS:
        Y = targets(relation, rng)
        rows, columns = torch.tensor([3, 1]), torch.tensor([0, 5, 2])
        block = make_relation(Y, relation).block(rows, columns)
        np.testing.assert_allclose(block, reference(Y, relation)[np.ix_(rows, columns)], atol=1e-10)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30), st.integers(0, 2**32 - 1))
def test_sorted_l1_on_any_numbers(values, seed):
    Y = np.array(values)
    # Rounding to tenths makes ties, which are what prefix sums get wrong first.
    assert_operator_is(make_relation(Y.round(1), "l1"), reference(Y.round(1), "l1"), np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("y", "relation"),
    [
        ([0, 1, 1, 0], "discrete"),
        (["a", "b", "c", "a"], "discrete"),
        ([[0, 1], [1, 1], [1, 0], [0, 0]], "hamming"),
        ([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0], [0.0, 0.0]], "hamming"),
        ([[False, True], [True, True]], "hamming"),
        ([[0], [1], [1]], "discrete"),
        ([[0, 2], [1, 1], [1, 0], [0, 0]], "discrete"),
        ([0.5, 1.25, 2.0, 0.1], "l1"),
        ([[0.5, 0.5], [0.1, 0.9], [1.0, 0.0], [0.3, 0.7]], "l1"),
    ],
)
def test_auto_goes_by_the_type_of_target(y, relation):
    everything = slice(None)
    np.testing.assert_allclose(make_relation(y).block(everything, everything), reference(y, relation), atol=1e-12)
    kinds = {"hamming": Factored, "discrete": ClassDifference, "l1": AbsoluteDifference}
    assert type(make_relation(y)) is kinds[relation]


@pytest.mark.parametrize(
    "kind", [sparse.csr_matrix, sparse.csr_array, sparse.csc_matrix, sparse.lil_matrix, sparse.lil_array]
)
def test_sparse_label_formats(kind, rng):
    Y = targets("hamming", rng)
    assert_operator_is(make_relation(kind(Y)), reference(Y, "hamming"), rng)


def test_discrete_is_hamming_for_two_classes(rng):
    Y = targets("hamming", rng)
    V = torch.from_numpy(rng.standard_normal((len(Y), 3)))
    np.testing.assert_allclose(make_relation(Y, "hamming") @ V, make_relation(Y, "discrete") @ V, atol=1e-12)


@pytest.mark.parametrize(
    ("y", "relation", "message"),
    [
        ([[0, 1], [1, 0]], "haming", "Did you mean 'hamming'"),
        ([[0, 1], [1, 0]], "zzz", r"relation='zzz' is not known\. Choose one of"),
        ([[0, 2], [1, 0]], "hamming", "0/1 indicators, but y holds 2"),
        ([[2, 0], [2, 1]], "hamming", "0/1 indicators, but y holds 2"),
        (["a", "b"], "l1", "compares numbers"),
        (["a", "a"], "l1", "compares numbers"),
        ([[1], [2, 3]], "auto", "MultiLabelBinarizer"),
        ([[0.0, np.inf], [1, 0]], "l1", "contains infinity"),
        ([[0.0, -0.1], [1, 0]], "hellinger", "y holds -0.1"),
        ([[0.0, -0.1], [1, 0]], "jeffreys", "y holds -0.1"),
        ([[0.0, 0.5], [1, 0]], "jaccard", "0/1 indicators, but y holds 0.5"),
        ([], "auto", "0 sample"),
        (np.zeros((2, 2, 2)), "auto", "dim 3"),
    ],
)
def test_unfitting_targets_are_refused(y, relation, message):
    with pytest.raises(ValueError, match=message):
        make_relation(y, relation)


def test_auto_refuses_what_it_cannot_tell():
    with pytest.raises(ValueError, match="Unknown label type|cannot tell"):
        make_relation(np.array([[{}], [[]]], dtype=object))
