"""Pictures: what is drawn is what was computed, and nothing else is touched."""

import sys
from io import BytesIO
from itertools import combinations

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from scipy import sparse
from scipy.stats import rankdata, spearmanr, studentized_range, wilcoxon
from sklearn.base import BaseEstimator
from sklearn.datasets import load_iris
from sklearn.decomposition import NMF, PCA
from sklearn.exceptions import NotFittedError
from sklearn.neighbors import NeighborhoodComponentsAnalysis
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale

from skrelmetric import HRAMLTransformer, MLkNN, RAMLLinear
from skrelmetric.plotting import (
    plot_critical_difference,
    plot_embedding,
    plot_metric,
    plot_quality_against_time,
    plot_relation,
    plot_training,
)
from skrelmetric.plotting._axes import GREY, PALETTE


@pytest.fixture(autouse=True)
def _no_figure_left():
    plt.close("all")
    yield
    plt.close("all")


@pytest.fixture
def ax():
    return plt.figure().add_subplot()


@pytest.fixture
def label_sets(rng):
    return rng.standard_normal((40, 5)), (rng.random((40, 4)) < [0.2, 0.4, 0.6, 0.8]).astype(int)


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def bar(ax):
    """Axes of the colour bar."""
    return ax.collections[0].colorbar.ax


PICTURES = {
    "embedding of classes": lambda ax: plot_embedding(np.eye(4), [0, 1, 1, 0], ax=ax),
    "embedding of numbers": lambda ax: plot_embedding(np.eye(4), [0.5, 1, 1, 0], ax=ax),
    "relation": lambda ax: plot_relation(np.eye(4), [0, 1, 1, 0], ax=ax),
    "relation of numbers": lambda ax: plot_relation(np.eye(9), np.arange(9) ** 2.5, ax=ax),
    "metric": lambda ax: plot_metric(RAMLLinear().fit([[0.0, 1], [1, 0], [2, 2]], [0, 0, 1]), ax=ax),
    "training": lambda ax: plot_training(Trained([3.0, 2.0], [1.0, 0.5, 0.7], 1), ax=ax),
    "nemenyi": lambda ax: plot_critical_difference([[1, 2, 3], [1, 3, 2], [1.0, 2, 3]], ax=ax),
    "wilcoxon": lambda ax: plot_critical_difference([[1, 2, 3], [1, 3, 2.0]], test="wilcoxon-holm", ax=ax),
    "time": lambda ax: plot_quality_against_time([1, 2], [0.5, 0.6], ["a", "b"], ax=ax),
}


class Trained(BaseEstimator):
    """What `plot_training` reads of an estimator."""

    def __init__(self, losses, scores=(), best=0):
        self.loss_curve_, self.validation_curve_, self.best_epoch_ = losses, scores, best

    def fit(self, X, y=None):
        return self


@pytest.mark.parametrize("draw", PICTURES.values(), ids=PICTURES)
def test_pictures_draw_where_they_are_told_and_touch_no_setting(draw):
    figure, (ours, other) = plt.subplots(1, 2)
    elsewhere = plt.figure()
    settings = dict(matplotlib.rcParams)
    assert draw(ours) is ours
    assert other.has_data() is False
    assert plt.get_fignums() == [figure.number, elsewhere.number]
    assert plt.gcf() is elsewhere
    assert elsewhere.axes == []
    assert dict(matplotlib.rcParams) == settings
    figure.savefig(BytesIO())


@pytest.mark.parametrize("draw", PICTURES.values(), ids=PICTURES)
def test_pictures_make_a_figure_of_their_own_without_axes(draw):
    before = plt.figure()
    ax = draw(None)
    assert plt.get_fignums() == [before.number, ax.figure.number]
    assert before.axes == []


@pytest.mark.parametrize("draw", PICTURES.values(), ids=PICTURES)
def test_pictures_take_the_colour_of_text_from_the_style(draw):
    with plt.style.context("dark_background"):
        ax = draw(None)
        texts = [text for axes in ax.figure.axes for text in axes.findobj(matplotlib.text.Text) if text.get_text()]
        dark = [text.get_text() for text in texts if max(to_rgba(text.get_color())[:3]) < 0.5]
    assert dark == []


