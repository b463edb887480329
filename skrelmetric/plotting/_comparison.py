"""Pictures of methods against one another, over data sets and over time."""

from __future__ import annotations

from itertools import pairwise
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata, studentized_range
from sklearn.utils import column_or_1d

from skrelmetric._interop.given import check_array
from skrelmetric.plotting._axes import GREY, PALETTE, axes_or_new, check_names, optional, text_color

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation

__all__ = ["plot_critical_difference", "plot_quality_against_time"]

_TESTS = ("nemenyi", "wilcoxon-holm")

# Offset of a name from its point, and what of its width and height is to the left of there and below; the first is the
# best to read.
_SIDES = (
    ((6, 0), (0, 0.5)),
    ((-6, 0), (1, 0.5)),
    ((0, 6), (0.5, 0)),
    ((0, -6), (0.5, 1)),
    *(((x, y), (x < 0, y < 0)) for x in (5, -5) for y in (5, -5)),
    *(((0, y), (0.5, y < 0)) for y in (15, -15)),
    *(((x, y), (x < 0, y < 0)) for x in (5, -5) for y in (15, -15)),
)


def plot_critical_difference(
    scores: ArrayLike,
    *,
    names: ArrayLike | None = None,
    higher_is_better: bool = True,
    test: str = "nemenyi",
    alpha: float = 0.05,
    ax: Axes | None = None,
) -> Axes:
    """Critical-difference diagram: average ranks of methods over data sets, and which of them do not differ.

    Parameters
    ----------
    scores : array-like of shape (n_datasets, n_methods)
        One score for each data set and method, such as the mean over folds.
    names : array-like of str of shape (n_methods,), default=None
        Names of the methods, all different. None takes the columns of a data frame.
    higher_is_better : bool, default=True
        Whether the highest score has rank 1. Equal scores share the mean of their ranks.
    test : {"nemenyi", "wilcoxon-holm"}, default="nemenyi"
        "nemenyi" compares average ranks, and draws the difference from which on two differ. "wilcoxon-holm" is the
        signed-rank test of each pair of methods, zero differences split evenly, with Holm's correction. It does not
        depend on what else is compared, and can find no difference at level 0.05 with five data sets or fewer.
    alpha : float, default=0.05
        Level of the test, above 0 and below 1.
    ax : matplotlib Axes, default=None
        Where to draw. None makes a figure.

    Returns
    -------
    matplotlib Axes
        With a marker at the average rank of each method, the best at the left, and a bar across each largest set of
        methods of which no two differ.

    Raises
    ------
    ValueError
        If there are fewer than two methods or data sets, a score is not finite, names do not fit or repeat, or `test`
        or `alpha` is unknown.
    ImportError
        If matplotlib or scikit-posthocs is missing.

    Notes
    -----
    Demšar asks for a Friedman test first, :func:`scipy.stats.friedmanchisquare`. A bar of "wilcoxon-holm" may pass the
    rank of a method outside its set, as p-values need not follow ranks.

    References
    ----------
    .. [1] J. Demšar, "Statistical comparisons of classifiers over multiple data sets", JMLR 7, 2006.

    Examples
    --------
    >>> from skrelmetric.plotting import plot_critical_difference
    >>> scores = [[0.7, 0.8, 0.9], [0.5, 0.6, 0.6], [0.4, 0.6, 0.7], [0.8, 0.8, 0.9]]
    >>> ax = plot_critical_difference(scores, names=["plain", "linear", "deep"])
    >>> [text.get_text() for text in ax.texts]
    ['deep (1.12)', 'linear (2.00)', '(2.88) plain', 'critical difference 1.66']
    """
    names = getattr(scores, "columns", None) if names is None else names
    scores = check_array(scores, dtype=np.float64, input_name="scores")
    n_datasets, n_methods = scores.shape
    if n_datasets < 2 or n_methods < 2:
        raise ValueError(
            f"scores has shape {scores.shape}, but two data sets (rows) and two methods (columns) are the least. "
            "Folds of one data set are no data sets: their training samples overlap."
        )
    names = check_names(range(n_methods) if names is None else names, n_methods, "names", "methods")
    if len(set(names)) < n_methods:
        raise ValueError(f"names repeats some of {names}. Pass a name of its own for each method.")
    if test not in _TESTS:
        raise ValueError(f"test={test!r} is not known. Choose one of {list(_TESTS)}.")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha={alpha!r} must be between 0 and 1: it is the level of the test.")
    posthocs = optional("scikit_posthocs")

    ranks = rankdata(-scores if higher_is_better else scores, axis=1).mean(0)
    if test == "nemenyi":
        p_values = posthocs.posthoc_nemenyi_friedman(scores)
        studentized = studentized_range.ppf(1 - alpha, n_methods, np.inf) / np.sqrt(2)
        difference = studentized * np.sqrt(n_methods * (n_methods + 1) / (6 * n_datasets))
    else:
        p_values = posthocs.posthoc_wilcoxon(list(scores.T), zero_method="zsplit", p_adjust="holm")
        difference = None
    p_values.index = p_values.columns = names

    ax = axes_or_new(ax, figsize=(7, 1.4 + 0.25 * n_methods))
    text = text_color()
    posthocs.critical_difference_diagram(
        dict(zip(names, ranks, strict=True)),
        p_values,
        alpha=alpha,
        ax=ax,
        label_fmt_left="{label} ({rank:.2f})",
        label_fmt_right="({rank:.2f}) {label}",
        text_h_margin=0.05 * np.ptp(ranks) or 0.05,
        elbow_props={"color": text, "linewidth": 1},
        marker_props={"color": PALETTE[0]},
        crossbar_props={"color": PALETTE[3], "linewidth": 4, "solid_capstyle": "round"},
    )
    if difference is not None:
        start = ranks.min()
        ax.plot([start, start + difference], [1.4, 1.4], color=text, marker="|")
        ax.text(start + difference / 2, 1.6, f"critical difference {difference:.2f}", ha="center", va="bottom")
    ax.set_xticks(np.arange(np.floor(ranks.min()), np.ceil(ranks.max()) + 1))
    return ax


