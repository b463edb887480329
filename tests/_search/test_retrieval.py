import numpy as np
import pytest
import sklearn
import torch

from skrelmetric._search.retrieval import retrieve
from tests.metrics.retrieved import calculated, make_samples, reference, scores


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_ties_count_against_the_ranking(rng, dtype):
    y = np.repeat([0, 1, 2], 10)
    collapsed = np.tile(rng.standard_normal(64).astype(dtype) + 100, (30, 1))
    assert scores(collapsed, y) == [0, 0, 0, 0, 0, 0]
    # Groups of copies: within a group everything ties, and rounding is not what decides.
    points = rng.standard_normal((6, 64)).astype(dtype)
    X, y = np.repeat(points, 10, axis=0), rng.integers(0, 3, 60)
    assert scores(X, y) == pytest.approx(reference(X, y), rel=1e-6)
    X = rng.integers(0, 3, (60, 2)).astype(dtype)
    assert scores(X, y) == pytest.approx(reference(X, y), rel=1e-6)


def test_order_of_samples_does_not_matter(rng):
    X, y = rng.integers(0, 3, (80, 3)).astype(float) / 7, rng.integers(0, 4, 80)
    expected = scores(X, y)
    for _ in range(3):
        order = rng.permutation(80)
        assert scores(X[order], y[order]) == pytest.approx(expected)
        assert scores(X, y, X_reference=X[order], y_reference=y[order]) == pytest.approx(
            scores(X, y, X_reference=X, y_reference=y)
        )


def test_each_query_has_its_own_results_in_its_own_place(rng):
    X, y = (torch.from_numpy(array) for array in make_samples(rng))
    found = retrieve(X, y)
    for i in range(len(X)):
        others = torch.arange(len(X)) != i
        alone = retrieve(X[i : i + 1], y[i : i + 1], (X[others], y[others]))
        assert [float(all_of_them[i]) for all_of_them in found] == pytest.approx([float(one) for one in alone])


def test_blocks_do_not_show(rng):
    X, y = make_samples(rng, 300)
    halves = X[::2], y[::2]
    others = {"X_reference": X[1::2], "y_reference": y[1::2]}
    expected, expected_of_halves = scores(X, y), scores(*halves, **others)
    for rows in (1, 7):
        with sklearn.config_context(working_memory=rows * 4 * 8 * 300 / 2**20):
            assert scores(X, y) == pytest.approx(expected)
            assert scores(*halves, **others) == pytest.approx(expected_of_halves)


@pytest.mark.parametrize("n_threads", [1, 3])
def test_more_samples_than_a_block(n_threads, rng):
    X, y = make_samples(rng, n=1300, sizes=(0.9, 0.05, 0.04, 0.01))
    given = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        ours = scores(X.astype(np.float32), y)
    finally:
        torch.set_num_threads(given)
    assert [ours[0], *ours[-2:]] == pytest.approx(calculated(X, y), rel=1e-6)


def test_far_from_the_origin(rng):
    X, y = make_samples(rng)
    assert scores(X + 1e6, y) == pytest.approx(scores(X, y))