@pytest.mark.parametrize(
    ("draw", "arrays", "package", "module"),
    [
        (plot_quality_against_time, ([1], [1], ["a"]), "matplotlib", "matplotlib"),
        (plot_embedding, ([[1, 2]], [0]), "matplotlib", "matplotlib"),
        (plot_critical_difference, ([[1, 2], [2, 3]],), "scikit-posthocs", "scikit_posthocs"),
    ],
)
def test_what_a_picture_lacks_is_said(draw, arrays, package, module, monkeypatch):
    for name in [module, *(name for name in sys.modules if name.startswith(f"{module}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError) as caught:
        draw(*arrays)
    assert str(caught.value) == f'This picture needs {package}: pip install "skrelmetric[plot]".'


# plot_embedding


def test_two_components_are_drawn_as_they_are(rng):
    X = rng.standard_normal((30, 2))
    ax = plot_embedding(X, np.arange(30) % 3)
    np.testing.assert_array_equal(ax.collections[0].get_offsets(), X)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("component 1", "component 2")
    assert ax.get_aspect() == 1
    frame = pd.DataFrame(X, columns=["first", "second"])
    assert plot_embedding(frame, np.arange(30) % 3).get_ylabel() == "second"


def test_more_components_are_drawn_as_principal_components(rng):
    X = rng.standard_normal((30, 6)) * [1, 2, 3, 4, 5, 6] + 7
    ax = plot_embedding(X, np.arange(30) % 3)
    pca = PCA(2).fit(X)
    np.testing.assert_allclose(ax.collections[0].get_offsets(), pca.transform(X), atol=1e-10)
    assert ax.get_xlabel() == f"principal component 1 ({pca.explained_variance_ratio_[0]:.0%})"
    assert ax.get_ylabel() == f"principal component 2 ({pca.explained_variance_ratio_[1]:.0%})"


def test_one_component_is_drawn_against_noise(rng):
    X = rng.standard_normal((30, 1))
    places = plot_embedding(X, np.arange(30) % 3).collections[0].get_offsets()
    np.testing.assert_array_equal(places[:, 0], X[:, 0])
    assert len(np.unique(places[:, 1])) == 30


@pytest.mark.parametrize("n_components", [1, 2, 3])
def test_a_single_sample_and_equal_samples_are_drawn(n_components):
    for n_samples in (1, 3):
        ax = plot_embedding(np.ones((n_samples, n_components)), np.zeros(n_samples))
        ax.figure.savefig(BytesIO())
        assert np.isfinite(ax.collections[0].get_offsets()).all()
        assert plot_embedding(np.ones((n_samples, n_components)), np.ones((n_samples, 2))).has_data()


def test_few_of_many_samples_are_drawn_with_their_colours(rng):
    X = rng.standard_normal((100, 2))
    y = rng.standard_normal(100)
    points = plot_embedding(X, y, max_samples=10).collections[0]
    again = plot_embedding(X, y, max_samples=10).collections[0]
    np.testing.assert_array_equal(points.get_offsets(), again.get_offsets())
    drawn = [int(np.flatnonzero((place == X).all(1))[0]) for place in points.get_offsets()]
    assert len(set(drawn)) == 10
    np.testing.assert_array_equal(points.get_array(), y[drawn])
    classes = np.r_[np.zeros(98), 1, 2]  # of which few are drawn, and named as all are
    named = plot_embedding(X, classes, max_samples=2, label_names=["many", "one", "other"])
    assert legend(named) == ["many", "one", "other"]
    sets = plot_embedding(X, sparse.csr_array(np.eye(100)[:, :5]), max_samples=10)
    assert len(sets.collections[0].get_offsets()) == 10


def test_classes_have_a_colour_each():
    y = np.array(["b", "a", "b", "c"])
    ax = plot_embedding(np.eye(4)[:, :2], y)
    expected = {"a": PALETTE[0], "b": PALETTE[1], "c": PALETTE[2]}
    np.testing.assert_allclose(ax.collections[0].get_facecolors(), [to_rgba(expected[name]) for name in y])
    assert legend(ax) == ["a", "b", "c"]
    assert [handle.get_color() for handle in ax.get_legend().legend_handles] == list(expected.values())


def test_classes_can_be_named_and_unknown_ones_are_grey():
    ax = plot_embedding(np.eye(3)[:, :2], [2.0, np.nan, 7.0], label_names=["two", "seven"])
    colors = [PALETTE[0], GREY, PALETTE[1]]
    np.testing.assert_allclose(ax.collections[0].get_facecolors(), [to_rgba(color) for color in colors])
    assert legend(ax) == ["two", "seven", "unknown"]
    assert legend(plot_embedding(np.eye(2), [np.nan, np.nan], discrete=True)) == ["unknown"]


def test_more_classes_than_colours_differ_in_shape_and_the_rarest_are_left_over():
    y = np.r_[np.arange(30), np.arange(1, 25)]  # 0 and 25 to 29 are rare
    ax = plot_embedding(np.column_stack([y, y]), y)
    points = ax.collections[0]
    look = [
        (tuple(color), path.vertices.tobytes())
        for color, path in zip(points.get_facecolors(), points.get_paths(), strict=True)
    ]
    assert len(set(look)) == 25
    assert len(set(look[1:25])) == 24
    assert {look[k] for k in (0, 25, 26, 27, 28, 29)} == {look[0]}
    assert look[0][0] == to_rgba(GREY)
    assert legend(ax) == [str(k) for k in range(1, 25)] + ["6 rarer"]
    np.testing.assert_array_equal(points.get_offsets()[:, 0], y)


def test_numbers_have_a_colour_bar():
    y = [0.5, 1.0, np.nan]
    ax = plot_embedding(np.eye(3)[:, :2], y)
    np.testing.assert_array_equal(np.ma.filled(ax.collections[0].get_array(), np.nan), y)
    assert bar(ax).get_ylabel() == "target"
    assert ax.get_legend() is None
    whole = plot_embedding(np.eye(3)[:, :2], [1, 2, 3], discrete=False)
    np.testing.assert_array_equal(whole.collections[0].get_array(), [1, 2, 3])


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array, lambda Y: pd.DataFrame(Y, columns=list("abcd"))])
def test_label_sets_have_the_colour_of_their_first_principal_component(label_sets, kind):
    X, Y = label_sets
    names = None if isinstance(kind(Y), pd.DataFrame) else list("abcd")
    ax = plot_embedding(X, kind(Y), label_names=names)
    pca = PCA(1).fit(Y)
    np.testing.assert_allclose(ax.collections[0].get_array(), pca.transform(Y)[:, 0], atol=1e-10)
    assert bar(ax).get_ylabel() == f"first principal component of 4 labels ({pca.explained_variance_ratio_[0]:.0%})"
    loadings = pca.components_[0]
    assert loadings.min() < 0 < loadings.max()
    assert bar(ax).get_title() == "abcd"[loadings.argmax()]
    assert bar(ax).get_xlabel() == "abcd"[loadings.argmin()]


def test_missing_labels_count_as_the_mean_of_their_label(label_sets):
    X, Y = label_sets
    gaps = Y.astype(float)
    gaps[0, 1], gaps[1] = np.nan, np.nan
    values = np.ma.filled(plot_embedding(X, gaps).collections[0].get_array(), np.nan)
    filled = np.where(np.isnan(gaps), np.nanmean(gaps, axis=0), gaps)
    expected = PCA(1).fit_transform(filled)[:, 0]
    expected[1] = np.nan
    np.testing.assert_allclose(values, expected, atol=1e-10)


def test_a_label_can_be_chosen(label_sets):
    X, Y = label_sets
    by_name = plot_embedding(X, Y, label="b", label_names=list("abcd"))
    by_index = plot_embedding(X, Y, label=1)
    expected = [to_rgba(PALETTE[has]) for has in Y[:, 1]]
    np.testing.assert_allclose(by_name.collections[0].get_facecolors(), expected)
    np.testing.assert_allclose(by_index.collections[0].get_facecolors(), expected)
    assert legend(by_name) == ["not b", "b"]
    numbers = plot_embedding(X, Y + 0.5, label=-1)
    np.testing.assert_array_equal(numbers.collections[0].get_array(), Y[:, -1] + 0.5)
    assert bar(numbers).get_ylabel() == "label 3"
    classes = plot_embedding(X[:2], np.array([["x", "u"], ["y", "v"]]), label=1)
    assert legend(classes) == ["u", "v"]


def test_distributions_have_the_colour_of_their_strongest_label():
    Y = np.array([[0.2, 0.5, 0.3], [0.6, 0.4, 0.0], [0.1, 0.8, 0.1], [np.nan, 0.5, 0.5]])
    ax = plot_embedding(np.arange(8.0).reshape(4, 2), Y, label_names=["sky", "water", "plant"])
    colors = [PALETTE[1], PALETTE[0], PALETTE[1], GREY]
    np.testing.assert_allclose(ax.collections[0].get_facecolors(), [to_rgba(color) for color in colors])
    assert legend(ax) == ["sky", "water", "unknown"]
    assert ax.get_legend().get_title().get_text() == "strongest label"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[np.nan, 1]], [0]), "X contains NaN"),
        (([[0, 1]], [0, 1]), "inconsistent numbers of samples"),
        ((np.eye(2), [0, 1], {"label": 1}), "label=1 chooses one of several columns"),
        ((np.eye(2), np.eye(2), {"label": "c"}), "label='c' is none of the 2 labels"),
        ((np.eye(2), np.eye(2), {"label": 2}), "label=2 is none of the 2 labels"),
        ((np.eye(2), np.eye(2), {"label_names": ["a"]}), "label_names holds 1, but there are 2 labels"),
        ((np.eye(2), [0, 1], {"label_names": "ab"}), "label_names holds one string, but there are 2 classes"),
        ((np.eye(2), ["a", "b"], {"discrete": False}), "discrete=False is for numbers"),
        ((np.eye(2), np.array([["a", "b"], ["c", "d"]])), "Choose the one to colour by with label="),
    ],
)
def test_embedding_says_what_does_not_fit(arguments, message):
    *arrays, options = arguments if isinstance(arguments[-1], dict) else (*arguments, {})
    with pytest.raises(ValueError, match=message):
        plot_embedding(*arrays, **options)
    assert plt.get_fignums() == []


