"""The relation of given pairs."""

import numpy as np
import pytest
import torch

from skrelmetric import HRAMLTransformer, RAMLLinear
from skrelmetric.relations import GivenPairs, _given, make_relation
from tests.relations.definitions import assert_operator_is

N = 23


def pairs_and_matrix(rng, n_pairs=60):
    """Pairs of each kind, in any order and some of them twice, and the matrix that they are to make."""
    matrix = np.full((N, N), 0.5)
    np.fill_diagonal(matrix, 0)
    i, j = np.triu_indices(N, 1)
    chosen = rng.permutation(len(i))[:n_pairs]
    kinds = []
    for value, some in enumerate(np.split(chosen, [n_pairs // 3])):
        matrix[i[some], j[some]] = matrix[j[some], i[some]] = value
        pairs = np.stack([i[some], j[some]], 1)
        pairs[::2] = pairs[::2, ::-1]
        kinds.append(np.concatenate([pairs, pairs[:5, ::-1]]))
    return *kinds, matrix


@pytest.mark.parametrize("at_once", [2**14, 7])
def test_operator_equals_the_matrix(at_once, rng, monkeypatch):
    monkeypatch.setattr(_given, "_PAIRS_AT_ONCE", at_once)
    similar, dissimilar, matrix = pairs_and_matrix(rng)
    G = GivenPairs(similar, dissimilar, n_samples=N)
    assert_operator_is(G, matrix, rng)
    assert len(G.similar) == 20
    assert len(G.dissimilar) == 40
    for some in (torch.tensor([3, 1, 20, 11, 3]), torch.tensor([22]), slice(4, 17)):
        places = torch.arange(N)[some].numpy()
        assert_operator_is(G[some], matrix[np.ix_(places, places)], rng)
    rows, columns = torch.tensor([3, 1]), slice(0, 5)
    np.testing.assert_array_equal(G.block(rows, columns), matrix[rows, columns])


@pytest.mark.parametrize("none", [None, [], np.zeros((0, 2), dtype=int)])
def test_one_kind_of_pairs(none, rng):
    matrix = np.array([[0, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0]])
    assert_operator_is(GivenPairs([[2, 0]], none, n_samples=3), matrix, rng)
    matrix[0, 2] = matrix[2, 0] = 1
    assert_operator_is(GivenPairs(none, torch.tensor([[2, 0]]), n_samples=3), matrix, rng)


@pytest.mark.parametrize(
    ("similar", "dissimilar", "words"),
    [
        ([[0, 5]], None, "`similar` holds 5, but the 5 samples are 0 to 4"),
        ([[0, 1]], [[-1, 2]], "`dissimilar` holds -1, but the 5 samples"),
        ([[0, 1], [3, 3]], None, "`similar` pairs sample 3 with itself"),
        ([[0, 1], [2, 4]], [[0, 3], [4, 2]], r"\(2, 4\) is given as similar and as dissimilar"),
        ([[0.0, 1.0]], None, "dtype float64, but places of samples are needed"),
        ([[True, False]], None, "dtype bool"),
        ([["a", "b"]], None, "dtype <U1"),
        ([0, 1], None, r"shape \(2,\)"),
        ([[0, 1, 2]], None, r"shape \(1, 3\)"),
        ([[0, 1], [2]], None, "rows of several lengths"),
        (None, [], "No pairs are given"),
    ],
)
def test_what_is_no_pair_is_refused(similar, dissimilar, words):
    with pytest.raises(ValueError, match=words):
        GivenPairs(similar, dissimilar, n_samples=5)


@pytest.mark.parametrize("n_samples", [1, 2.0, None])
def test_a_number_of_samples_is_needed(n_samples):
    with pytest.raises(ValueError, match="must be a whole number of at least 2"):
        GivenPairs([[0, 1]], n_samples=n_samples)


def test_estimators_with_targets_take_it_as_any_other(rng):
    similar, dissimilar, matrix = pairs_and_matrix(rng)
    X, places = rng.standard_normal((N, 4)), np.arange(N)
    G = GivenPairs(similar, dissimilar, n_samples=N)

    def named(A, B):
        return matrix[A.astype(int)][:, B.astype(int)]

    for make in (RAMLLinear, lambda relation: HRAMLTransformer(relation=relation, max_epochs=2, random_state=0)):
        given, expected = (make(relation=relation).fit(X, places).transform(X) for relation in (G, named))
        np.testing.assert_allclose(given, expected, atol=1e-5)
    with pytest.raises(ValueError, match="relation holds pairs of 23 samples, but a fit to 22"):
        RAMLLinear(relation=G).fit(X[1:], places[1:])
    assert make_relation(places, G).n_samples == N


def test_metrics_of_given_pairs_need_no_targets(rng):
    similar, dissimilar, _ = pairs_and_matrix(rng)
    X, G = rng.standard_normal((N, 4)), GivenPairs(similar, dissimilar, n_samples=N)
    for metric in (RAMLLinear(relation=G), HRAMLTransformer(relation=G, random_state=0)):
        expected = metric.fit(X, rng.integers(5, size=N)).transform(X)
        np.testing.assert_array_equal(metric.fit(X).transform(X), expected)
        np.testing.assert_allclose(metric.fit_transform(X), expected, atol=1e-10)
    with pytest.raises(ValueError, match="requires y to be passed"):
        RAMLLinear().fit(X)


def test_its_name_is_short():
    G = GivenPairs([[0, 1], [1, 2]], [[0, 2]], n_samples=4)
    assert repr(RAMLLinear(relation=G)) == "RAMLLinear(relation=GivenPairs(2 similar, 1 dissimilar, n_samples=4))"
