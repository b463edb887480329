"""Picture of the neighbours of a sample."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from scipy import sparse
from sklearn.exceptions import NotFittedError
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrelmetric import (
    AAKNN,
    MLkNN,
    RelationalNeighborsClassifier,
    SoftNeighborsClassifier,
    SoftNeighborsRegressor,
)
from skrelmetric.plotting import plot_neighbors
from skrelmetric.plotting._axes import GREY, PALETTE


def rows(ax):
    return [tick.get_text() for tick in ax.get_yticklabels()]


def columns(ax):
    return [tick.get_text() for tick in ax.get_xticklabels()][2:]


def cells(ax):
    """Ink of the cells, row by row, NaN for grey ones."""
    faces = ax.collections[0].get_facecolors()
    assert all(tuple(face[:3]) in {to_rgba(PALETTE[0])[:3], to_rgba(GREY)[:3]} for face in faces)
    ink = [np.nan if tuple(face[:3]) == to_rgba(GREY)[:3] else face[3] for face in faces]
    return np.reshape(ink, (-1, len(columns(ax))))


def bars(ax):
    """Lengths of the bars of distances and of weights, relative to the longest."""
    return [
        np.array([bar.get_width() for bar in some]) / max(bar.get_width() for bar in some) for some in ax.containers
    ]


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_label_sets_weights_and_distances_are_those_of_the_neighbours(label_sets):
    X, Y = label_sets
    model = SoftNeighborsClassifier().fit(X[:30], Y[:30])
    ax = plot_neighbors(model, X[35], Y[:30], y_true=Y[35], n_neighbors=4, label_names=list("abcd"))
    D = np.linalg.norm(X[35] - X[:30], axis=1)
    nearest = np.argsort(D)[:4]
    weights = np.exp(-(D**2) / (model.temperature_ * model.scale_))
    weights /= weights.sum()
    assert rows(ax) == ["predicted", "true", *map(str, nearest), "others"]
    assert columns(ax) == list("abcd")
    probabilities = model.predict_proba(X[35:36])[0]
    np.testing.assert_allclose(cells(ax), np.vstack([probabilities, Y[35], Y[nearest]]))
    for drawn, expected in zip(bars(ax), (D[nearest], weights[nearest]), strict=True):
        np.testing.assert_allclose(drawn, expected / expected.max())
    assert texts(ax)[:4] == [f"{distance:.3g}" for distance in D[nearest]]
    assert texts(ax)[4:9] == [f"{share:.1%}" for share in [*weights[nearest], 1 - weights[nearest].sum()]]
    assert texts(ax)[9:] == [f"{probability:.2f}" for probability in probabilities]
    framed = [round(path.get_extents().x0, 6) for path in ax.collections[1].get_paths()]
    lefts = [round(path.get_extents().x0, 6) for path in ax.collections[0].get_paths()[:4]]
    assert framed == [left for left, has in zip(lefts, model.predict(X[35:36])[0], strict=True) if has]


def test_all_who_vote_leave_no_others(label_sets):
    X, Y = label_sets
    ax = plot_neighbors(MLkNN(3).fit(X, Y), X[0], Y)
    assert len(rows(ax)) == 4
    assert rows(ax)[:2] == ["predicted", "0"]
    assert texts(ax)[3:6] == ["33.3%"] * 3


@pytest.mark.parametrize("kind", [lambda y: y, list, lambda y: pd.Series(y, dtype="string"), pd.Series])
def test_classes_have_a_column_each(rng, kind):
    X, y = rng.standard_normal((30, 2)), np.array(list("xyz") * 10)
    model = SoftNeighborsClassifier(n_neighbors=5).fit(X, y)
    ax = plot_neighbors(model, X[:1], kind(y), y_true="z")
    (nearest,) = model.kneighbors(X[:1], return_distance=False)
    assert columns(ax) == ["x", "y", "z"]
    np.testing.assert_allclose(cells(ax)[0], model.predict_proba(X[:1])[0])
    np.testing.assert_array_equal(cells(ax)[1:], [[0, 0, 1], *(y[nearest][:, None] == list("xyz"))])
    assert np.isnan(cells(plot_neighbors(model, X[:1], kind(y), y_true=None or pd.NA))[1]).all()


def test_distributions_are_shades_of_the_largest_share(rng):
    X, D = rng.standard_normal((30, 2)), rng.dirichlet(np.ones(3), 30)
    model = AAKNN(4).fit(X, D)
    ax = plot_neighbors(model, X[3], D, y_true=D[3])
    (nearest,) = model.kneighbors(X[3:4], return_distance=False)
    shown = np.vstack([D[nearest].mean(0), D[3], D[nearest]])
    np.testing.assert_allclose(cells(ax), shown / shown.max())
    assert texts(ax)[8:] == [f"{share:.2f}" for share in shown.ravel()]


def test_numbers_are_written_and_lie_between_the_least_and_the_largest(rng):
    X, y = rng.standard_normal((30, 2)), rng.standard_normal((30, 2)) * [1, 100]
    model = SoftNeighborsRegressor(n_neighbors=3).fit(X, y)
    ax = plot_neighbors(model, X[3], y, label_names=["small", "large"])
    (nearest,) = model.kneighbors(X[3:4], return_distance=False)
    shown = np.vstack([model.predict(X[3:4]), y[nearest]])
    np.testing.assert_allclose(cells(ax), (shown - shown.min(0)) / np.ptp(shown, axis=0), atol=1e-12)
    assert texts(ax)[6:] == [f"{number:.3g}" for number in shown.ravel()]
    one = plot_neighbors(SoftNeighborsRegressor().fit(X, y[:, 0]), X[3], y[:, 0], y_true=1.5)
    assert columns(one) == ["0"]


def test_a_pipeline_takes_rows_of_data_frames_and_names_what_it_knows(label_sets):
    X = pd.DataFrame(label_sets[0], columns=list("vwxyz"))
    Y = pd.DataFrame(label_sets[1], columns=["red", "green", "blue", "grey"], index=[f"song {k}" for k in range(40)])
    model = make_pipeline(StandardScaler(), MLkNN(3)).fit(X, Y)
    (nearest,) = model[-1].kneighbors(model[:-1].transform(X.iloc[[5]]), return_distance=False)
    for x in (X.iloc[5], X.iloc[[5]]):
        ax = plot_neighbors(model, x, Y, y_true=Y.iloc[5])
        assert rows(ax) == ["predicted", "true", *(f"song {k}" for k in nearest)]
        assert columns(ax) == ["red", "green", "blue", "grey"]


def test_relational_neighbours_show_the_vote_behind_their_kernel(label_sets):
    X, Y = label_sets
    model = RelationalNeighborsClassifier(cv=None, random_state=0).fit(X, Y)
    ax = plot_neighbors(model, X[0], Y, n_neighbors=3)
    distances, indices = model.kneighbors(X[:1], 3)
    assert rows(ax)[1:4] == [str(k) for k in indices[0]]
    assert texts(ax)[:3] == [f"{distance:.3g}" for distance in distances[0]]
    np.testing.assert_allclose(cells(ax)[0], model.predict_proba(X[:1])[0])


def test_of_many_labels_those_that_matter_are_drawn(rng):
    X, Y = rng.standard_normal((40, 3)), (rng.random((40, 60)) < 0.02).astype(int)
    Y[:, 50] = 1
    model = MLkNN(5).fit(sparse.csr_array(X), sparse.csr_array(Y))
    true = np.zeros(60, dtype=int)
    true[59] = 1
    ax = plot_neighbors(model, sparse.csr_array(X[:1]), sparse.csr_array(Y), y_true=sparse.csr_array(true[None]))
    assert len(columns(ax)) == 12
    assert {"50", "59"} <= set(columns(ax))
    (nearest,) = model.kneighbors(sparse.csr_array(X[:1]), return_distance=False)
    np.testing.assert_array_equal(cells(ax)[2:], Y[nearest][:, [int(name) for name in columns(ax)]])


@pytest.mark.parametrize("n_labels", [1, 6, 12])
@pytest.mark.parametrize("n_neighbors", [3, 10])
def test_texts_do_not_overlap_at_the_size_of_a_column(rng, n_labels, n_neighbors):
    X, D = rng.standard_normal((30, 2)), rng.dirichlet(np.ones(n_labels), 30)
    names = [f"a name of letters {k}" for k in range(n_labels)]
    with plt.rc_context({"font.size": 7}):
        figure, ax = plt.subplots(figsize=(3.3, 2.5), layout="constrained")
        plot_neighbors(AAKNN(10).fit(X, D), X[0], D, n_neighbors=n_neighbors, label_names=names, ax=ax)
        figure.draw_without_rendering()
    ticks = [*ax.get_xticklabels(), *ax.get_yticklabels()]
    boxes = [text.get_window_extent() for text in [*ticks, *ax.texts]]
    assert not [(a, b) for k, a in enumerate(boxes) for b in boxes[:k] if a.shrunk(1, 0.8).overlaps(b.shrunk(1, 0.8))]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"estimator": KNeighborsClassifier()}, TypeError, "KNeighborsClassifier is no predictor by neighbours"),
        ({"estimator": MLkNN()}, NotFittedError, "not fitted"),
        ({"x": np.eye(5)}, ValueError, r"x has shape \(5, 5\), but it is one sample"),
        ({"Y": np.ones((7, 4))}, ValueError, "Y has 7 targets, but MLkNN was fitted to 40 samples"),
        ({"Y": np.ones((40, 3))}, ValueError, "Y holds 3 values a sample, but the model predicts 4"),
        ({"y_true": [1, 0]}, ValueError, "y_true holds 2 values a sample, but the model predicts 4"),
        ({"label_names": ["a"]}, ValueError, "label_names holds 1, but there are 4 outputs"),
        ({"n_neighbors": 0}, ValueError, "n_neighbors == 0"),
        ({"max_labels": 0}, ValueError, "max_labels == 0"),
    ],
)
def test_what_does_not_fit_is_said(label_sets, change, error, message):
    X, Y = label_sets
    arguments = {"estimator": MLkNN(3).fit(X, Y), "x": X[0], "Y": Y, **change}
    with pytest.raises(error, match=message):
        plot_neighbors(**arguments)
    assert plt.get_fignums() == []


def test_a_class_that_was_never_seen_is_said(rng):
    X, y = rng.standard_normal((9, 2)), list("xyz") * 3
    with pytest.raises(ValueError, match="y_true='q' is none of the classes"):
        plot_neighbors(SoftNeighborsClassifier().fit(X, y), X[0], y, y_true="q")