# plot_relation


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


# plot_metric


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
    assert ax.get_xlabel() == "3 of 5 features, in the order of the rows"


def test_metric_takes_names_and_components_of_an_estimator():
    X, y = load_iris(return_X_y=True, as_frame=True)
    nca = NeighborhoodComponentsAnalysis(max_iter=5, random_state=0).fit(X, y)
    ax = plot_metric(nca)
    M = nca.components_.T @ nca.components_
    np.testing.assert_allclose(ax.images[0].get_array(), M[np.argsort(-M.diagonal())][:, np.argsort(-M.diagonal())])
    assert {tick.get_text() for tick in ax.get_yticklabels()} == set(X.columns)
    unnamed = plot_metric(RAMLLinear().fit(X.to_numpy(), y))
    assert {tick.get_text() for tick in unnamed.get_yticklabels()} == set("0123")


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
    with pytest.raises(TypeError, match="ndarray is no estimator"):
        plot_metric(np.eye(2))
    with pytest.raises(ValueError, match="feature_names holds 2, but there are 5 features"):
        plot_metric(RAMLLinear().fit(X, Y), feature_names=["a", "b"])
    assert plt.get_fignums() == []


# plot_training


def test_training_draws_loss_and_criterion_and_marks_the_best_epoch(label_sets):
    X, Y = label_sets
    model = HRAMLTransformer(encoder="mlp", max_epochs=4, learning_rate=0.1, random_state=0).fit(scale(X), Y)
    ax = plot_training(model)
    np.testing.assert_array_equal(ax.get_lines()[0].get_xydata(), np.c_[np.arange(1, 5), model.loss_curve_])
    beside = ax.figure.axes[1]
    curve, at_best, ring = beside.get_lines()
    np.testing.assert_array_equal(curve.get_xydata(), np.c_[np.arange(5), model.validation_curve_])
    best = int(np.argmin(model.validation_curve_))
    assert best == model.best_epoch_
    assert set(at_best.get_xdata()) == {best}
    np.testing.assert_array_equal(ring.get_xydata(), [[best, min(model.validation_curve_)]])
    assert beside.get_title() == f"best epoch {best}"


