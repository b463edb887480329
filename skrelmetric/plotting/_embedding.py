"""Pictures of samples under the learned distance, coloured by their targets."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.utils import check_consistent_length, check_random_state, check_scalar

from skrelmetric.plotting._axes import (
    GREY,
    PALETTE,
    axes_or_new,
    fit_texts,
    font_points,
    legend_place,
    optional,
    panels,
    points_of,
    samples,
    sequential,
    symbols,
    text_color,
)
from skrelmetric.plotting._hue import Classes, Hue, Presence, read_hues

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_embedding"]

_MOST_CLASSES = 24
_LEGEND_ROWS = 16
_FLATTEST = 0.5  # least height of axes relative to their width, and the other way round


def plot_embedding(
    X: ArrayLike,
    Y: ArrayLike,
    *,
    label: Any = None,
    label_names: ArrayLike | None = None,
    discrete: bool | None = None,
    max_panels: int = 12,
    max_samples: int = 5000,
    random_state: Any = 0,
    ax: Any = None,
) -> Any:
    """Picture of samples in two dimensions, coloured by target; of label sets, one panel a label.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_components)
        Transformed samples, whose Euclidean distance is the learned one. Two components are drawn as they are, of more
        the first two principal components of the drawn samples, and one against noise.
    Y : array-like or sparse matrix of shape (n_samples,) or (n_samples, n_labels)
        Targets. Classes have a colour and marker each, and numbers a colour bar. Of several columns,

        - distributions, and label sets with one label each, have the class of their strongest label;
        - others have a panel for each column: of a label, samples with it in colour over those without it in grey, and
          in the title the number and share of those with it.

        Missing targets (NaN, None, ``pandas.NA``) are grey; in a panel of a label they are grey crosses.
    label : int, str or sequence of these, default=None
        Columns of `Y` to colour by, by index or name: one in a single panel, several in one each. None takes all.
    label_names : array-like of str, default=None
        Names of the columns of `Y`, or of the sorted classes where it has one column. None takes the columns of a data
        frame.
    discrete : bool, default=None
        Whether a column holds classes, rather than numbers. None says so of strings and whole numbers.
    max_panels : int, default=12
        Most panels where `label` chooses none: those of the labels that most samples have, or of the first columns.
    max_samples : int, default=5000
        Most samples to draw; of more as many are chosen at random.
    random_state : int, RandomState or None, default=0
        Seed of that choice and of the noise beside a single component.
    ax : matplotlib Axes or sequence of these, default=None
        Where to draw. Several panels take the place of a single one, as a subfigure, or are drawn into a sequence of as
        many. None makes a figure.

    Returns
    -------
    matplotlib Axes or ndarray of these of shape (n_panels,)
        Axes with one collection of points in the order of the samples; or of each label those with collections of the
        samples without it, of those where it is unknown, and of those with it, as far as there are any. Both directions
        have the same scale: near in the picture is near under the distance, as far as two components tell.

    Raises
    ------
    ValueError
        If `X` is not finite, lengths differ, `label` or `label_names` do not fit `Y`, or `ax` not the panels.
    ImportError
        If matplotlib is missing.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skrelmetric import RAMLLinear
    >>> from skrelmetric.plotting import plot_embedding
    >>> X, y = load_iris(return_X_y=True)
    >>> kinds = ["setosa", "versicolor", "virginica"]
    >>> ax = plot_embedding(RAMLLinear().fit_transform(X, y), y, label_names=kinds)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['setosa', 'versicolor', 'virginica']

    Label sets have a panel for each label, and one panel where one is chosen.

    >>> from skrelmetric.datasets import load_emotions
    >>> X, Y = load_emotions(return_X_y=True)
    >>> Z = RAMLLinear(2).fit_transform(X, Y)
    >>> plot_embedding(Z, Y).shape
    (6,)
    >>> names = ["amazed", "happy", "calm", "quiet", "sad", "angry"]
    >>> plot_embedding(Z, Y, label="calm", label_names=names).get_title().splitlines()
    ['calm', '264 (45%)']
    """
    from skrelmetric._data.targets import read_targets

    component_names = list(getattr(X, "columns", []))
    columns = getattr(Y, "columns", None)
    X, Y = samples(X), _on_host(read_targets(Y).y)
    check_consistent_length(X, Y)
    if label_names is None and columns is not None and len(columns) > 1:
        label_names = columns
    for value, name in ((max_samples, "max_samples"), (max_panels, "max_panels")):
        check_scalar(value, name, Integral, min_val=1)
    hues = read_hues(Y, label, label_names, discrete, max_panels)
    generator = check_random_state(random_state)
    drawn = np.arange(len(X))
    if len(X) > max_samples:
        drawn = np.sort(generator.choice(len(X), max_samples, replace=False))
    places, names = _in_the_plane(X[drawn], component_names, generator)
    flat = X.shape[1] == 1
    limits = np.array([_limits(places[:, 0]), (-0.2, 1.2)]) if flat else _limits_alike(places)
    ratio = _FLATTEST if flat else float(np.divide(*np.diff(limits, axis=1)[::-1, 0]))

    if isinstance(hues, list):
        axes = _axes_of_panels(ax, len(hues), ratio, names, Y.shape[1] if label is None else len(hues))
    else:
        axes = [_axes_of_one(ax, ratio)]
        axes[0].set(xlabel=names[0], ylabel=names[1])
    for panel, hue in zip(axes, hues if isinstance(hues, list) else [hues], strict=True):
        _draw(panel, places, hue, drawn)
        panel.set(xlim=limits[0], ylim=limits[1])
        if flat:
            panel.set_yticks([])
        else:
            panel.set_aspect("equal", adjustable="box")
    if not isinstance(hues, list):
        return axes[0]
    axes[0].figure.canvas.figure.draw_without_rendering()  # titles are measured where the panels will be
    fit_texts([panel.title for panel in axes], 1.05 * min(panel.get_window_extent().width for panel in axes))
    return np.array(axes, dtype=object)


def _on_host(Y: Any) -> Any:
    return Y if sparse.issparse(Y) or isinstance(Y, np.ndarray) else Y.cpu().numpy()


def _limits(places: np.ndarray, least: float = 0.0) -> tuple[float, float]:
    """Limits of one direction, somewhat beyond the places, that are at least so far apart."""
    low, high = float(places.min()), float(places.max())
    extent = 1.1 * (max(high - low, least) or 1.0)
    return (low + high - extent) / 2, (low + high + extent) / 2


def _limits_alike(places: np.ndarray) -> np.ndarray:
    """Limits of both directions, of shape (2, 2), neither much closer than the other."""
    least = _FLATTEST * np.ptp(places, axis=0).max()
    return np.array([_limits(column, least) for column in places.T])


def _axes_of_one(ax: Any, ratio: float) -> Axes:
    if np.ndim(ax):
        raise ValueError(f"ax holds {np.size(ax)} axes, but there is one panel. Pass one of them.")
    return axes_or_new(ax, figsize=(6.4, np.clip(0.8 + 4.6 * ratio, 2.8, 5.6)))


def _axes_of_panels(ax: Any, n_panels: int, ratio: float, names: list[str], n_labels: int) -> list[Axes]:
    """Axes of several panels, with the names of both directions."""
    if np.ndim(ax):
        axes = list(np.ravel(ax))
        if len(axes) != n_panels:
            raise ValueError(
                f"ax holds {len(axes)} axes, but there are {n_panels} panels. Pass as many, such as axes.flat[:n], "
                "choose as many labels with label=, or pass a single one for all."
            )
        for panel in axes:
            panel.set(xlabel=names[0], ylabel=names[1])
            panel.label_outer()
        return axes
    axes = panels(ax, n_panels, ratio)
    figure, size = axes[0].figure, font_points(optional("matplotlib").rcParams["axes.labelsize"])
    figure.supxlabel(names[0], fontsize=size)
    figure.supylabel(names[1], fontsize=size)
    if n_panels < n_labels:
        figure.suptitle(f"{n_panels} of {n_labels} labels", fontsize=size)
    return axes


def _draw(ax: Axes, places: np.ndarray, hue: Hue, drawn: np.ndarray) -> None:
    """Draw the samples that were chosen to be."""
    values = hue.values[drawn]
    edge = optional("matplotlib.colors").to_rgba(text_color(), 0.4)  # faint points stand out by it
    room = points_of(ax).prod() / len(places)  # square points
    size = float(np.clip(0.1 * room, 8, 36))
    style: dict[str, Any] = {"s": size, "linewidths": 0.25, "edgecolors": [edge]}
    if isinstance(hue, Presence):
        known = max(1, (hue.values >= 0).sum())
        n_with = (hue.values == 1).sum()
        ax.set_title(f"{hue.title}\n{n_with:,} ({n_with / known:.0%})", fontsize="small")
        _draw_presence(ax, places, values, float(np.clip(0.3 * room, 1.2, 36)))
    elif isinstance(hue, Classes):
        _draw_classes(ax, places, hue._replace(values=values), style)
    else:
        points = ax.scatter(places[:, 0], places[:, 1], c=values, cmap=sequential(), plotnonfinite=True, **style)
        # A bar beside the axes is as high as these, where a layout makes room for it.
        beside = ax.inset_axes((1.04, 0, 0.05, 1)) if ax.figure.get_layout_engine() is not None else None
        ax.figure.colorbar(points, cax=beside, ax=ax, label=hue.title)


def _draw_presence(ax: Axes, places: np.ndarray, has: np.ndarray, size: float) -> None:
    """Draw samples with a label over those without it, which are smaller and fainter."""
    styles: tuple[tuple[int, dict[str, Any]], ...] = (
        (0, {"color": GREY, "s": size / 2, "alpha": 0.5}),
        (-1, {"color": GREY, "s": size, "marker": "x", "linewidths": 0.75}),
        (1, {"color": PALETTE[0], "s": size}),
    )
    for value, style in styles:
        chosen = has == value
        if chosen.any():
            ax.scatter(*places[chosen].T, **{"linewidths": 0, **style})


def _principal_components(A: np.ndarray, n_components: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, fractions of variance and directions; 0 beyond those that there are."""
    centred = A - A.mean(0)
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    fractions = singular**2 / max((singular**2).sum(), np.finfo(float).tiny)
    missing = max(0, n_components - len(directions))
    directions = np.pad(directions, ((0, missing), (0, 0)))[:n_components]
    largest = np.take_along_axis(directions, np.abs(directions).argmax(1)[:, None], axis=1)
    directions = np.where(largest < 0, -directions, directions)  # one of two signs, whatever the solver found
    return centred @ directions.T, np.pad(fractions, (0, missing))[:n_components], directions


