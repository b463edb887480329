"""Retrieval and clustering of embeddings: a ranking sorted out in full, and pytorch-metric-learning."""

import pickle

import numpy as np
import pytest
import sklearn
import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrelmetric.metrics import (
    clustering_f1,
    clustering_nmi,
    mean_average_precision_at_r,
    pair_f1,
    r_precision,
    recall_at_k,
)
from skrelmetric.scorers import RETRIEVAL_SCORERS


def by_definition(X, y, k, references=None):
    """Recall at k, R-precision and average precision at R, from whole rankings with other classes first among ties."""
    recalls, precisions, averages = [], [], []
    for i, (x, c) in enumerate(zip(X, y, strict=True)):
        found, classes = references if references else (np.delete(X, i, 0), np.delete(y, i))
        distances = np.linalg.norm(found - x, axis=1).round(9)
        ranked = (classes == c)[np.lexsort((classes == c, distances))]
        R = ranked.sum()
        if R:
            recalls.append(ranked[:k].any())
            precisions.append(ranked[:R].mean())
            averages.append(np.mean([ranked[: r + 1].mean() * ranked[r] for r in range(R)]))
    return np.mean(recalls), np.mean(precisions), np.mean(averages)


def ours(X, y, k, **references):
    return (
        recall_at_k(X, y, k, **references),
        r_precision(X, y, **references),
        mean_average_precision_at_r(X, y, **references),
    )


@pytest.fixture
def embedded(rng):
    y = np.repeat(np.arange(6), [1, 2, 5, 17, 30, 45])[rng.permutation(100)]  # a class of one has no positive
    return rng.standard_normal((100, 5)) + 0.8 * np.eye(6, 5)[y], y


@pytest.mark.parametrize("k", [1, 3, 10])
def test_rankings_sorted_out_in_full(k, embedded, rng):
    X, y = embedded
    np.testing.assert_allclose(ours(X, y, k), by_definition(X, y, k), rtol=1e-12)
    R, c = rng.standard_normal((70, 5)), rng.integers(8, size=70)
    found = ours(X, y, k, X_reference=R, y_reference=c)
    np.testing.assert_allclose(found, by_definition(X, y, k, (R, c)), rtol=1e-12)
    rounded = X.round()  # with many ties
    np.testing.assert_allclose(ours(rounded, y, k), by_definition(rounded, y, k), rtol=1e-12)


@pytest.mark.parametrize("with_references", [False, True])
def test_equal_to_pytorch_metric_learning(with_references, embedded, rng):
    X, y = (torch.from_numpy(array) for array in embedded)
    R, c = torch.from_numpy(rng.standard_normal((300, 5))), torch.from_numpy(rng.integers(5, size=300))
    names = ("precision_at_1", "r_precision", "mean_average_precision_at_r")
    peer = AccuracyCalculator(
        names, k="max_bin_count", knn_func=CustomKNN(LpDistance(normalize_embeddings=False)), device=torch.device("cpu")
    )
    theirs = peer.get_accuracy(X, y, R, c) if with_references else peer.get_accuracy(X, y)
    references = {"X_reference": R, "y_reference": c} if with_references else {}
    np.testing.assert_allclose(ours(X, y, 1, **references), [theirs[name] for name in names], rtol=1e-6)


def test_order_blocks_labels_and_kind_of_array_do_not_matter(embedded, rng):
    X, y = embedded
    expected = ours(X, y, 2)
    order = rng.permutation(100)
    assert ours(X[order], y[order], 2) == pytest.approx(expected, rel=1e-12)
    with sklearn.config_context(working_memory=0.01):
        assert ours(X, y, 2) == pytest.approx(expected, rel=1e-12)
    assert ours(torch.from_numpy(X), np.array(list("abcdef"))[y], 2) == pytest.approx(expected, rel=1e-12)
    assert ours(X.astype(np.float32), y, 2) == pytest.approx(expected, rel=1e-5)


def test_a_collapsed_embedding_scores_nothing():
    assert ours(np.full((40, 3), 0.1, np.float32), np.repeat(np.arange(8), 5), 4) == (0, 0, 0)
    assert recall_at_k([[0.0], [1.0]], [0, 0]) == 1


def test_clusters(rng):
    y = np.repeat([0, 1, 2], 20)
    X = 10 * np.eye(3)[y] + 0.1 * rng.standard_normal((60, 3))
    assert clustering_nmi(X, y, random_state=0) == pytest.approx(1)
    assert clustering_f1(X, y, random_state=0) == pytest.approx(1)
    a, b = rng.integers(4, size=50), rng.integers(3, size=50)
    same_a, same_b = (v[:, None] == v for v in (a, b))
    apart = ~np.eye(50, dtype=bool)
    tp, errors = (same_a & same_b & apart).sum(), ((same_a != same_b) & apart).sum()
    assert pair_f1(a, b) == pytest.approx(2 * tp / (2 * tp + errors))
    noise = rng.standard_normal((60, 3))
    assert clustering_nmi(noise, y, random_state=0) < 0.5


def test_scorers_of_transformers(embedded):
    X, y = embedded
    search = GridSearchCV(
        make_pipeline(StandardScaler(), PCA()),
        {"pca__n_components": [1, 5]},
        scoring=RETRIEVAL_SCORERS,
        refit="map_at_r",
    )
    search.set_params(cv=KFold(3)).fit(X, y)
    assert search.best_params_ == {"pca__n_components": 5}
    scorer = pickle.loads(pickle.dumps(RETRIEVAL_SCORERS["r_precision"]))
    assert scorer(search.best_estimator_, X, y) == r_precision(search.transform(X), y)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[0.0], [1.0]], [0, 1]), "class"),
        (([[0.0], [1.0]], [0, 0], 0), "k=0"),
        (([[0.0], [1.0]], [0, 0], 1.5), "k=1.5"),
        (([[0.0], [1.0]], [0, 0, 1]), "2 samples"),
        (([[0.0], [np.nan]], [0, 0]), "NaN"),
        (([[0.0], [1.0]], [[0, 1], [1, 0]]), "class"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        recall_at_k(*arguments)


def test_references_come_in_pairs_and_of_one_width():
    with pytest.raises(ValueError, match="pass both"):
        recall_at_k([[0.0], [1.0]], [0, 0], X_reference=[[0.0]])
    with pytest.raises(ValueError, match="features"):
        recall_at_k([[0.0], [1.0]], [0, 0], X_reference=[[0.0, 1.0]], y_reference=[0])