def test_training_without_validation_has_the_loss_alone():
    ax = plot_training(Trained([3.0]))
    assert ax.figure.axes == [ax]
    np.testing.assert_array_equal(ax.get_lines()[0].get_xydata(), [[1, 3]])


def test_training_says_where_there_was_none(label_sets):
    with pytest.raises(ValueError, match="HRAMLTransformer was fitted without an epoch of training"):
        plot_training(HRAMLTransformer().fit(*label_sets))
    with pytest.raises(TypeError, match="RAMLLinear has no loss_curve_"):
        plot_training(RAMLLinear().fit(*label_sets))
    with pytest.raises(NotFittedError):
        plot_training(HRAMLTransformer())
    assert plt.get_fignums() == []


# plot_critical_difference


def drawn_ranks(ax):
    return sorted(float(points.get_offsets()[0, 0]) for points in ax.collections)


def crossbars(ax):
    """Both ends of each bar across methods that do not differ."""
    bars = [line.get_xdata() for line in ax.get_lines() if line.get_linewidth() == 4]
    return sorted((float(min(ends)), float(max(ends))) for ends in bars)


def runs_without_difference(ranks, alike):
    """Ends of the largest runs of methods in the order of their ranks of which no two differ."""
    order = np.argsort(ranks)
    runs = [
        (a, b)
        for a, b in combinations(range(len(ranks)), 2)
        if all(alike[order[k], order[m]] for k, m in combinations(range(a, b + 1), 2))
    ]
    largest = [(a, b) for a, b in runs if not any((c <= a and b <= d) and (c, d) != (a, b) for c, d in runs)]
    return sorted((ranks[order[a]], ranks[order[b]]) for a, b in largest)


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_nemenyi_links_average_ranks_within_the_critical_difference(rng, higher_is_better):
    scores = (rng.standard_normal((14, 6)) + np.arange(6) * 0.6).round()  # with ties
    ax = plot_critical_difference(scores, higher_is_better=higher_is_better)
    ranks = np.mean([rankdata(-row if higher_is_better else row) for row in scores], axis=0)
    np.testing.assert_allclose(drawn_ranks(ax), np.sort(ranks))
    difference = 2.850 * np.sqrt(6 * 7 / (6 * 14))  # Demšar, table 5: q for 6 methods at level 0.05
    assert ax.texts[-1].get_text() == f"critical difference {difference:.2f}"
    alike = abs(ranks[:, None] - ranks) < difference
    assert len(runs_without_difference(ranks, alike)) > 1
    np.testing.assert_allclose(crossbars(ax), runs_without_difference(ranks, alike))


