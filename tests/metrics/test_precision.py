import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from skrelmetric import metrics
from skrelmetric.metrics import label_propensities, precision_at_k, propensity_scored_precision_at_k
from tests.metrics.test_multilabel import labels_and_scores

TIES = ("worst", "index", "best")


def top_labels(scores, gains, k, ties):
    """Labels ranked highest of one sample, by sorting in words."""
    before = {"worst": -gains, "best": gains, "index": np.arange(len(gains))}[ties]
    return sorted(range(len(scores)), key=lambda label: (scores[label], before[label]), reverse=True)[:k]


@settings(max_examples=100, deadline=None)
@given(labels_and_scores(), st.sampled_from(TIES), st.randoms(use_true_random=False))
def test_both_precisions_are_those_of_sorted_labels(case, ties, random):
    Y, scores = case
    n, q = Y.shape
    propensities = np.array([random.uniform(0.1, 1) for _ in range(q)])
    weights = np.array([random.choice([1, 2, 3]) for _ in range(n)])
    ks = list(range(1, q + 1))
    plain, scored = [], []
    for k in ks:
        tops = [top_labels(s, y, k, ties) for s, y in zip(scores, Y, strict=True)]
        plain.append(np.average([y[top].sum() / k for y, top in zip(Y, tops, strict=True)], weights=weights))
        gains = Y / propensities
        tops = [top_labels(s, g, k, ties) for s, g in zip(scores, gains, strict=True)]
        reached = sum(w * g[top].sum() for w, g, top in zip(weights, gains, tops, strict=True))
        best = sum(w * np.sort(g)[::-1][:k].sum() for w, g in zip(weights, gains, strict=True))
        scored.append(reached / best if best else 0)
    choices = {"ties": ties, "sample_weight": weights}
    np.testing.assert_allclose(precision_at_k(Y, scores, ks, **choices), plain)
    computed = propensity_scored_precision_at_k(Y, scores, ks, propensities=propensities, **choices)
    np.testing.assert_allclose(computed, scored)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 12), st.sampled_from(TIES))
def test_sparse_scores_are_those_made_dense(seed, n, q, ties):
    rng = np.random.default_rng(seed)
    Y = (rng.random((n, q)) < rng.random()).astype(rng.choice([int, bool, float]))
    scores = rng.integers(-2, 4, (n, q)) * (rng.random((n, q)) < rng.random()) / 2
    options = {"ties": ties, "sample_weight": rng.integers(1, 4, n)}
    propensities, ks = rng.uniform(0.1, 1, q), list(range(1, q + 1))
    plain = precision_at_k(Y, scores, ks, **options)
    scored = propensity_scored_precision_at_k(Y, scores, ks, propensities=propensities, **options)
    for labels in (sparse.csr_matrix(Y), sparse.coo_array(Y), Y):
        for given_scores in (sparse.csr_matrix(scores), sparse.csc_array(scores)):
            np.testing.assert_allclose(precision_at_k(labels, given_scores, ks, **options), plain)
            found = propensity_scored_precision_at_k(labels, given_scores, ks, propensities=propensities, **options)
            np.testing.assert_allclose(found, scored)


def test_sparse_scores_by_hand():
    Y = sparse.csr_array([[1, 0, 0, 1, 0], [0, 1, 1, 0, 0]])
    top = sparse.csr_array([[0.9, 0.5, 0, 0, 0], [0, 0, 0.7, 0, 0]])
    assert precision_at_k(Y, top, 2) == 0.5  # of the second sample one label is ranked, and irrelevant ones follow
    assert precision_at_k(Y, top, 2, ties="best") == 0.75
    assert precision_at_k(Y, top, 3, ties="index") == pytest.approx(1 / 3)  # the last label is the next


def test_sparse_labels_and_scores_with_zeros_and_duplicates():
    starts, columns = np.array([0, 4]), np.array([0, 0, 2, 3])
    Y = sparse.csr_matrix((np.array([0.5, 0.5, 1, 0]), columns, starts), (1, 5))
    scores = sparse.csr_matrix((np.array([0.25, 0.5, 0, 0.5]), columns, starts), (1, 5))
    for k in (1, 2, 4):
        assert precision_at_k(Y, scores, k) == precision_at_k(Y.toarray(), scores.toarray(), k)
    assert Y.nnz == scores.nnz == 4
    three = sparse.vstack([Y, Y, Y]).tocsr()
    np.testing.assert_array_equal(label_propensities(three), label_propensities(three.toarray()))
    with pytest.raises(ValueError, match="y_true must be a 0/1 label indicator, but it holds .*0.75"):
        precision_at_k(scores, scores, 1)


def test_many_labels_stay_sparse(rng, monkeypatch):
    n, q = 2000, 100_000
    Y, top = (
        sparse.csr_matrix((entries, rng.integers(0, q, 4 * n), np.arange(n + 1) * 4), (n, q))
        for entries in (np.ones(4 * n), rng.random(4 * n))
    )
    Y.sum_duplicates()
    Y.data[:] = 1
    top = sparse.vstack([Y[:500], top[500:]]).tocsr()
    original = sparse.csr_array.toarray

    def small(array, *args, **options):
        assert np.prod(array.shape, dtype=float) < n * 100, "labels were made dense"
        return original(array, *args, **options)

    for kind in (sparse.csr_array, sparse.csr_matrix):
        monkeypatch.setattr(kind, "toarray", small)
    assert 0.15 < precision_at_k(Y, top, 5) < 0.25
    propensities = label_propensities(Y)
    assert 0.2 < propensity_scored_precision_at_k(Y, top, 5, propensities=propensities) < 0.3


