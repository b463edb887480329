"""Picture of a prediction by neighbours: who voted, from how far, with which weight and for what."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_scalar

from skrelmetric.plotting._axes import (
    GREY,
    LEAST_FONT,
    PALETTE,
    axes_or_new,
    font_points,
    optional,
    points_of,
    shortened,
    text_color,
)
from skrelmetric.plotting._vote import last_step, relevant, rows_of, targets_of, vote_on

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_neighbors"]

# Places in the width of the axes: bars of distances and of weights, and the cells of targets.
_BAR = 0.19
_DISTANCE, _WEIGHT, _CELLS = 0.0, 0.21, 0.44
_NOTHING = 5e-4  # share of a vote that would be written as 0.0%
_MOST_LETTERS = 16
_MOST_NUMBERS = 8  # columns that leave room for a number in each cell


def plot_neighbors(
    estimator: Any,
    x: ArrayLike,
    Y: ArrayLike,
    *,
    y_true: Any = None,
    n_neighbors: int = 10,
    label_names: ArrayLike | None = None,
    max_labels: int = 12,
    ax: Axes | None = None,
) -> Axes:
    """Picture of the neighbours of one sample: how near they are, what they weigh, and their targets.

    Parameters
    ----------
    estimator : estimator
        Fitted :class:`skrelmetric.MLkNN`, :class:`skrelmetric.AAKNN`, soft or relational neighbours, or a pipeline that
        ends in one. Relational neighbours show the soft vote behind their kernel metric, which is one of their members,
        and predict by all.
    x : array-like or sparse matrix of shape (n_features,) or (1, n_features)
        The sample; of a data frame a row, as ``X.iloc[[0]]`` or ``X.iloc[0]``.
    Y : array-like or sparse matrix of shape (n_train,) or (n_train, n_outputs)
        Targets that `estimator` was fitted to. Those of a series or data frame are named by its index.
    y_true : class, number or array-like of shape (n_outputs,), default=None
        True target of the sample. None draws none.
    n_neighbors : int, default=10
        Most neighbours to draw. The weight of all others that vote is in a last row.
    label_names : array-like of str, default=None
        Names of the outputs, or of the classes of a one-dimensional target. None takes those that `estimator` has, or
        the classes.
    max_labels : int, default=12
        Most labels, classes or outputs to draw. Where there are more, those that weigh most in the prediction, in the
        vote of the neighbours or in the truth.
    ax : matplotlib Axes, default=None
        Where to draw. None makes a figure.

    Returns
    -------
    matplotlib Axes
        With rows for the prediction, for the true target if given, and for each neighbour, the nearest first. Bars are
        distances, and shares in the vote. A cell is the darker the more: full for a label or class, a probability in
        the prediction, whose predicted labels have a frame; the share of a label in a distribution, relative to the
        largest; a number from the least to the largest of its column, which is written into it. Unknown ones are grey.

    Raises
    ------
    TypeError
        If `estimator` predicts by no neighbours.
    ValueError
        If `x` is not one sample, or `Y`, `y_true` or `label_names` do not fit the estimator.
    sklearn.exceptions.NotFittedError
        If `estimator` is not fitted.
    ImportError
        If matplotlib is missing.

    Examples
    --------
    >>> from skrelmetric import SoftNeighborsClassifier
    >>> from skrelmetric.datasets import load_emotions
    >>> from skrelmetric.plotting import plot_neighbors
    >>> X, Y = load_emotions(subset="train", return_X_y=True)
    >>> X_test, Y_test = load_emotions(subset="test", return_X_y=True)
    >>> model = SoftNeighborsClassifier().fit(X, Y)
    >>> ax = plot_neighbors(model, X_test[0], Y, y_true=Y_test[0], n_neighbors=3)
    >>> [tick.get_text() for tick in ax.get_yticklabels()]
    ['predicted', 'true', '223', '13', '318', 'others']
    """
    for value, name in ((n_neighbors, "n_neighbors"), (max_labels, "max_labels")):
        check_scalar(value, name, Integral, min_val=1)
    model, x = last_step(estimator, x)
    vote = vote_on(model, x, Y, n_neighbors)
    targets = relevant(targets_of(model, x, rows_of(Y, vote.indices), y_true, label_names), vote.shares, max_labels)

    rows = [("predicted", targets.predicted, targets.is_predicted)]
    nothing = np.zeros(len(targets.names), dtype=bool)
    if targets.true is not None:
        rows.append(("true", targets.true, nothing))
    n_above = len(rows)
    rows += [(name, cells, nothing) for name, cells in zip(vote.names, targets.cells, strict=True)]
    rest = 1 - vote.shares.sum()
    names, shares = [name for name, *_ in rows], vote.shares
    if rest > _NOTHING:
        names, shares = [*names, "others"], np.append(shares, rest)
    n_rows = len(names)
    places = np.arange(n_rows) + 0.4 * (np.arange(n_rows) >= n_above)

    ax = axes_or_new(ax, figsize=(6.4, 1.3 + 0.25 * n_rows))
    points = points_of(ax)
    size = float(np.clip(0.7 * points[1] / (n_rows + 3), LEAST_FONT, font_points("small")))
    below = places[n_above:]
    _draw_bars(ax, below, vote.distances, [f"{value:.3g}" for value in vote.distances], _DISTANCE, GREY, size)
    _draw_bars(ax, below, vote.shares, [f"{share:.1%}" for share in shares], _WEIGHT, PALETTE[1], size)
    width = _draw_cells(ax, places, rows, targets.kind, size, points[0])
    _name_columns(ax, targets.names, width, size, points[0])
    ax.set_yticks(places, [shortened(name, _MOST_LETTERS) for name in names], fontsize=size)
    ax.set(xlim=(-0.01, 1.01), ylim=(places[-1] + 0.6, -0.6))
    ax.axhline(n_above - 0.3, color=text_color(), linewidth=0.8)
    ax.set_ylabel("training samples", loc="bottom", fontsize=size)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return ax


def _draw_bars(
    ax: Axes, places: np.ndarray, values: np.ndarray, texts: list[str], left: float, color: str, size: float
) -> None:
    """Draw bars relative to the largest, and texts over them; what has a text alone is no neighbour."""
    ax.barh(places[: len(values)], _BAR * values / (values.max() or 1.0), 0.8, left=left, color=color, alpha=0.55)
    for place, text in zip(places, texts, strict=False):
        ax.text(left + 0.008, place, text, va="center", fontsize=size)


def _draw_cells(ax: Axes, places: np.ndarray, rows: list, kind: str, size: float, points: float) -> float:
    """Draw the cells of all rows, and return their width."""
    patches, collections = optional("matplotlib.patches"), optional("matplotlib.collections")
    colors = optional("matplotlib.colors")
    values = np.array([cells for _, cells, _ in rows], dtype=np.float64)
    ink = _ink(values, kind)
    n_columns = values.shape[1]
    width = min((1 - _CELLS) / n_columns, 0.2 if kind == "numbers" else 0.12)
    corners = [(_CELLS + width * k, place - 0.45) for place in places[: len(rows)] for k in range(n_columns)]
    faces = [colors.to_rgba(GREY) if np.isnan(each) else colors.to_rgba(PALETTE[0], each) for each in ink.ravel()]
    cells = [patches.Rectangle(corner, width, 0.9) for corner in corners]
    edge = colors.to_rgba(text_color(), 0.3)
    ax.add_collection(collections.PatchCollection(cells, facecolors=faces, edgecolors=[edge], linewidths=0.5))
    framed = [cell for cell, is_framed in zip(cells, np.ravel([row[2] for row in rows]), strict=True) if is_framed]
    frames = {"facecolors": "none", "edgecolors": text_color(), "linewidths": 1.5, "clip_on": False}
    ax.add_collection(collections.PatchCollection(framed, **frames))
    if width * points > 2.4 * size:
        for row, (cells_of_row, ink_of_row) in enumerate(zip(values, ink, strict=True)):
            if kind == "labels" and row > 0:  # only the prediction has more than 0 and 1
                break
            for k, (value, each) in enumerate(zip(cells_of_row, ink_of_row, strict=True)):
                text = f"{value:.3g}" if kind == "numbers" else f"{value:.2f}"
                color = "white" if each > 0.7 else text_color()
                middle = _CELLS + width * (k + 0.5)
                ax.text(middle, places[row], text, ha="center", va="center", fontsize=size * 0.9, color=color)
    return width


def _ink(values: np.ndarray, kind: str) -> np.ndarray:
    """Ink of cells, from 0 to 1."""
    if kind == "labels":
        return values.clip(0, 1)
    if kind == "distributions":
        return values.clip(0) / np.nanmax(values)
    low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
    return (values - low) / np.where(high > low, high - low, 1.0)


def _name_columns(ax: Axes, names: list[str], width: float, size: float, points: float) -> None:
    middles = _CELLS + width * (np.arange(len(names)) + 0.5)
    names = [shortened(name, _MOST_LETTERS) for name in names]
    ax.xaxis.tick_top()
    ax.set_xticks(
        [_DISTANCE + 0.008, _WEIGHT + 0.008, *middles], ["distance", "weight", *names], fontsize=size, rotation=0
    )
    rotated = max(map(len, names)) * 0.65 * size > width * points
    for k, label in enumerate(ax.get_xticklabels()):
        if k < 2:
            label.set_horizontalalignment("left")
        elif rotated:
            label.set_rotation(90)
