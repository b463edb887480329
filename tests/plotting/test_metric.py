"""Pictures of relations and of metrics."""

from itertools import combinations, pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.datasets import load_iris
from sklearn.decomposition import NMF, PCA
from sklearn.exceptions import NotFittedError
from sklearn.neighbors import NeighborhoodComponentsAnalysis
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrelmetric import HRAMLTransformer, MLkNN, RAMLLinear, RelationalNeighborsClassifier
from skrelmetric.plotting import plot_embedding, plot_metric, plot_quality_against_time, plot_relation


def boxes(ax):
    """Horizontal extent of each box."""
    return [(patch.get_path().vertices[:, 0].min(), patch.get_path().vertices[:, 0].max()) for patch in ax.patches]


def all_pairs(X, Y):
    i, j = np.array(list(combinations(range(len(X)), 2))).T
    return ((X[i] - X[j]) ** 2).sum(1), abs(Y[i] - Y[j]).reshape(len(i), -1).sum(1)


def test_a_relation_of_few_values_has_a_box_for_each(label_sets):
    X, Y = label_sets
    ax = plot_relation(X, Y)
    distances, relations = all_pairs(X, Y)
    values, counts = np.unique(relations, return_counts=True)
    np.testing.assert_allclose([(low + high) / 2 for low, high in boxes(ax)], values)
    np.testing.assert_allclose([high - low for low, high in boxes(ax)], 0.8 * np.sqrt(counts / counts.max()))
    medians = [line.get_ydata()[0] for line in ax.get_lines() if line.get_linewidth() == 2]
    np.testing.assert_allclose(medians, [np.median(distances[relations == value]) for value in values])
    assert [tick.get_text() for tick in ax.get_xticklabels()] == [f"{value:g}" for value in values]
    assert ax.get_title() == f"Spearman correlation {spearmanr(distances, relations).statistic:.2f}, 780 pairs"
    assert ax.get_xlabel() == "relation of targets (hamming)"
    assert plot_relation(X, Y, relation=lambda A, B: (A[:, None] != B).any(2)).get_xlabel() == "relation of targets"


def test_a_relation_of_many_values_has_its_density(rng):
    X, y = rng.standard_normal((60, 3)), rng.standard_normal(60)
    ax = plot_relation(X, y)
    distances, relations = all_pairs(X, y)
    near = distances <= np.quantile(distances, 0.995)
    assert ax.collections[0].get_array().sum() == near.sum()
    order = np.argsort(relations)
    expected = [(np.median(relations[tenth]), np.median(distances[tenth])) for tenth in np.array_split(order, 10)]
    np.testing.assert_allclose(ax.get_lines()[0].get_xydata(), expected)
    assert ax.get_xlabel() == "relation of targets (l1)"


def test_values_that_differ_by_rounding_share_a_box():
    ax = plot_relation(np.eye(4), [0.1, 0.2, 0.3, 0.4])
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0.1", "0.2", "0.3"]


def test_pairs_are_drawn_where_they_are_many(rng):
    X = rng.standard_normal((50, 1))
    ax = plot_relation(X, np.arange(50), max_pairs=300)  # two different samples are always of different class
    assert ax.get_title() == "Spearman correlation undefined, 300 pairs"
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["1"]
    assert plot_relation(X, X[:, 0], max_pairs=300).get_title() == "Spearman correlation 1.00, 300 pairs"


def test_relation_says_what_does_not_fit():
    with pytest.raises(ValueError, match="X has 3 samples and Y 2"):
        plot_relation(np.eye(3), [0, 1])
    with pytest.raises(ValueError, match="X has 1 samples and Y 1"):
        plot_relation([[1.0]], [1])
    with pytest.raises(ValueError, match="Did you mean 'hamming'"):
        plot_relation(np.eye(2), [0, 1], relation="haming")
    assert plt.get_fignums() == []


def test_metric_has_the_features_of_largest_weight_first(rng):
    X = rng.standard_normal((60, 5))
    metric = RAMLLinear().fit(X, X @ [[3], [0], [1], [0], [2]])
    ax = plot_metric(metric, max_features=3, feature_names=list("abcde"))
    M = metric.get_mahalanobis_matrix()
    first = np.argsort(-M.diagonal())[:3]
    assert set(first) == {0, 2, 4}
    image = ax.images[0]
    np.testing.assert_allclose(image.get_array(), M[first][:, first])
    assert image.get_clim() == (-abs(M).max(), abs(M).max())
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["abcde"[k] for k in first]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["abcde"[k] for k in first]
    assert ax.get_xlabel() == "3 of 5 features, by weight"