def test_the_level_of_nemenyi_counts(rng):
    scores = rng.standard_normal((14, 6)) + np.arange(6) * 0.6
    difference = studentized_range.ppf(0.5, 6, np.inf) / np.sqrt(2) * np.sqrt(0.5)
    ax = plot_critical_difference(scores, alpha=0.5)
    assert ax.texts[-1].get_text() == f"critical difference {difference:.2f}"
    ranks = rankdata(-scores, axis=1).mean(0)
    np.testing.assert_allclose(crossbars(ax), runs_without_difference(ranks, abs(ranks[:, None] - ranks) < difference))


def test_wilcoxon_holm_links_what_no_corrected_test_separates():
    scores = np.random.default_rng(4).standard_normal((12, 4)) * 0.5 + np.arange(4) * 0.35
    scores[:, 1] = scores[:, 0]  # the same method twice: all differences are 0
    ax = plot_critical_difference(scores, test="wilcoxon-holm", names=["a", "same", "b", "c"])
    pairs = list(combinations(range(4), 2))
    p = np.array([wilcoxon(scores[:, a], scores[:, b], zero_method="zsplit").pvalue for a, b in pairs])
    alike = np.eye(4, dtype=bool)
    rejected = True
    for step, k in enumerate(np.argsort(p)):  # Holm: down from the smallest p-value, until one is not rejected
        rejected = rejected and p[k] <= 0.05 / (len(p) - step)
        alike[pairs[k]] = alike[pairs[k][::-1]] = not rejected
    ranks = rankdata(-scores, axis=1).mean(0)
    assert 0 < (~alike).sum() / 2 < (p <= 0.05).sum()  # the correction counts
    np.testing.assert_allclose(crossbars(ax), runs_without_difference(ranks, alike))
    assert not any("critical difference" in text.get_text() for text in ax.texts)


