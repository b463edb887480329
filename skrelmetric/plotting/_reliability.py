"""Picture of probabilities against how often what they promise comes true."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.calibration import calibration_curve
from sklearn.utils import check_consistent_length, check_scalar

from skrelmetric._interop.arrays import as_host
from skrelmetric._interop.given import check_array, is_missing, plain_targets
from skrelmetric._interop.sklearn import check_same_columns
from skrelmetric.plotting._axes import (
    GREY,
    PALETTE,
    axes_or_new,
    check_names,
    font_points,
    legend_place,
    symbols,
    text_color,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_reliability"]

_STRATEGIES = ("quantile", "uniform")
_MOST_NAMED = 6  # lines that are told apart
_COUNT_BINS = 20
_COUNT_HEIGHT = 0.15  # of the highest bar of counts
_ROUNDING = 1e-6


def plot_reliability(
    y_true: ArrayLike,
    y_prob: ArrayLike,
    *,
    label_names: ArrayLike | None = None,
    n_bins: int = 10,
    strategy: str = "quantile",
    ax: Axes | None = None,
) -> Axes:
    """Reliability diagram: how often labels are there, against the probability that was predicted for them.

    Parameters
    ----------
    y_true : array-like or sparse matrix of shape (n_samples,) or (n_samples, n_labels)
        Label indicator, 0 or 1, or classes. Missing ones (NaN, None, ``pandas.NA``) are left out.
    y_prob : array-like of shape (n_samples,) or (n_samples, n_labels)
        Probability of each label, or of each class in sorted order. Of two classes that of the second is enough.
    label_names : array-like of str, default=None
        Names of the labels or classes. None takes the columns of a data frame, or the classes.
    n_bins : int, default=10
        Most bins of probabilities; those of `strategy` "uniform" that are empty are left out.
    strategy : {"quantile", "uniform"}, default="quantile"
        Bins of as many probabilities each, or of the same width; see :func:`sklearn.calibration.calibration_curve`.
    ax : matplotlib Axes, default=None
        Where to draw. None makes a figure.

    Returns
    -------
    matplotlib Axes
        With a point for the mean probability of each bin and the frequency of the label in it, a thin line for each
        label and a thick one for all together. Up to six labels have names. Brier scores are in the legend: mean
        squared errors of the probabilities, from 0 for the best to 1. Grey bars at the bottom count the probabilities
        in twentieths. On the dotted diagonal, probabilities come true.

    Raises
    ------
    ValueError
        If shapes differ, `y_prob` is not from 0 to 1, `y_true` is neither a label indicator nor classes that fit it, or
        `strategy` is unknown.
    ImportError
        If matplotlib is missing.

    Examples
    --------
    >>> from skrelmetric import MLkNN
    >>> from skrelmetric.datasets import load_emotions
    >>> from skrelmetric.plotting import plot_reliability
    >>> X, Y = load_emotions(subset="train", return_X_y=True)
    >>> X_test, Y_test = load_emotions(subset="test", return_X_y=True)
    >>> ax = plot_reliability(Y_test[:, :2], MLkNN().fit(X, Y).predict_proba(X_test)[:, :2])
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['0: 0.173', '1: 0.224', 'all together: 0.199']
    """
    check_scalar(n_bins, "n_bins", Integral, min_val=1)
    if strategy not in _STRATEGIES:
        raise ValueError(f"strategy={strategy!r} is not known. Choose one of {list(_STRATEGIES)}.")
    labels = _read(y_true, y_prob, label_names)
    together = _Label("all together", *(np.concatenate(parts) for parts in (*zip(*labels, strict=True),)[1:]))

    ax = axes_or_new(ax, figsize=(5.6, 4.6))
    ax.plot([0, 1], [0, 1], color=text_color(), linestyle=":", linewidth=1)
    counts, edges = np.histogram(together.probabilities, _COUNT_BINS, (0, 1))
    ax.stairs(_COUNT_HEIGHT * counts / counts.max(), edges, fill=True, color=GREY, alpha=0.5)

    n_labels, bins = len(labels), {"n_bins": n_bins, "strategy": strategy}
    size = font_points("small")
    thin: dict[str, Any] = {"linewidth": size / 8, "markersize": size / 2}
    thick: dict[str, Any] = {"linewidth": size / 4, "markersize": size / 1.6, "marker": "o"}
    if n_labels == 1:
        ax.plot(*labels[0].curve(bins), color=PALETTE[0], label=str(labels[0]), **thick)
    elif n_labels <= _MOST_NAMED:
        for label, (color, marker) in zip(labels, symbols(n_labels), strict=True):
            ax.plot(*label.curve(bins), color=color, marker=marker, label=str(label), **thin)
    else:
        for k, label in enumerate(labels):
            ax.plot(*label.curve(bins), color=GREY, label=f"each of {n_labels}" if k == 0 else "_", **thin)
    if n_labels > 1:
        ax.plot(*together.curve(bins), color=text_color(), label=str(together), **thick)
    place = legend_place(ax) if 1 < n_labels <= _MOST_NAMED else {"loc": "best"}
    ax.legend(title="Brier score", fontsize="small", title_fontsize="small", **place)
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="predicted probability", ylabel="observed frequency")
    return ax


class _Label(NamedTuple):
    """Samples of which it is known whether they have a label."""

    name: str
    has: np.ndarray  # of bool
    probabilities: np.ndarray

    def curve(self, bins: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Mean probability and frequency of each bin."""
        frequencies, probabilities = calibration_curve(self.has.astype(int), self.probabilities, pos_label=1, **bins)
        return probabilities, frequencies

    def __str__(self) -> str:
        return f"{self.name}: {np.mean((self.has - self.probabilities) ** 2):.3f}"