def _in_the_plane(X: np.ndarray, names: list, generator: np.random.RandomState) -> tuple[np.ndarray, list[str]]:
    """Coordinates of shape (n_samples, 2), and their names."""
    n_components = X.shape[1]
    if n_components > 2:
        places, fractions, _ = _principal_components(X, 2)
        return places, [f"principal component {k} ({fraction:.0%})" for k, fraction in enumerate(fractions, 1)]
    labels = [str(name) for name in names] or [f"component {k + 1}" for k in range(n_components)]
    if n_components == 2:
        return X, labels
    return np.column_stack([X[:, 0], generator.uniform(size=len(X))]), [*labels, ""]


def _draw_classes(ax: Axes, places: np.ndarray, hue: Classes, style: dict[str, Any]) -> None:
    """Draw all classes as one collection, so that none lies above the others."""
    lines, markers = optional("matplotlib.lines"), optional("matplotlib.markers")
    counts = np.bincount(hue.values[hue.values >= 0], minlength=len(hue.names))
    named = np.sort(np.argsort(-counts, kind="stable")[:_MOST_CLASSES])
    entries = [(hue.names[code], *symbol) for code, symbol in zip(named, symbols(len(named)), strict=True)]
    if len(hue.names) > len(named):
        entries.append((f"{len(hue.names) - len(named)} rarer", GREY, "."))
    if (hue.values < 0).any():
        entries.append(("unknown", GREY, "x"))

    place_of = np.full(len(hue.names) + 1, len(named))  # the last one is that of code -1
    place_of[named] = np.arange(len(named))
    place_of[-1] = len(entries) - 1
    entry = place_of[hue.values]
    shapes = [markers.MarkerStyle(marker) for _, _, marker in entries]
    paths = [shape.get_path().transformed(shape.get_transform()) for shape in shapes]
    colors = [color for _, color, _ in entries]
    points = ax.scatter(places[:, 0], places[:, 1], c=[colors[k] for k in entry], **style)
    points.set_paths([paths[k] for k in entry])
    handles = [
        lines.Line2D([], [], linestyle="", marker=marker, color=color, label=name) for name, color, marker in entries
    ]
    n_columns = -(-len(handles) // _LEGEND_ROWS)
    ax.legend(handles=handles, title=hue.title or None, ncols=n_columns, **legend_place(ax))
