"""Pictures of several methods."""

from io import BytesIO
from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata, studentized_range, wilcoxon

from skrelmetric.plotting import plot_critical_difference, plot_quality_against_time


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
        ([[1], [2]], {}, r"shape \(2, 1\), but two data sets"),
        ([[1, 2]], {}, r"shape \(1, 2\), but two data sets .* Folds of one data set are no data sets"),
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


def drawn_texts(ax):
    """Names, labels of the axes, and those of ticks within their limits."""
    texts = [*ax.texts, ax.xaxis.label, ax.yaxis.label]
    for axis in (ax.xaxis, ax.yaxis):
        low, high = axis.get_view_interval()
        ticks = zip(axis.get_majorticklocs(), axis.get_majorticklabels(), strict=True)
        texts += [label for place, label in ticks if low <= place <= high]
    return texts


@pytest.mark.parametrize("size", [(8.5, 4), (3.4, 3)])
@pytest.mark.parametrize("n_words", [1, 4, 30])
def test_names_stay_inside(size, n_words):
    times = [1e-6, 1e-6, 0.3, 0.31, 1e5, 1e5]
    quality = [0.0, 1.0, 0.49, 0.5, 0.0, 1.0]
    names = [" ".join([f"{k}. neighbours"] * n_words) for k in range(6)]
    ax = plt.figure(figsize=size, layout="constrained").subplots()
    plot_quality_against_time(times, quality, names, ax=ax)
    ax.set(xlabel="median seconds of a fit", ylabel="Average precision")
    ax.figure.draw_without_rendering()
    everything = ax.figure.bbox
    for text in drawn_texts(ax):
        box = text.get_window_extent()
        assert everything.contains(*box.min), text.get_text()
        assert everything.contains(*box.max), text.get_text()
    assert [text.get_text().replace("\n", " ") for text in ax.texts] == names


def test_the_best_method_has_the_first_choice_of_sides():
    quality = [*np.linspace(0.8195, 0.8199, 6), 0.82, 0.8]
    ax = plot_quality_against_time([1.0] * 7 + [100.0], quality, [f"Relational neighbours {k}" for k in range(8)])
    (left, bottom), middle = ax.texts[6].get_position(), ax.texts[6].get_window_extent().height * 36 / ax.figure.dpi
    assert (left, bottom) == pytest.approx((6, -middle)), "the best to read, to the right of its point"


def test_time_says_what_does_not_fit():
    with pytest.raises(ValueError, match="names holds 1, but there are 2 methods"):
        plot_quality_against_time([1, 2], [1, 2], ["a"])
    with pytest.raises(ValueError, match="quality holds 1 values, but times 2"):
        plot_quality_against_time([1, 2], [1], ["a", "b"])
    for times in ([0, 1], [np.nan, 1], [np.inf, 1]):
        with pytest.raises(ValueError, match="Leave out methods"):
            plot_quality_against_time(times, [1, 2], ["a", "b"])
    assert plt.get_fignums() == []
