import numpy as np
import pytest
import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score

from skrelmetric.metrics import (
    clustering_f1,
    clustering_nmi,
    mean_average_precision_at_r,
    pair_f1,
    r_precision,
    recall_at_k,
    retrieval_report,
)
from tests.metrics.retrieved import KS, calculated, make_samples, reference, scores


@pytest.mark.parametrize("seed", range(5))
def test_equal_to_the_definitions_and_to_pytorch_metric_learning(seed):
    rng = np.random.default_rng(seed)
    X, y = make_samples(rng)
    ours = scores(X, y)
    assert ours == pytest.approx(reference(X, y))
    assert [ours[0], *ours[-2:]] == pytest.approx(calculated(X, y))
    assert 0.1 < ours[-1] < ours[-2] < 0.9


@pytest.mark.parametrize("seed", range(5))
def test_references(seed):
    rng = np.random.default_rng(seed)
    X, y = make_samples(rng)
    halves = X[::2], y[::2], X[1::2], y[1::2]  # the class of one member has no reference, or no query
    ours = scores(*halves[:2], X_reference=halves[2], y_reference=halves[3])
    assert ours == pytest.approx(reference(*halves))
    assert [ours[0], *ours[-2:]] == pytest.approx(calculated(*halves))
    swapped = scores(*halves[2:], X_reference=halves[0], y_reference=halves[1])
    assert swapped == pytest.approx(reference(*halves[2:], *halves[:2]))


def test_many_small_classes_and_one_large(rng):
    for y in (np.repeat(np.arange(40), 2), np.r_[np.zeros(90, int), 1, 1], np.zeros(30, int)):
        X = rng.standard_normal((len(y), 3))
        assert scores(X, y) == pytest.approx(reference(X, y))


def test_a_report_has_every_criterion(rng):
    X, y = make_samples(rng)
    halves = {"X_reference": X[::2], "y_reference": y[::2]}
    for queries, references in (((X, y), {}), ((X[1::2], y[1::2]), halves)):
        report = retrieval_report(*queries, KS, **references)
        assert list(report) == ["recall_at_1", "recall_at_2", "recall_at_5", "recall_at_20", "r_precision", "map_at_r"]
        assert list(report.values()) == scores(*queries, **references)
    assert list(retrieval_report(X, y, 3)) == ["recall_at_3", "r_precision", "map_at_r"]
    with pytest.raises(ValueError, match="k=0 is not a number"):
        retrieval_report(X, y, 0)


def test_kinds_of_arrays_and_labels(rng):
    X, y = make_samples(rng)
    expected = scores(X, y)
    names = np.array(["ant", "bee", "cat", "dog", "elk"])[y]
    for labels in (names, names.tolist(), names.astype(object), y[:, None] * 1.0, torch.as_tensor(y), -y):
        if np.ndim(labels) == 2:
            labels = labels[:, 0]
        assert scores(X, labels) == pytest.approx(expected)
    for embedding in (X.tolist(), np.asfortranarray(X), torch.as_tensor(X).requires_grad_(), X[::-1][::-1]):
        assert scores(embedding, y) == pytest.approx(expected)
    for single in (X.astype(np.float32), torch.as_tensor(X, dtype=torch.float32)):
        assert scores(single, y) == pytest.approx(expected, abs=1e-4)
        assert scores(single, y, X_reference=X, y_reference=y) == pytest.approx(
            scores(X, y, X_reference=X, y_reference=y), abs=1e-4
        )
    whole = (10 * X).astype(int)
    assert scores(torch.as_tensor(whole), y) == pytest.approx(scores(whole, y))


def test_samples_are_left_as_they_are(rng):
    X, y = make_samples(rng)
    for samples in (X.copy(), torch.as_tensor(X.copy())):
        scores(samples, y)
        np.testing.assert_array_equal(np.asarray(samples), X)
    X.flags.writeable = False
    scores(X, y)


def test_two_samples():
    assert scores([[0.0], [1.0]], ["a", "a"]) == [1, 1, 1, 1, 1, 1]
    with pytest.raises(ValueError, match="No query has another sample of its class to find in y,"):
        r_precision([[0.0], [1.0]], ["a", "b"])
    assert r_precision([[0.0]], ["a"], X_reference=[[3.0], [1.0]], y_reference=["a", "b"]) == 0


