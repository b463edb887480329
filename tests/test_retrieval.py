import pickle

import numpy as np
import pytest
import sklearn
import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import normalized_mutual_info_score
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrelmetric._search.retrieval import retrieve
from skrelmetric.metrics import (
    clustering_f1,
    clustering_nmi,
    mean_average_precision_at_r,
    pair_f1,
    r_precision,
    recall_at_k,
    retrieval_report,
)
from skrelmetric.scorers import RETRIEVAL_SCORERS, retrieval_scores

KS = [1, 2, 5, 20]


def scores(*args, **kwargs):
    return [
        *recall_at_k(*args, k=KS, **kwargs),
        r_precision(*args, **kwargs),
        mean_average_precision_at_r(*args, **kwargs),
    ]


def reference(X, y, X_reference=None, y_reference=None):
    """The definitions, query by query; among equal distances other classes come first."""
    found, known = (X, y) if X_reference is None else (X_reference, y_reference)
    rows = []
    for i, (x, c) in enumerate(zip(X, y, strict=True)):
        others = [j for j in range(len(found)) if X_reference is not None or j != i]
        ranking = sorted((((x - found[j]) ** 2).sum(), known[j] == c) for j in others)
        hits = [hit for _, hit in ranking]
        R = sum(hits)
        if R:
            precisions = [sum(hits[: i + 1]) / (i + 1) * hits[i] for i in range(R)]
            rows.append([*(any(hits[:k]) for k in KS), sum(hits[:R]) / R, sum(precisions) / R])
    return np.mean(rows, 0)


def calculated(X, y, X_reference=None, y_reference=None):
    """What pytorch-metric-learning makes of it."""
    calculator = AccuracyCalculator(
        include=("precision_at_1", "r_precision", "mean_average_precision_at_r"),
        k="max_bin_count",
        knn_func=CustomKNN(LpDistance(normalize_embeddings=False)),
        device=torch.device("cpu"),
    )
    found, known = (X, y) if X_reference is None else (X_reference, y_reference)
    tensors = [torch.as_tensor(array) for array in (X, y, found, known)]
    values = calculator.get_accuracy(*tensors, ref_includes_query=X_reference is None)
    return [values[name] for name in ("precision_at_1", "r_precision", "mean_average_precision_at_r")]


def make_samples(rng, n=120, sizes=(0.6, 0.25, 0.1, 0.05), spread=1.0):
    """Overlapping classes of very different size, and a last one with a single member."""
    y = np.r_[rng.choice(len(sizes), n - 1, p=sizes), len(sizes)]
    return rng.standard_normal((n, 5)) + spread * rng.standard_normal((len(sizes) + 1, 5))[y], y


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


def test_far_from_the_origin(rng):
    X, y = make_samples(rng)
    assert scores(X + 1e6, y) == pytest.approx(scores(X, y))


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


def test_scorers_on_the_test_fold(rng):
    X, y = make_samples(rng, sizes=(0.4, 0.3, 0.3))
    X, y = X[:-1], y[:-1]
    criteria = dict(zip(RETRIEVAL_SCORERS, (recall_at_k, r_precision, mean_average_precision_at_r), strict=True))
    fitted = make_pipeline(StandardScaler(), PCA(2)).fit(X[:60])
    for name, scorer in RETRIEVAL_SCORERS.items():
        expected = criteria[name](fitted.transform(X[60:]), y[60:])
        assert scorer(fitted, X[60:], y[60:]) == expected
        assert pickle.loads(pickle.dumps(scorer))(fitted, X[60:], y[60:]) == expected
        assert criteria[name].__name__ in repr(scorer)


def test_scorers_choose_among_pipelines(rng):
    y = rng.integers(0, 3, 90)
    X = np.column_stack([10 * rng.standard_normal(90), 3 * y + 0.1 * rng.standard_normal(90)])
    # The scattered column has the larger variance: one component keeps it alone, two keep the classes.
    folds = cross_validate(make_pipeline(PCA(2)), X, y, cv=3, scoring=RETRIEVAL_SCORERS, error_score="raise")
    assert all(np.isfinite(folds[f"test_{name}"]).all() for name in RETRIEVAL_SCORERS)
    pipeline = make_pipeline(StandardScaler(), PCA())
    grid = {"pca__n_components": [1, 2]}
    search = GridSearchCV(pipeline, grid, scoring=RETRIEVAL_SCORERS, refit="map_at_r", cv=3, error_score="raise")
    assert search.fit(X, y).best_params_ == {"pca__n_components": 2}
    for scoring, refit in ((RETRIEVAL_SCORERS["map_at_r"], True), (retrieval_scores, "map_at_r")):
        again = GridSearchCV(pipeline, grid, scoring=scoring, refit=refit, cv=3, error_score="raise")
        assert again.fit(X, y).best_score_ == search.best_score_