@pytest.mark.parametrize("test", ["nemenyi", "wilcoxon-holm"])
@pytest.mark.parametrize("shape", [(2, 2), (5, 3), (6, 9)])
def test_methods_that_all_tie_are_drawn(test, shape):
    ax = plot_critical_difference(np.ones(shape), test=test)
    ax.figure.savefig(BytesIO())
    np.testing.assert_allclose(drawn_ranks(ax), (shape[1] + 1) / 2)


def test_critical_difference_takes_names_from_a_data_frame():
    scores = pd.DataFrame([[0.1, 0.3], [0.2, 0.4]], columns=["plain {}", "learned"])
    assert [text.get_text() for text in plot_critical_difference(scores).texts][:2] == [
        "learned (1.00)",
        "(2.00) plain {}",
    ]


@pytest.mark.parametrize(
    ("scores", "options", "message"),
    [
        ([[1, np.nan], [1, 2]], {}, "scores contains NaN"),
        ([[1], [2]], {}, "minimum of 2 is required"),
        ([[1, 2]], {}, "minimum of 2 is required"),
        (np.eye(2), {"names": ["a"]}, "names holds 1, but there are 2 methods"),
        (np.eye(2), {"names": ["a", "a"]}, "names repeats"),
        (np.eye(2), {"test": "t-test"}, "test='t-test' is not known"),
        (np.eye(2), {"alpha": 5}, "alpha=5 must be between 0 and 1"),
    ],
)
def test_critical_difference_says_what_does_not_fit(scores, options, message):
    with pytest.raises(ValueError, match=message):
        plot_critical_difference(scores, **options)
    assert plt.get_fignums() == []


# plot_quality_against_time


@pytest.mark.parametrize("sign", [1, -1])
def test_the_front_has_the_methods_that_no_other_beats(rng, sign):
    times, quality = np.exp(rng.standard_normal(30)).round(1) + 0.1, rng.standard_normal(30).round(1)
    ax = plot_quality_against_time(times, sign * quality, range(30), higher_is_better=sign > 0)
    methods = list(zip(times, quality, strict=True))
    front = {
        (t, sign * q)
        for t, q in methods
        if not any(faster <= t and better >= q and (faster, better) != (t, q) for faster, better in methods)
    }
    assert {tuple(point) for point in ax.get_lines()[0].get_xydata()} == front
    np.testing.assert_array_equal(ax.collections[0].get_offsets(), np.c_[times, sign * quality])
    assert [text.get_text() for text in ax.texts] == [str(k) for k in range(30)]
    assert ax.get_xscale() == "log"


def test_names_do_not_cover_points_or_one_another():
    times, quality = [0.1, 0.11, 0.1, 5, 40], [0.80, 0.80, 0.79, 0.82, 0.81]
    ax = plot_quality_against_time(times, quality, ["first", "second", "third", "fourth method", "fifth method"])
    ax.figure.draw_without_rendering()
    names = [text.get_window_extent() for text in ax.texts]
    assert not any(a.overlaps(b) for a, b in combinations(names, 2))
    points = ax.transData.transform(np.c_[times, quality])
    assert not any(name.contains(*point) for name in names for point in points)


def test_time_says_what_does_not_fit():
    with pytest.raises(ValueError, match="names holds 1, but there are 2 methods"):
        plot_quality_against_time([1, 2], [1, 2], ["a"])
    with pytest.raises(ValueError, match="quality holds 1 values, but times 2"):
        plot_quality_against_time([1, 2], [1], ["a", "b"])
    for times in ([0, 1], [np.nan, 1], [np.inf, 1]):
        with pytest.raises(ValueError, match="Leave out methods"):
            plot_quality_against_time(times, [1, 2], ["a", "b"])
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


def test_names_of_classes_may_be_missing(rng):
    X = rng.normal(size=(6, 2))
    ax = plot_embedding(X, np.array(["a", None, "b", "a", None, "b"], dtype=object))
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels[:2] == ["a", "b"]
    assert "unknown" in labels[-1]


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