def test_metric_takes_names_and_components_of_an_estimator():
    X, y = load_iris(return_X_y=True, as_frame=True)
    nca = NeighborhoodComponentsAnalysis(max_iter=5, random_state=0).fit(X, y)
    ax = plot_metric(nca)
    M = nca.components_.T @ nca.components_
    np.testing.assert_allclose(ax.images[0].get_array(), M[np.argsort(-M.diagonal())][:, np.argsort(-M.diagonal())])
    assert {tick.get_text() for tick in ax.get_yticklabels()} == set(X.columns)
    unnamed = plot_metric(RAMLLinear().fit(X.to_numpy(), y))
    assert {tick.get_text() for tick in unnamed.get_yticklabels()} == set("0123")


@pytest.mark.parametrize("size", [None, (3.3, 2.5)])
@pytest.mark.parametrize("n_features", [5, 20, 40])
def test_names_of_features_do_not_overlap(rng, n_features, size):
    X = rng.standard_normal((60, n_features))
    metric = RAMLLinear().fit(X, X[:, 0])
    ax = None if size is None else plt.figure(figsize=size, layout="constrained").add_subplot()
    names = [f"mean of the spectral centroid, band {k}" for k in range(n_features)]
    ax = plot_metric(metric, feature_names=names, max_features=40, ax=ax)
    ax.figure.draw_without_rendering()
    for labels in (ax.get_xticklabels(), ax.get_yticklabels()):
        boxes = [label.get_window_extent() for label in labels]
        assert not any(a.overlaps(b) for a, b in pairwise(boxes))
        assert all(label.get_fontsize() >= 5 for label in labels)
        assert {label.get_text()[-1] for label in labels} <= set("0123456789"), "they differ at the end"
    assert min(ax.get_window_extent().size / ax.figure.bbox.size) > 0.3
    assert len(labels) == n_features or size is not None


def test_relation_leaves_out_samples_without_a_name(rng):
    X = rng.standard_normal((30, 2))
    y = pd.Series(["a", "b", pd.NA] * 10, dtype="string")
    assert plot_relation(X, y).get_title() == plot_relation(X[y.notna()], y[y.notna()]).get_title()
    assert "190 pairs" in plot_relation(X, y).get_title()


def test_metric_says_what_it_cannot_draw(label_sets):
    X, Y = label_sets
    with pytest.raises(NotFittedError):
        plot_metric(RAMLLinear())
    with pytest.raises(TypeError, match="Pass its step that holds the metric"):
        plot_metric(make_pipeline(StandardScaler(), RAMLLinear()).fit(X, Y))
    with pytest.raises(TypeError, match="MLkNN is no linear metric"):
        plot_metric(MLkNN(2).fit(X, Y))
    with pytest.raises(TypeError, match="HRAMLTransformer is no linear metric"):
        plot_metric(HRAMLTransformer().fit(X, Y))
    relational = RelationalNeighborsClassifier(cv=None).fit(X, Y)
    with pytest.raises(TypeError, match=r"no linear metric.*Pass one such as its metrics_\['linear'\]"):
        plot_metric(relational)
    plt.close(plot_metric(relational.metrics_["linear"]).get_figure())
    with pytest.raises(TypeError, match="ndarray is no estimator"):
        plot_metric(np.eye(2))
    with pytest.raises(ValueError, match="feature_names holds 2, but there are 5 features"):
        plot_metric(RAMLLinear().fit(X, Y), feature_names=["a", "b"])
    assert plt.get_fignums() == []


def test_metric_of_a_transform_is_what_it_multiplies_with():
    X = load_iris().data
    whitened = PCA(2, whiten=True).fit(X)
    drawn = plot_metric(whitened).images[0].get_array()
    M = whitened.components_.T @ np.diag(1 / whitened.explained_variance_) @ whitened.components_
    first = np.argsort(-M.diagonal())
    difference = (X[0] - X[90])[first]
    expected = np.square(whitened.transform(X[:1]) - whitened.transform(X[90:91])).sum()
    assert difference @ drawn @ difference == pytest.approx(expected)
    with pytest.raises(TypeError, match="NMF is no linear metric"):
        plot_metric(NMF(2, max_iter=1000, tol=1e-2).fit(X))


def test_numbers_below_one_are_refused(rng, label_sets):
    X, Y = label_sets
    with pytest.raises(ValueError, match="max_samples == 0"):
        plot_embedding(X, Y, max_samples=0)
    with pytest.raises(ValueError, match="max_pairs == 0"):
        plot_relation(X, Y, max_pairs=0)
    with pytest.raises(ValueError, match="max_features == 0"):
        plot_metric(RAMLLinear().fit(X, Y), max_features=0)
    with pytest.raises(ValueError, match="There are no methods"):
        plot_quality_against_time([], [], [])
