from io import BytesIO

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from scipy import sparse
from sklearn.decomposition import PCA

from skrelmetric.plotting import plot_embedding
from skrelmetric.plotting._axes import GREY, PALETTE
from tests.plotting.drawn import bar, legend


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


def test_names_of_classes_may_be_missing(rng):
    X = rng.normal(size=(6, 2))
    ax = plot_embedding(X, np.array(["a", None, "b", "a", None, "b"], dtype=object))
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels[:2] == ["a", "b"]
    assert "unknown" in labels[-1]
