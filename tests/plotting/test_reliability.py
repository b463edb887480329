"""Picture of the calibration of probabilities."""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.metrics import brier_score_loss

from skrelmetric.plotting import plot_reliability
from skrelmetric.plotting._axes import MARKERS
from tests.plotting.drawn import legend


def curves(ax):
    """Points of each line but the diagonal."""
    return [line.get_xydata() for line in ax.get_lines()[1:]]


def curve(has, p, strategy, n_bins):
    """Mean probability and frequency of each bin, one after the other."""
    ends = np.linspace(0, 1, n_bins + 1)
    inner = np.quantile(p, ends[1:-1]) if strategy == "quantile" else ends[1:-1]
    bins = [(low < p) & (p <= high) for low, high in pairwise([-1, *inner, 1])]
    return [(p[each].mean(), has[each].mean()) for each in bins if each.any()]


@pytest.fixture
def probabilities(rng):
    P = rng.random((200, 3))
    return (rng.random((200, 3)) < P**2).astype(int), P


@pytest.mark.parametrize("strategy", ["quantile", "uniform"])
def test_lines_are_frequencies_of_bins(probabilities, strategy):
    Y, P = probabilities
    ax = plot_reliability(Y, P, strategy=strategy, n_bins=7, label_names=list("abc"))
    *each, together = curves(ax)
    for drawn, has, p in zip(each, Y.T, P.T, strict=True):
        np.testing.assert_allclose(drawn, curve(has, p, strategy, 7))
    np.testing.assert_allclose(together, curve(Y.ravel(), P.ravel(), strategy, 7))
    scores = [brier_score_loss(has, p) for has, p in zip(Y.T, P.T, strict=True)]
    named = [
        f"{name}: {score:.3f}" for name, score in zip([*"abc", "all together"], [*scores, np.mean(scores)], strict=True)
    ]
    assert legend(ax) == named
    assert [line.get_marker() for line in ax.get_lines()[1:4]] == list(MARKERS[:3])


def test_bars_count_the_probabilities():
    p = np.array([0.01, 0.02, 0.06, 0.99])
    heights, edges, _ = plot_reliability([0, 0, 1, 1], p).patches[0].get_data()
    np.testing.assert_allclose(edges, np.linspace(0, 1, 21))
    np.testing.assert_allclose(heights / heights.max() * 2, np.histogram(p, 20, (0, 1))[0])


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array, lambda Y: pd.DataFrame(Y, columns=list("abc"))])
def test_label_sets_of_any_kind(probabilities, kind):
    Y, P = probabilities
    ax = plot_reliability(kind(Y), pd.DataFrame(P))
    for drawn, expected in zip(curves(ax), curves(plot_reliability(Y, P)), strict=True):
        np.testing.assert_array_equal(drawn, expected)
    if hasattr(kind(Y), "columns"):
        assert [text[0] for text in legend(ax)[:3]] == list("abc")


def test_many_labels_are_grey_and_the_whole_stands_out(rng):
    P = rng.random((100, 9))
    ax = plot_reliability((rng.random((100, 9)) < P).astype(int), P)
    assert legend(ax)[0] == "each of 9"
    assert len(legend(ax)) == 2
    *each, together = ax.get_lines()[1:]
    assert len(each) == 9
    assert together.get_linewidth() > max(line.get_linewidth() for line in each)


@pytest.mark.parametrize("target", ["numbers", "names", "string", "bool"])
@pytest.mark.parametrize("columns", ["one", "one column", "two"])
def test_two_classes(probabilities, target, columns):
    has, p = probabilities[0][:, 0], probabilities[1][:, 0]
    y = {
        "numbers": has,
        "names": np.where(has, "yes", "no"),
        "string": pd.Series(np.where(has, "yes", "no"), dtype="string"),
        "bool": has.astype(bool),
    }[target]
    given = {"one": p, "one column": p[:, None], "two": np.column_stack([1 - p, p])}[columns]
    ax = plot_reliability(y, given)
    np.testing.assert_allclose(curves(ax)[0], curve(has, p, "quantile", 10))
    name = {"numbers": "1", "bool": "1"}.get(target, "yes")
    assert legend(ax) == [f"{name}: {brier_score_loss(has, p):.3f}"]


def test_classes_are_drawn_one_against_the_rest(rng):
    P = rng.dirichlet(np.ones(3), 100)
    y = np.array(["ape", "bee", "cow"])[[rng.choice(3, p=p) for p in P]]
    ax = plot_reliability(y, P)
    *each, _ = curves(ax)
    for drawn, name, p in zip(each, ["ape", "bee", "cow"], P.T, strict=True):
        np.testing.assert_allclose(drawn, curve(y == name, p, "quantile", 10))


def test_missing_labels_are_left_out(probabilities):
    Y, P = probabilities
    gaps = pd.DataFrame(Y).astype("Int64")
    gaps.iloc[:50, 0], gaps.iloc[:, 2] = pd.NA, pd.NA
    *each, _ = curves(plot_reliability(gaps, P))
    assert len(each) == 2
    np.testing.assert_allclose(each[0], curve(Y[50:, 0], P[50:, 0], "quantile", 10))
    y = pd.Series(np.where(Y[:, 0], "yes", "no"), dtype="string")
    y[:50] = pd.NA
    np.testing.assert_allclose(curves(plot_reliability(y, P[:, 0]))[0], curve(Y[50:, 0], P[50:, 0], "quantile", 10))


def test_a_label_that_all_or_none_have_is_drawn():
    assert curves(plot_reliability([0, 0, 0], [0.1, 0.2, 0.3], n_bins=1))[0].tolist() == [[pytest.approx(0.2), 0]]
    assert len(curves(plot_reliability(np.ones((4, 2)), np.full((4, 2), 0.5)))) == 3


FRAME = pd.DataFrame(np.eye(2), columns=["rock", "calm"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 1], [0.5]), "inconsistent numbers of samples"),
        (([0, 1], [0.5, 1.5]), "y_prob holds 1.5, but probabilities are from 0 to 1"),
        (([0, 1], [0.5, np.nan]), "y_prob contains NaN"),
        ((np.eye(2), np.ones((2, 3))), r"y_true has shape \(2, 2\) and y_prob \(2, 3\)"),
        ((FRAME, FRAME[["calm", "rock"]]), "columns in different orders"),
        ((np.eye(2) * 3, np.ones((2, 2))), "it holds 3.0"),
        (([0, 1, 2], [0.5, 0.5, 0.5]), "y_true has 3 classes, but y_prob 1 columns"),
        ((["a", "a"], [0.5, 0.5]), "y_true has 1 classes"),
        (([0, 1], [[0.2] * 3] * 2), "y_true has 2 classes, but y_prob 3 columns"),
        ((np.eye(2), [np.eye(2), np.eye(2)]), "y_prob is a list of 2 arrays"),
        (([np.nan, np.nan], [0.5, 0.5]), "y_true is missing everywhere"),
        (([0, 1], [0, 1], {"strategy": "even"}), "strategy='even' is not known"),
        (([0, 1], [0, 1], {"n_bins": 0}), "n_bins == 0"),
        (([0, 1], [0, 1], {"label_names": ["a"]}), "label_names holds 1, but there are 2 classes"),
    ],
)
def test_what_does_not_fit_is_said(arguments, message):
    *arrays, options = arguments if isinstance(arguments[-1], dict) else (*arguments, {})
    with pytest.raises(ValueError, match=message):
        plot_reliability(*arrays, **options)
    assert plt.get_fignums() == []
