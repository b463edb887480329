from io import BytesIO
from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from scipy import sparse
from sklearn.decomposition import PCA

from skrelmetric.plotting import plot_embedding
from skrelmetric.plotting._axes import GREY, PALETTE, symbols
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
        panels = plot_embedding(np.ones((n_samples, n_components)), np.ones((n_samples, 2)))
        assert [len(panel.collections[0].get_offsets()) for panel in panels] == [n_samples] * 2


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
    sets = np.eye(100)[:, :5]
    for panel, counted in zip(plot_embedding(X, sparse.csr_array(sets), max_samples=10), sets.T, strict=True):
        assert sum(len(points.get_offsets()) for points in panel.collections) == 10
        assert panel.get_title().endswith(f"{int(counted.sum())} (1%)"), "of all samples, drawn or not"


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


def drawn(panel):
    """Places of the samples in the colour of a label, and of those in grey."""
    of_color = {to_rgba(PALETTE[0])[:3]: [], to_rgba(GREY)[:3]: []}
    for points in panel.collections:
        of_color[tuple(points.get_facecolors()[0][:3])].append(np.asarray(points.get_offsets()))
    return [np.concatenate([np.empty((0, 2)), *places]) for places in of_color.values()]


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array, lambda Y: pd.DataFrame(Y, columns=list("abcd"))])
def test_label_sets_have_a_panel_for_each_label(label_sets, kind):
    X, Y = label_sets
    names = None if isinstance(kind(Y), pd.DataFrame) else list("abcd")
    panels = plot_embedding(X[:, :2], kind(Y), label_names=names)
    assert panels.shape == (4,)
    for panel, name, has in zip(panels, "abcd", Y.T == 1, strict=True):
        with_label, without = drawn(panel)
        np.testing.assert_array_equal(with_label, X[has, :2])
        np.testing.assert_array_equal(without, X[~has, :2])
        assert panel.get_title() == f"{name}\n{has.sum()} ({has.mean():.0%})"
        assert panel.collections[0].get_facecolors()[0][:3] == pytest.approx(to_rgba(GREY)[:3]), "those with it on top"
        assert panel.get_xlim() == panels[0].get_xlim()
        assert panel.get_ylim() == panels[0].get_ylim()
        assert panel.get_aspect() == 1
    assert panels[0].figure.get_supxlabel() == "component 1"
    assert panels[0].figure.get_supylabel() == "component 2"


def test_unknown_labels_are_grey_crosses(label_sets):
    X, Y = label_sets[0][:, :2], label_sets[1].astype(float)
    Y[:3, 1] = np.nan
    for gaps in (Y, pd.DataFrame(Y).astype("Int64")):
        panel = plot_embedding(X, gaps)[1]
        absent, unknown, present = panel.collections
        np.testing.assert_array_equal(unknown.get_offsets(), X[:3])
        np.testing.assert_array_equal(absent.get_offsets(), X[Y[:, 1] == 0])
        np.testing.assert_array_equal(present.get_offsets(), X[Y[:, 1] == 1])
        assert panel.get_title().splitlines()[1] == f"{(Y[:, 1] == 1).sum()} ({(Y[3:, 1] == 1).mean():.0%})"


def test_of_many_labels_the_most_frequent_have_panels(label_sets):
    X, Y = label_sets
    Y = np.column_stack([Y, np.zeros((40, 20)), Y[:, 3]])
    panels = plot_embedding(X, Y, max_panels=3)
    first = sorted(np.argsort(-Y.sum(0), kind="stable")[:3])
    assert [panel.get_title().splitlines()[0] for panel in panels] == [f"label {k}" for k in first]
    assert panels[0].figure.get_suptitle() == "3 of 25 labels"
    assert len(plot_embedding(X, Y)) == 12
    assert len(plot_embedding(X, Y, label=range(14))) == 14


def test_labels_can_be_chosen(label_sets):
    X, Y = label_sets[0][:, :2], label_sets[1]
    by_name = plot_embedding(X, Y, label="b", label_names=list("abcd"))
    by_index = plot_embedding(X, Y, label=1)
    for ax in (by_name, by_index):
        np.testing.assert_array_equal(drawn(ax)[0], X[Y[:, 1] == 1])
    assert by_name.get_title().startswith("b\n")
    assert (by_name.get_xlabel(), by_name.get_ylabel()) == ("component 1", "component 2")
    several = plot_embedding(X, Y, label=["d", 0], label_names=list("abcd"))
    assert [panel.get_title()[0] for panel in several] == ["d", "a"]
    numbers = plot_embedding(X, Y + 0.5, label=-1)
    np.testing.assert_array_equal(numbers.collections[0].get_array(), Y[:, -1] + 0.5)
    assert bar(numbers).get_ylabel() == "label 3"
    classes = plot_embedding(X[:2], np.array([["x", "u"], ["y", "v"]]), label=1)
    assert legend(classes) == ["u", "v"]


def test_several_columns_of_numbers_or_classes_have_a_panel_each(label_sets):
    X, Y = label_sets
    panels = plot_embedding(X, Y * [0.5, 1.5, 2.5, 3.5])
    for panel, column in zip(panels, (Y * [0.5, 1.5, 2.5, 3.5]).T, strict=True):
        np.testing.assert_array_equal(panel.collections[0].get_array(), column)
    names = plot_embedding(X[:2], np.array([["x", "u"], ["y", "v"]]))
    assert [legend(panel) for panel in names] == [["x", "y"], ["u", "v"]]