def plot_quality_against_time(
    times: ArrayLike,
    quality: ArrayLike,
    names: ArrayLike,
    *,
    higher_is_better: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Picture of the quality of methods against the time that they take.

    Parameters
    ----------
    times : array-like of shape (n_methods,)
        Seconds, above 0.
    quality : array-like of shape (n_methods,)
        Quality of each method.
    names : array-like of str of shape (n_methods,)
        Names of the methods.
    higher_is_better : bool, default=True
        Whether the highest quality is the best.
    ax : matplotlib Axes, default=None
        Where to draw. None makes a figure.

    Returns
    -------
    matplotlib Axes
        With a point for each method, and a line along those than which no other is both faster and better.

    Raises
    ------
    ValueError
        If lengths differ, a time is not positive, or a value is not finite.
    ImportError
        If matplotlib is missing.

    Examples
    --------
    >>> from skrelmetric.plotting import plot_quality_against_time
    >>> ax = plot_quality_against_time(
    ...     [0.1, 2, 30], [0.78, 0.82, 0.81], ["plain", "linear", "deep"]
    ... )
    >>> ax.get_lines()[0].get_xdata()
    array([0.1, 2. ])
    """
    times, quality = (column_or_1d(np.asarray(values, dtype=np.float64)) for values in (times, quality))
    if not len(times):
        raise ValueError("There are no methods to draw. Pass one time, quality and name of each.")
    names = check_names(names, len(times), "names", "methods")
    if len(quality) != len(times):
        raise ValueError(f"quality holds {len(quality)} values, but times {len(times)}. Pass one of each for a method.")
    if not (np.isfinite(times).all() and np.isfinite(quality).all() and (times > 0).all()):
        raise ValueError("times and quality must be finite, and times above 0. Leave out methods that did not end.")
    front = _front(times, quality if higher_is_better else -quality)

    ax = axes_or_new(ax)
    ax.set_xscale("log")
    ax.plot(times[front], quality[front], color=PALETTE[3], drawstyle="steps-post", linewidth=1, zorder=1)
    on_front = np.isin(np.arange(len(times)), front)
    ax.scatter(times, quality, c=np.where(on_front, PALETTE[3], GREY), zorder=2)
    ax.set(xlabel="seconds", ylabel="quality")
    ax.margins(0.15)
    _label_points(ax, times, quality, names, front)
    return ax


def _front(times: np.ndarray, quality: np.ndarray) -> np.ndarray:
    """Methods than which no other is as fast and better, or faster and as good; the fastest first."""
    order = np.lexsort((-quality, times))
    best_before = np.maximum.accumulate(np.r_[-np.inf, quality[order]])[:-1]
    return order[quality[order] > best_before]


def _label_points(ax: Axes, x: np.ndarray, y: np.ndarray, names: list[str], front: np.ndarray) -> None:
    """Name beside each point, inside the axes, on the side where it covers least of what is there already."""
    ax.figure.canvas.figure.draw_without_rendering()  # names are measured where the points will be
    points = ax.transData.transform(np.column_stack([x, y]))
    pixels = ax.figure.canvas.figure.dpi / 72
    bends = [(b[0], a[1]) for a, b in pairwise(points[front])]
    turns = [point for both in zip(points[front], [*bends, points[front[-1]]], strict=True) for point in both]
    spans = [*((point, point) for point in points), *pairwise(turns)]
    taken = [(np.minimum(a, b) - 3, np.maximum(a, b) + 3) for a, b in spans]
    annotations = [
        # Without a say in the layout: a name that moved the axes would move the points that others stand beside.
        ax.annotate(name, place, (0, 0), textcoords="offset points", va="bottom", fontsize="small", in_layout=False)
        for place, name in zip(zip(x, y, strict=True), names, strict=True)
    ]
    offsets, shares = (np.array(of_sides, dtype=float) for of_sides in zip(*_SIDES, strict=True))
    for k in dict.fromkeys([*front[::-1], *range(len(names))]):  # the best has the first choice
        _break_lines(annotations[k], ax.bbox.width)
        size = annotations[k].get_window_extent().size
        corners = points[k] + pixels * offsets - shares * size  # (n_sides, 2)
        corners = np.clip(corners, ax.bbox.min, np.maximum(ax.bbox.max - size, ax.bbox.min))
        corner = corners[_covered(corners, size, np.array(taken)).argmin()]
        annotations[k].set_position((corner - points[k]) / pixels)
        taken.append((corner, corner + size))


def _break_lines(annotation: Annotation, room: float) -> None:
    """Break a name that is wider than the room for it, in pixels, into lines."""
    name = annotation.get_text()
    n_letters = len(name)
    while n_letters > 1 and (width := annotation.get_window_extent().width) > room:
        n_letters = max(1, min(n_letters - 1, int(n_letters * room / width)))
        annotation.set_text(fill(name, n_letters))


def _covered(corners: np.ndarray, size: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Area that a name of a size would share with boxes (n_boxes, 2 ends, 2), for each lower left corner (n, 2)."""
    low = np.maximum(corners[:, None], taken[:, 0])
    high = np.minimum(corners[:, None] + size, taken[:, 1])
    return np.maximum(high - low, 0).prod(axis=2).sum(axis=1)