def test_one_k_is_a_float_and_several_an_array(rng):
    X, y = make_samples(rng)
    assert isinstance(recall_at_k(X, y), float)
    assert recall_at_k(X, y, np.int64(3)) == recall_at_k(X, y, (1, 3))[1]
    assert recall_at_k(X, y, np.array([1, 10**6]))[1] == 1


@pytest.mark.parametrize("k", [0, -1, 1.0, True, "1", [], [1, 0], [1, 2.0], [[1]], None])
def test_k_must_be_a_number_of_neighbours(k, rng):
    with pytest.raises(ValueError, match="is not a number of neighbours"):
        recall_at_k(*make_samples(rng), k)


def test_inputs_that_make_no_sense(rng):
    X, y = make_samples(rng)
    for metric in (recall_at_k, r_precision, mean_average_precision_at_r, clustering_nmi, clustering_f1):
        with pytest.raises(ValueError, match="X has 120 samples and y 119"):
            metric(X, y[1:])
        with pytest.raises(ValueError, match="one class a sample is needed"):
            metric(X, np.eye(5)[y])
        with pytest.raises(ValueError, match="contains NaN"):
            metric(np.where(X > 1, np.nan, X), y)
        with pytest.raises(ValueError, match="contains NaN"):
            metric(torch.as_tensor(np.where(X > 1, np.nan, X)), y)
        with pytest.raises(ValueError, match="y contains NaN"):
            metric(X, np.where(y > 1, np.nan, y))
    for metric in (recall_at_k, r_precision, mean_average_precision_at_r):
        with pytest.raises(ValueError, match="y_reference is missing"):
            metric(X, y, X_reference=X)
        with pytest.raises(ValueError, match="X_reference is missing"):
            metric(X, y, y_reference=y)
        with pytest.raises(ValueError, match="X has 5 features and X_reference 4"):
            metric(X, y, X_reference=X[:, :4], y_reference=y)
        with pytest.raises(ValueError, match="X_reference has 120 samples and y_reference 2"):
            metric(X, y, X_reference=X, y_reference=y[:2])
        with pytest.raises(ValueError, match="name the classes of both in the same way"):
            metric(X, y, X_reference=X, y_reference=y.astype(str))
        with pytest.raises(ValueError, match="to find in y_reference"):
            metric(X, y, X_reference=X, y_reference=y + 9)
        with pytest.raises(ValueError, match="tensor of shape"):
            metric(torch.zeros(4), y)
    for n_clusters in (0, 121, 2.0):
        with pytest.raises(ValueError, match="is not a number of clusters of 120 samples"):
            clustering_nmi(X, y, n_clusters=n_clusters)


def test_clusters(rng):
    X, y = make_samples(rng, spread=2.0)
    clusters = KMeans(5, n_init=10, random_state=3).fit_predict(X)
    tp = sum(y[i] == y[j] and clusters[i] == clusters[j] for i in range(120) for j in range(i))
    together = [sum(c[i] == c[j] for i in range(120) for j in range(i)) for c in (y, clusters)]
    assert pair_f1(y, clusters) == pytest.approx(2 * tp / sum(together))
    assert clustering_f1(X, y, random_state=3) == pytest.approx(pair_f1(y, clusters))
    assert clustering_nmi(X, y, random_state=3) == pytest.approx(normalized_mutual_info_score(y, clusters))
    calculator = AccuracyCalculator(
        include=("NMI",),
        knn_func=CustomKNN(LpDistance()),
        kmeans_func=lambda *_: torch.as_tensor(clusters),
        device=torch.device("cpu"),
    )
    expected = calculator.get_accuracy(torch.as_tensor(X), torch.as_tensor(y))["NMI"]
    assert clustering_nmi(torch.as_tensor(X), y, random_state=3) == pytest.approx(expected)
    assert clustering_nmi(X, y, n_clusters=1) == pytest.approx(0)
    assert clustering_nmi(np.zeros((6, 2)), [0, 0, 1, 1, 2, 2]) == pytest.approx(0)  # collapsed, without a warning
    assert pair_f1([0, 1, 2], [2, 1, 0]) == 1
    assert pair_f1(["a", "a"], [0, 1]) == 0