def test_panels_take_the_place_of_axes_or_are_drawn_into_several(label_sets):
    X, Y = label_sets
    figure, (left, right) = plt.subplots(1, 2, layout="constrained")
    panels = plot_embedding(X, Y, ax=right)
    assert plt.get_fignums() == [figure.number]
    assert not right.axison
    assert not left.has_data()
    figure.draw_without_rendering()
    middle = figure.bbox.width / 2
    assert all(panel.get_window_extent().x0 >= middle for panel in panels)
    figure, grid = plt.subplots(2, 2)
    panels = plot_embedding(X, Y, ax=grid)
    assert list(panels) == list(grid.flat)
    assert [panel.get_xlabel() != "" for panel in panels] == [False, False, True, True]
    assert [panel.get_ylabel() != "" for panel in panels] == [True, False, True, False]


def test_axes_that_do_not_suit_the_panels_are_told(label_sets):
    X, Y = label_sets
    figure, grid = plt.subplots(1, 3)
    with pytest.raises(ValueError, match="ax holds 3 axes, but there are 4 panels"):
        plot_embedding(X, Y, ax=grid)
    with pytest.raises(ValueError, match="ax holds 3 axes, but there is one panel"):
        plot_embedding(X, Y[:, 0], ax=grid)
    with pytest.raises(ValueError, match="ax stands in no grid of subplots"):
        plot_embedding(X, Y, ax=figure.add_axes((0, 0, 1, 1)))


@pytest.mark.parametrize("style", ["default", "dark_background"])
@pytest.mark.parametrize("n_labels", [2, 6, 12])
def test_titles_of_panels_fit_at_the_size_of_a_column(rng, n_labels, style):
    X, Y = rng.standard_normal((50, 2)), rng.integers(0, 2, (50, n_labels))
    with plt.style.context(style):
        figure, ax = plt.subplots(figsize=(3.3, 2.5), layout="constrained")
        names = [f"a name of many letters {k}" for k in range(n_labels)]
        panels = plot_embedding(X, Y, label_names=names, ax=ax)
        figure.draw_without_rendering()
    titles = [panel.title.get_window_extent() for panel in panels]
    assert not any(a.overlaps(b) for a, b in combinations(titles, 2))
    assert not any(title.overlaps(panel.get_window_extent().shrunk(0.9, 0.9)) for title in titles for panel in panels)


@pytest.mark.parametrize("spread", [(1, 1), (1, 20), (20, 1)])
def test_axes_are_not_half_empty(rng, spread):
    X = rng.uniform(-1, 1, (200, 2)) * spread
    ax = plot_embedding(X, np.arange(200) % 2)
    extents = np.ptp(X, axis=0)
    limits = np.array([np.ptp(ax.get_xlim()), np.ptp(ax.get_ylim())])
    assert (limits <= 1.1 * np.maximum(extents, extents.max() / 2) + 1e-9).all()
    ax.figure.draw_without_rendering()
    box = ax.get_window_extent()
    assert box.height / box.width == pytest.approx(limits[1] / limits[0])


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
        ((np.eye(2), [0, 1], {"label": 1}), "label=1 chooses among several columns"),
        ((np.eye(2), np.eye(2), {"label": "c"}), "label='c' is none of the 2 labels"),
        ((np.eye(2), np.eye(2), {"label": 2}), "label=2 is none of the 2 labels"),
        ((np.eye(2), np.eye(2), {"label_names": ["a"]}), "label_names holds 1, but there are 2 labels"),
        ((np.eye(2), [0, 1], {"label_names": "ab"}), "label_names holds one string, but there are 2 classes"),
        ((np.eye(2), ["a", "b"], {"discrete": False}), "discrete=False is for numbers"),
        ((np.eye(2), np.eye(2), {"label": []}), "label is empty"),
        ((np.eye(2), np.eye(2), {"label": ["c"]}), "label='c' is none of the 2 labels"),
    ],
)
def test_embedding_says_what_does_not_fit(arguments, message):
    *arrays, options = arguments if isinstance(arguments[-1], dict) else (*arguments, {})
    with pytest.raises(ValueError, match=message):
        plot_embedding(*arrays, **options)
    assert plt.get_fignums() == []


@pytest.mark.parametrize("kind", ["string", "object", "category", None])
def test_names_of_classes_may_be_missing(rng, kind):
    X = rng.normal(size=(6, 2))
    missing = None if kind is None else pd.NA
    y = ["a", missing, "b", "a", missing, "b"]
    ax = plot_embedding(X, np.array(y, dtype=object) if kind is None else pd.Series(y, dtype=kind))
    assert legend(ax) == ["a", "b", "unknown"]
    colors = [to_rgba(color) for color in (PALETTE[0], GREY, PALETTE[1])]
    np.testing.assert_allclose(ax.collections[0].get_facecolors()[:3], colors)


def test_six_classes_differ_in_shape():
    y = np.arange(36)
    points = plot_embedding(np.column_stack([y, y]), y % 6).collections[0]
    shapes = {path.vertices.tobytes() for path in points.get_paths()[:6]}
    assert len(shapes) == 6
    assert len(set(symbols(36))) == 36


def test_the_legend_is_inside_where_no_layout_makes_room():
    figure, (plain, _) = plt.subplots(1, 2)
    plot_embedding(np.eye(6), list("abcabc"), ax=plain)
    figure.draw_without_rendering()
    box = plain.get_legend().get_window_extent()
    assert plain.bbox.contains(*box.min)
    assert plain.bbox.contains(*box.max)


def test_a_column_of_a_data_frame_has_classes():
    assert legend(plot_embedding(np.eye(3), pd.DataFrame({"kind": ["x", "y", "x"]}))) == ["x", "y"]
