"""Targets as losses see them: pairs and labels of a batch."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from skrelmetric._drml.supervision import Supervision
from skrelmetric.relations import GivenPairs

SETS = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 1], [1, 1, 1, 0], [0, 0, 0, 0]])


def everything(y, *arguments, **options):
    return Supervision(y, *arguments, **options).batch(torch.arange(len(y) if not sparse.issparse(y) else y.shape[0]))


@pytest.mark.parametrize(
    "y", [[2, 5, 2, 9], ["b", "c", "b", "d"], [[2], [5], [2], [9]], np.array([2.0, 5.0, 2.0, 9.0])]
)
def test_classes(y):
    batch = everything(y)
    same = np.array([[0, 0, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]], bool)
    assert_array_equal(batch.similar, same)
    assert_array_equal(batch.dissimilar, ~same & ~np.eye(4, dtype=bool))
    assert_array_equal(batch.positive, [[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]])
    assert_array_equal(batch.negative, 1 - batch.positive)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, torch.from_numpy])
def test_label_sets_are_told_apart_by_jaccard(form):
    batch = everything(form(SETS))
    for i, a in enumerate(SETS):
        for j, b in enumerate(SETS):
            either = np.maximum(a, b).sum()
            similarity = np.minimum(a, b).sum() / either if either else 1.0
            assert batch.similar[i, j] == (i != j and similarity >= 0.5)
            assert batch.dissimilar[i, j] == (i != j and similarity <= 0.2)
    assert_array_equal(batch.positive, SETS)
    assert_array_equal(batch.negative, 1 - SETS)


def test_unknown_labels_are_neither_positive_nor_negative():
    Y = SETS.astype(float)
    Y[0, 0] = Y[3, 2] = np.nan
    batch = everything(Y)
    assert_array_equal(batch.positive, np.nan_to_num(Y))
    assert_array_equal(batch.negative, np.where(np.isnan(Y), 0, 1 - np.nan_to_num(Y)))
    assert not batch.positive.isnan().any()


def test_distributions(rng):
    D = rng.dirichlet(np.ones(5), 200)
    supervision = Supervision(D)
    batch = supervision.batch(torch.arange(200))
    distances = np.abs(D[:, None] - D).sum(2)
    apart = ~np.eye(200, dtype=bool)
    near, far = supervision.thresholds
    assert_array_equal(batch.similar, (distances <= near) & apart)
    assert_array_equal(batch.dissimilar, distances >= far)
    assert batch.similar.sum() / apart.sum() == pytest.approx(0.1, abs=0.01)
    assert batch.dissimilar.sum() / apart.sum() == pytest.approx(0.5, abs=0.01)
    assert_allclose(batch.positive, D / D.max(1, keepdims=True), rtol=1e-6)
    assert_allclose(batch.negative, 1 - D / D.max(1, keepdims=True), atol=1e-6)


def test_relation_and_thresholds_of_ones_own():
    def gap(A, B):
        return abs(A.sum(1)[:, None] - B.sum(1))

    batch = everything(SETS.astype(float), gap, (0.0, 2.0))
    sizes = SETS.sum(1)
    gaps = abs(sizes[:, None] - sizes)
    assert_array_equal(batch.similar, (gaps <= 0) & ~np.eye(5, dtype=bool))
    assert_array_equal(batch.dissimilar, gaps >= 2)
    one_threshold = everything(SETS, "hamming", (2, 2))
    assert not (one_threshold.similar & one_threshold.dissimilar).any()


def test_pairs_stay_within_their_group():
    supervision = Supervision([0, 0, 1, 0, 1, 1])
    groups = torch.tensor([0, 1, 0, 0, 1, 1])
    batch = supervision.batch(torch.arange(6), groups, 3)
    across = groups[:, None] != groups
    assert not (batch.similar & across).any()
    assert not (batch.dissimilar & across).any()
    assert batch.similar.sum() == 4
    assert batch.n_groups == 3


def test_some_rows_and_what_is_not_asked_for():
    supervision = Supervision(["a", "b", "a", "c"])
    rows = torch.tensor([3, 0, 2, 0])
    batch = supervision.batch(rows, uses={"pairs"})
    assert batch.positive is None
    # A sample that was drawn twice is no pair with itself.
    assert_array_equal(batch.similar, [[0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0]])
    batch = supervision.batch(rows, uses={"labels"})
    assert batch.similar is None
    assert_array_equal(batch.positive, [[0, 0, 1], [1, 0, 0], [1, 0, 0], [1, 0, 0]])
    assert supervision.batch(rows[:0]).similar.shape == (0, 0)


def test_what_does_not_go_together_is_refused(rng):
    with pytest.raises(ValueError, match="must be two numbers, the larger one last"):
        Supervision(SETS, "hamming", (3, 1))
    with pytest.raises(ValueError, match="Use a loss of pairs"):
        everything(rng.standard_normal((5, 2)))
    with pytest.raises(ValueError, match="Use a loss of pairs"):
        everything(np.array([["a", "b"], ["c", "d"]]))
    with pytest.raises(ValueError, match="samples without a class"):
        Supervision([1.0, np.nan, 2.0])
    pairs = Supervision(rng.standard_normal((30, 2))).batch(torch.arange(30), uses={"pairs"})
    assert pairs.similar.any()


def test_samples_with_no_label_known_of_both_are_no_pair():
    nan = np.nan
    supervision = Supervision(np.array([[1, nan, 0], [nan, 1, nan], [1, 1, 0]]))
    batch = supervision.batch(torch.arange(3))
    assert not batch.similar[0, 1]
    assert not batch.dissimilar[0, 1]
    assert batch.similar[0, 2]
    assert batch.similar[1, 2]


def test_numbers_in_one_column_are_no_labels(rng):
    supervision = Supervision(rng.random(10) * 100)
    with pytest.raises(ValueError, match="learns something for each label"):
        supervision.batch(torch.arange(10), uses={"labels"})
    for thresholds in ((0.1,), (0.1, 0.2, 0.3), ("a", 1)):
        with pytest.raises(ValueError, match="must be two numbers"):
            Supervision(rng.random(10), thresholds=thresholds)


def test_given_pairs():
    G = GivenPairs([[0, 1]], [[1, 2], [3, 0]], n_samples=5)
    rows = torch.tensor([3, 1, 0, 0])
    batch = Supervision(np.zeros(5), G).batch(rows)
    assert_array_equal(batch.similar, [[0, 0, 0, 0], [0, 0, 1, 1], [0, 1, 0, 0], [0, 1, 0, 0]])
    assert_array_equal(batch.dissimilar, [[0, 0, 1, 1], [0, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]])
    others_are_dissimilar = Supervision(np.zeros(5), G, (0, 0.5)).batch(rows)
    assert_array_equal(others_are_dissimilar.similar, batch.similar)
    assert_array_equal(others_are_dissimilar.dissimilar, ~batch.similar & (rows[:, None] != rows))
    Y = np.array([[0, np.nan], [np.nan, 1], [1, 0], [np.nan, 0], [1, 1]])  # pairs are known without common labels
    assert_array_equal(Supervision(Y, G).batch(rows, uses={"pairs"}).similar, batch.similar)


@pytest.mark.parametrize("uses", [{"labels"}, {"pairs", "labels"}, {"targets"}])
def test_pairs_alone_are_no_targets(uses):
    G = GivenPairs([[0, 1]], n_samples=3)
    Supervision(np.zeros(3), G).check(uses)
    Supervision(np.zeros(3), G, pairs_alone=True).check({"pairs"})
    with pytest.raises(ValueError, match="needs targets, but y is None"):
        Supervision(np.zeros(3), G, pairs_alone=True).check(uses)