def test_ties_by_hand():
    Y, scores = [[1, 0, 0, 1]], [[0.9, 0.1, 0.9, 0.1]]
    assert [precision_at_k(Y, scores, ties=ties) for ties in TIES] == [0, 0, 1]
    assert [precision_at_k(Y, scores, 3, ties=ties) for ties in TIES] == pytest.approx([1 / 3, 2 / 3, 2 / 3])
    # Of two relevant labels of one score, the frequent one, of gain 1, or the rare one, of gain 4.
    tied = [propensity_scored_precision_at_k([[1, 1]], [[0, 0]], propensities=[0.25, 1], ties=ties) for ties in TIES]
    assert tied == [0.25, 0.25, 1]


def test_precision_at_1_is_one_error(rng):
    Y, scores = (rng.random((50, 4)) < 0.4).astype(int), rng.random((50, 4)).round(1)
    Y[Y.sum(1) == 0, 0] = 1
    for ties in TIES:
        assert precision_at_k(Y, scores, ties=ties) == pytest.approx(1 - metrics.one_error(Y, scores, ties=ties))


def test_one_number_or_several(rng):
    Y, scores = (rng.random((20, 4)) < 0.4).astype(int), rng.random((20, 4))
    alone = [precision_at_k(Y, scores, k) for k in (1, 3)]
    assert all(isinstance(value, float) for value in alone)
    np.testing.assert_array_equal(precision_at_k(Y, scores, (1, 3)), alone)
    assert precision_at_k(Y, scores, [3]).shape == (1,)
    same = propensity_scored_precision_at_k(Y, scores, np.array([1, 3]), propensities=np.ones(4))
    assert same.shape == (2,)
    assert isinstance(propensity_scored_precision_at_k(Y, scores, 1, propensities=np.ones(4)), float)


def test_samples_without_labels():
    Y, scores = np.array([[1, 0], [0, 0]]), np.array([[0.9, 0.1], [0.2, 0.3]])
    assert precision_at_k(Y, scores) == 0.5
    assert propensity_scored_precision_at_k(Y, scores, propensities=[0.3, 0.6]) == 1
    assert propensity_scored_precision_at_k(0 * Y, scores, propensities=[0.3, 0.6]) == 0


def test_scored_precision_reads_what_the_others_read(rng):
    Y, scores = (rng.random((20, 4)) < 0.4).astype(int), rng.random((20, 4))
    propensities = label_propensities(Y)
    expected = propensity_scored_precision_at_k(Y, scores, 2, propensities=propensities)
    columns = [np.column_stack([1 - s, s]) for s in scores.T]
    for labels, answer in ((sparse.csr_array(Y), scores), (Y.tolist(), columns)):
        assert propensity_scored_precision_at_k(labels, answer, 2, propensities=propensities.tolist()) == expected


def test_propensities_of_the_paper(rng):
    Y = (rng.random((40, 5)) < [0, 0.1, 0.3, 0.6, 1]).astype(int)
    C = (np.log(40) - 1) * (1.5 + 1) ** 0.55
    expected = [1 / (1 + C * np.exp(-0.55 * np.log(Y[:, label].sum() + 1.5))) for label in range(5)]
    np.testing.assert_allclose(label_propensities(Y), expected)
    for kind in (sparse.csr_matrix, sparse.csc_array, sparse.lil_array, np.ndarray.tolist):
        np.testing.assert_array_equal(label_propensities(kind(Y)), label_propensities(Y))
    np.testing.assert_array_equal(label_propensities(sparse.csr_array(Y == 1)), label_propensities(Y))
    assert (np.diff(label_propensities(Y, a=0.6, b=2.6)) > 0).all()
    assert label_propensities(Y[:3]).max() < 1


@pytest.mark.parametrize("k", [0, -1, 1.0, True, [], [1, 0], [[1]], "1", None])
def test_bad_k(k):
    with pytest.raises(ValueError, match="is not a number of labels. Pass an integer from 1 on"):
        precision_at_k([[1, 0]], [[0.2, 0.1]], k)


def test_bad_input():
    Y, scores = [[1, 0]], [[0.2, 0.1]]
    with pytest.raises(ValueError, match="k=3, but there are only 2 labels"):
        precision_at_k(Y, scores, [1, 3])
    with pytest.raises(ValueError, match="k=3, but there are only 2 labels"):
        propensity_scored_precision_at_k(Y, scores, 3, propensities=[1, 1])
    with pytest.raises(ValueError, match="ties='mean' is not known. Choose one of"):
        precision_at_k(Y, scores, ties="mean")
    for propensities, message in (
        ([0.5], "shape \\(1,\\), but there are 2 labels"),
        ([0.5, 0], "holds 0, but they are probabilities above 0"),
        ([1.5, 1], "holds 1.5"),
        ([np.nan, 1], "holds nan"),
    ):
        with pytest.raises(ValueError, match=message):
            propensity_scored_precision_at_k(Y, scores, propensities=propensities)
    with pytest.raises(ValueError, match="y_train must be a 0/1 label indicator, but it holds .*2"):
        label_propensities(sparse.csr_array([[1, 0], [2, 0], [0, 1]]))
    with pytest.raises(ValueError, match="minimum of 3 is required"):
        label_propensities([[1, 0], [0, 1]])
    with pytest.raises(ValueError, match="a == -1, must be >= 0"):
        label_propensities([[1], [0], [0]], a=-1)
    with pytest.raises(ValueError, match="b == 0, must be > 0"):
        label_propensities([[1], [0], [0]], b=0)