def _read(y_true: Any, y_prob: Any, names: Any) -> list[_Label]:
    """Labels, each with its probabilities."""
    if isinstance(y_prob, list) and y_prob and np.ndim(y_prob[0]) == 2:
        raise ValueError(
            f"y_prob is a list of {len(y_prob)} arrays, but one column a label is needed. Pass "
            "numpy.column_stack([probabilities[:, 1] for probabilities in y_prob])."
        )
    check_same_columns(y_true, y_prob)
    P = check_array(as_host(y_prob), dtype=np.float64, ensure_2d=False, input_name="y_prob")
    beyond = P[(P < -_ROUNDING) | (P > 1 + _ROUNDING)]
    if len(beyond):
        raise ValueError(
            f"y_prob holds {beyond[0]:g}, but probabilities are from 0 to 1. Pass what predict_proba returns."
        )
    P, columns = P.clip(0, 1), getattr(y_true, "columns", None)
    Y = y_true.toarray() if sparse.issparse(y_true) else np.asarray(plain_targets(as_host(y_true), some_named=True))
    check_consistent_length(Y, P)
    known = np.array([not is_missing(value) for value in Y.ravel().tolist()], dtype=bool).reshape(Y.shape)
    if Y.ndim == 2 and Y.shape[1] > 1:
        names = (columns if columns is not None else range(Y.shape[1])) if names is None else names
        return _of_label_sets(Y, known, P, check_names(names, Y.shape[1], "label_names", "labels"))
    return _of_classes(Y.ravel(), known.ravel(), P, names)


def _of_label_sets(Y: np.ndarray, known: np.ndarray, P: np.ndarray, names: list[str]) -> list[_Label]:
    if P.shape != Y.shape:
        raise ValueError(f"y_true has shape {Y.shape} and y_prob {P.shape}, but one column a label is needed of both.")
    others = [value for value in Y[known].tolist() if value not in (0, 1)]
    if others:
        raise ValueError(f"y_true must be a label indicator of 0 and 1, but it holds {others[0]!r}.")
    has = Y == 1
    labels = zip(names, has.T, P.T, known.T, strict=True)
    return _some([_Label(name, has[where], p[where]) for name, has, p, where in labels if where.any()])


def _of_classes(y: np.ndarray, known: np.ndarray, P: np.ndarray, names: Any) -> list[_Label]:
    classes = np.unique(y[known])
    if classes.dtype.kind in "biuf" and np.isin(classes, [0, 1]).all():
        classes = np.array([0, 1])  # also where all samples are alike
    n_columns = 1 if P.ndim == 1 else P.shape[1]
    if len(classes) != max(n_columns, 2):
        raise ValueError(
            f"y_true has {len(classes)} classes, but y_prob {n_columns} columns. Pass a column for each class, in "
            "sorted order, or the indicator of all classes: sklearn.preprocessing.label_binarize(y_true, "
            "classes=model.classes_)."
        )
    names = check_names(classes if names is None else names, len(classes), "label_names", "classes")
    P = P.reshape(len(P), n_columns)[known]
    labels = [_Label(name, y[known] == each, p) for name, each, p in zip(names, classes, P.T, strict=False)]
    if len(classes) == 2:  # the other one is its mirror
        labels = [_Label(names[1], y[known] == classes[1], P[:, -1])]
    return _some(labels if known.any() else [])


def _some(labels: list[_Label]) -> list[_Label]:
    if not labels:
        raise ValueError("y_true is missing everywhere. Pass samples whose labels are known.")
    return labels
