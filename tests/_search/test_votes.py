"""Sums over neighbours of sparse targets, tallies of them, and the most probable labels: those of dense ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn import config_context

from skrelmetric._search.votes import Voted, dense, most_probable, probable, tallies, votes_of_each, weighted_sum
from skrelmetric.neighbors import posterior_table


@pytest.fixture
def voting(rng):
    """Indicator of labels, one that nobody has and one that all have, and neighbours of some queries."""
    Y = (rng.random((40, 12)) < rng.random(12) / 2).astype(np.int32)
    Y[:, 3], Y[:, 4], Y[7] = 0, 1, 0
    return Y, np.argsort(rng.random((40, 40)), axis=1)[:, :6]


def first(probabilities, n_labels):
    """Most probable labels of one sample, by sorting in words."""
    order = sorted(range(len(probabilities)), key=lambda label: (-probabilities[label], label))
    return sorted(label for label in order[:n_labels] if probabilities[label] > 0)


def assert_most_probable(found, probabilities, n_labels):
    assert isinstance(found, sparse.csr_matrix)
    assert found.shape == probabilities.shape
    for row, expected in zip(found, probabilities, strict=True):
        assert row.indices.tolist() == first(expected, n_labels)
        np.testing.assert_array_equal(row.data, expected[row.indices])


def test_votes_are_those_of_dense_targets(voting):
    Y, indices = voting
    numbers = [1, 2, 5, 6]
    of_each = list(votes_of_each(sparse.csr_array(Y), indices, numbers))
    for number, votes, expected in zip(numbers, of_each, votes_of_each(Y, indices, numbers), strict=True):
        np.testing.assert_array_equal(votes.toarray(), Y[indices[:, :number]].sum(1))
        np.testing.assert_array_equal(votes.toarray(), expected)
        np.testing.assert_array_equal(votes.indices, of_each[-1].indices)


def test_weighted_sums_leave_out_what_was_not_found(voting, rng):
    Y, indices = voting
    weights = rng.random(indices.shape)
    np.testing.assert_allclose(
        weighted_sum(sparse.csr_array(Y), indices, weights).toarray(), weighted_sum(Y, indices, weights)
    )
    indices[::2, 4:] = -1
    expected = (np.where(indices < 0, 0, weights)[:, :, None] * Y[indices]).sum(1)
    np.testing.assert_allclose(weighted_sum(sparse.csr_array(Y), indices, weights).toarray(), expected)


@pytest.mark.parametrize("smoothing", [0.0, 1.0])
def test_tallies_and_posteriors_are_those_of_dense_votes(smoothing, voting):
    Y, indices = voting
    thin = sparse.csr_array(Y)
    for number, votes in zip([4, 6], votes_of_each(thin, indices, [4, 6]), strict=True):
        for found, expected in zip(tallies(votes, thin, number), tallies(votes.toarray(), Y, number), strict=True):
            np.testing.assert_array_equal(found, expected)
        table = posterior_table(votes, thin, number, smoothing)
        np.testing.assert_array_equal(table, posterior_table(votes.toarray(), Y, number, smoothing))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.integers(1, 9))
def test_most_probable_and_probable_labels(seed, n_samples, n_classes):
    rng = np.random.default_rng(seed)
    n_labels = int(rng.integers(1, n_classes + 1))
    levels = np.array([0.0, 0.25, 0.5, 0.75, 1.0])  # most are ties
    has, others = rng.random((n_samples, n_classes)) < rng.random(), rng.choice(levels, n_classes)
    P = np.where(has, rng.choice(levels, has.shape), others)
    starts = np.append(0, has.sum(1).cumsum())
    voted = Voted(sparse.csr_array((P[has], has.nonzero()[1], starts), P.shape), others)
    np.testing.assert_array_equal(dense(voted), P)
    for kind in (voted, P, sparse.csr_array(P)):
        assert_most_probable(most_probable(kind, n_labels), P, n_labels)
        np.testing.assert_array_equal(probable(kind).toarray(), P >= 0.5)


def test_most_probable_labels_of_dense_rows_in_batches(rng):
    P = rng.random((300, 40)).round(1)
    with config_context(working_memory=0.01):
        assert_most_probable(most_probable(P, 7), P, 7)
