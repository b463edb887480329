"""Pictures of samples under the learned distance, coloured by their targets."""

from numbers import Integral
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.utils import check_consistent_length, check_random_state, check_scalar

from skrelmetric.plotting._axes import (
    GREY,
    PALETTE,
    axes_or_new,
    check_names,
    optional,
    samples,
    sequential,
    text_color,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_embedding"]

_MARKERS = "o^sD"
_LEGEND_ROWS = 16


def plot_embedding(
    X: ArrayLike,
    Y: ArrayLike,
    *,
    label: int | str | None = None,
    label_names: ArrayLike | None = None,
    discrete: bool | None = None,
    max_samples: int = 5000,
    random_state: Any = 0,
    ax: "Axes | None" = None,
) -> "Axes":
    """Picture of samples in two dimensions, coloured by target.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_components)
        Transformed samples, whose Euclidean distance is the learned one. Two components are drawn as they are, of more
        the first two principal components of the drawn samples, and one against noise.
    Y : array-like or sparse matrix of shape (n_samples,) or (n_samples, n_labels)
        Targets. Classes have a colour and marker each, and numbers a colour bar. Of several columns,

        - distributions, and label sets with one label each, have the class of their strongest label;
        - other label sets and numbers have the colour of their first principal component, the one number that tells
          most of their squared differences; the ends of the colour bar name the labels that weigh most in it.

        Missing targets (NaN) are grey, or within several columns at the mean of the label.
    label : int or str, default=None
        The column of `Y` to colour by instead, by index or name.
    label_names : array-like of str, default=None
        Names of the columns of `Y`, or of the sorted classes where it has one column. None takes the columns of a data
        frame.
    discrete : bool, default=None
        Whether a single column holds classes, rather than numbers. None says so of strings and whole numbers.
    max_samples : int, default=5000
        Most samples to draw; of more as many are chosen at random.
    random_state : int, RandomState or None, default=0
        Seed of that choice and of the noise beside a single component.
    ax : matplotlib Axes, default=None
        Where to draw. None makes a figure.

    Returns
    -------
    matplotlib Axes
        With one collection of points, in the order of the samples. Both axes have the same scale: near in the picture
        is near under the distance, as far as two components tell.

    Raises
    ------
    ValueError
        If `X` is not finite, lengths differ, or `label` or `label_names` do not fit `Y`.
    ImportError
        If matplotlib is missing.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skrelmetric import RAMLLinear
    >>> from skrelmetric.plotting import plot_embedding
    >>> X, y = load_iris(return_X_y=True)
    >>> ax = plot_embedding(RAMLLinear().fit_transform(X, y), y, label_names=["setosa", "versicolor", "virginica"])
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['setosa', 'versicolor', 'virginica']
    """
    from skrelmetric._data.targets import read_targets

    component_names = list(getattr(X, "columns", []))
    label_names = getattr(Y, "columns", None) if label_names is None else label_names
    X, Y = samples(X), read_targets(Y).y
    check_consistent_length(X, Y)
    generator = check_random_state(random_state)
    drawn = np.arange(len(X))
    check_scalar(max_samples, "max_samples", Integral, min_val=1)
    if len(X) > max_samples:
        drawn = np.sort(generator.choice(len(X), max_samples, replace=False))
    X = X[drawn]
    if Y.ndim == 1 or Y.shape[1] == 1:
        hue = _hue(_dense(Y), label, label_names, discrete)
        hue = type(hue)(hue[0][drawn], *hue[1:])  # all classes have names and colours, drawn or not
    else:
        hue = _hue(_dense(Y[drawn]), label, label_names, discrete)
    places, axis_labels = _in_the_plane(X, component_names, generator)

    ax = axes_or_new(ax)
    edge = optional("matplotlib.colors").to_rgba(text_color(), 0.4)  # faint points stand out by it
    style: dict[str, Any] = {"s": np.clip(8000 / len(X), 8, 36), "linewidths": 0.25, "edgecolors": [edge]}
    if isinstance(hue, _Classes):
        _draw_classes(ax, places, hue, style)
    else:
        points = ax.scatter(places[:, 0], places[:, 1], c=hue.values, cmap=sequential(), plotnonfinite=True, **style)
        bar = ax.figure.colorbar(points, ax=ax, label=hue.title)
        bar.ax.set_title(hue.high, fontsize="small")
        bar.ax.set_xlabel(hue.low, fontsize="small")
    ax.set(xlabel=axis_labels[0], ylabel=axis_labels[1])
    if X.shape[1] > 1:
        ax.set_aspect("equal", adjustable="datalim")
    else:
        ax.set(yticks=[], ylim=(-0.2, 1.2))
    return ax


class _Classes(NamedTuple):
    """Colours by class."""

    codes: np.ndarray  # -1 where unknown
    names: list[str]
    title: str | None


class _Numbers(NamedTuple):
    """Colours by number."""

    values: np.ndarray
    title: str
    high: str = ""  # what the ends of the colour bar stand for
    low: str = ""


def _dense(Y: Any) -> np.ndarray:
    Y = Y.toarray() if sparse.issparse(Y) else Y
    Y = Y if isinstance(Y, np.ndarray) else Y.cpu().numpy()
    return Y[:, 0] if Y.ndim == 2 and Y.shape[1] == 1 else Y


def _hue(Y: np.ndarray, label: int | str | None, names: Any, discrete: bool | None) -> _Classes | _Numbers:
    if Y.ndim == 1:
        if label is not None:
            raise ValueError(f"label={label!r} chooses one of several columns, but Y has one. Leave it out.")
        return _single(Y, names, discrete)
    given = names is not None
    names = (
        check_names(names, Y.shape[1], "label_names", "labels") if given else [f"label {j}" for j in range(Y.shape[1])]
    )
    if label is not None:
        column, name = Y[:, (index := _index(label, names))], names[index]
        if discrete is None and np.isin(column, [0, 1]).all():
            return _Classes(column.astype(int), [f"not {name}", name], None)
        hue = _single(column, None, discrete)
        return hue._replace(title=name)
    if Y.dtype.kind not in "biuf":
        raise ValueError(f"Y holds classes in {Y.shape[1]} columns. Choose the one to colour by with label=.")
    Y = Y.astype(np.float64)
    known = ~np.isnan(Y).any(1)
    if known.any() and (Y[known] >= 0).all() and np.allclose(Y[known].sum(1), 1):
        strongest = np.where(known, Y.argmax(1), -1)
        return _present(_Classes(strongest, names, "strongest label"))
    return _first_component(Y, names)


def _index(label: int | str, names: list[str]) -> int:
    if isinstance(label, str) and label in names:
        return names.index(label)
    if not isinstance(label, str) and -len(names) <= label < len(names):
        return int(label)
    raise ValueError(f"label={label!r} is none of the {len(names)} labels. Choose an index or one of {names}.")


def _single(y: np.ndarray, names: Any, discrete: bool | None) -> _Classes | _Numbers:
    """Colours by a single column."""
    numeric = y.dtype.kind in "biuf"
    known = np.array([value is not None and value == value for value in y.tolist()], dtype=bool)  # NaN is not itself
    if discrete is None:
        discrete = not numeric or bool((y[known] == y[known].round()).all())
    if not discrete:
        if not numeric:
            raise ValueError("discrete=False is for numbers, but Y holds classes. Leave it out.")
        return _Numbers(y.astype(np.float64), "target")
    classes, of_known = np.unique(y[known], return_inverse=True)
    codes = np.full(len(y), -1)
    codes[known] = of_known
    plain = [f"{value:g}" if numeric else str(value) for value in classes.tolist()]
    return _Classes(codes, plain if names is None else check_names(names, len(classes), "label_names", "classes"), None)


def _present(hue: _Classes) -> _Classes:
    """Colours without the classes that no sample has."""
    used, codes = np.unique(hue.codes, return_inverse=True)
    shift = int((used < 0).any())
    return hue._replace(codes=codes - shift, names=[hue.names[code] for code in used[shift:]])


def _first_component(Y: np.ndarray, names: list[str]) -> _Numbers:
    known = ~np.isnan(Y)
    means = np.where(known, Y, 0.0).sum(0) / np.maximum(known.sum(0), 1)
    scores, fractions, directions = _principal_components(np.where(known, Y, means), 1)
    direction = directions[0]
    high, low = (names[end] if sign * direction[end] > 0 else "" for sign, end in _ends(direction))
    values = np.where(known.any(1), scores[:, 0], np.nan)
    return _Numbers(values, f"first principal component of {len(names)} labels ({fractions[0]:.0%})", high, low)


def _ends(direction: np.ndarray) -> list[tuple[int, int]]:
    return [(1, int(direction.argmax())), (-1, int(direction.argmin()))]


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


def _draw_classes(ax: "Axes", places: np.ndarray, hue: _Classes, style: dict[str, Any]) -> None:
    """Draw all classes as one collection, so that none lies above the others."""
    lines, markers = optional("matplotlib.lines"), optional("matplotlib.markers")
    symbols = [(color, marker) for marker in _MARKERS for color in PALETTE]
    counts = np.bincount(hue.codes[hue.codes >= 0], minlength=len(hue.names))
    named = np.sort(np.argsort(-counts, kind="stable")[: len(symbols)])
    entries = [(hue.names[code], *symbol) for code, symbol in zip(named, symbols, strict=False)]
    if len(hue.names) > len(named):
        entries.append((f"{len(hue.names) - len(named)} rarer", GREY, "."))
    if (hue.codes < 0).any():
        entries.append(("unknown", GREY, "x"))

    place_of = np.full(len(hue.names) + 1, len(named))  # the last one is that of code -1
    place_of[named] = np.arange(len(named))
    place_of[-1] = len(entries) - 1
    entry = place_of[hue.codes]
    shapes = [markers.MarkerStyle(marker) for _, _, marker in entries]
    paths = [shape.get_path().transformed(shape.get_transform()) for shape in shapes]
    colors = [color for _, color, _ in entries]
    points = ax.scatter(places[:, 0], places[:, 1], c=[colors[k] for k in entry], **style)
    points.set_paths([paths[k] for k in entry])
    handles = [
        lines.Line2D([], [], linestyle="", marker=marker, color=color, label=name) for name, color, marker in entries
    ]
    n_columns = -(-len(handles) // _LEGEND_ROWS)
    ax.legend(handles=handles, title=hue.title, loc="upper left", bbox_to_anchor=(1, 1), ncols=n_columns, frameon=False)
