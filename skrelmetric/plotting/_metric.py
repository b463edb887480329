"""Pictures of a learned distance: its agreement with the relation, and its matrix."""

from __future__ import annotations

import warnings
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import spearmanr
from sklearn.utils import check_random_state, check_scalar
from sklearn.utils.validation import check_is_fitted

from skrelmetric._interop.arrays import as_host
from skrelmetric._interop.given import is_missing, plain_targets
from skrelmetric.plotting._axes import (
    LEAST_FONT,
    PALETTE,
    axes_or_new,
    check_names,
    font_points,
    optional,
    points_of,
    samples,
    sequential,
    shortened,
    text_color,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_metric", "plot_relation"]

_MOST_BOXES = 20
_MOST_LETTERS = 30


def plot_relation(
    X: ArrayLike,
    Y: ArrayLike,
    *,
    relation: Any = "auto",
    max_pairs: int = 20_000,
    random_state: Any = 0,
    ax: Axes | None = None,
) -> Axes:
    """Picture of squared distances of pairs of samples against the relation of their targets.

    A metric that is well aligned puts pairs the farther apart the farther apart their targets are.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_components)
        Transformed samples, whose Euclidean distance is the learned one; or any others, to compare with.
    Y : array-like or sparse matrix of shape (n_samples,) or (n_samples, n_outputs)
        Targets. Samples are left out where names of classes are missing.
    relation : str, callable or object, default="auto"
        Relation of the targets; see :func:`skrelmetric.relations.make_relation`.
    max_pairs : int, default=20000
        Most pairs of different samples to compare; where there are more, as many are drawn with replacement.
    random_state : int, RandomState or None, default=0
        Seed of that.
    ax : matplotlib Axes, default=None
        Where to draw. None makes a figure.

    Returns
    -------
    matplotlib Axes
        With a box for each value of the relation, from the first to the third quartile with whiskers from 5 to 95 %, as
        wide as the root of the number of its pairs; or where there are more than 20 values, counts in hexagons and the
        median over tenths of the pairs. The title has Spearman's rank correlation.

    Raises
    ------
    ValueError
        If there are fewer than two samples, lengths differ, or the targets do not suit `relation`.
    ImportError
        If matplotlib is missing.

    Examples
    --------
    >>> from skrelmetric.datasets import load_emotions
    >>> from skrelmetric.plotting import plot_relation
    >>> X, Y = load_emotions(return_X_y=True)
    >>> ax = plot_relation(X, Y, max_pairs=1000)
    >>> ax.get_xlabel()
    'relation of targets (hamming)'
    """
    from skrelmetric._interop.torch import as_tensor
    from skrelmetric.relations import make_relation, relation_name

    X, Y = _without_unnamed(samples(X), Y)
    G = make_relation(Y, relation)
    if len(X) != G.n_samples or len(X) < 2:
        raise ValueError(f"X has {len(X)} samples and Y {G.n_samples}, but two or more are needed, of each the same.")
    check_scalar(max_pairs, "max_pairs", Integral, min_val=1)
    i, j = _pairs(len(X), max_pairs, check_random_state(random_state))
    distances = ((X[i] - X[j]) ** 2).sum(1)
    relations = G.pairs(as_tensor(i).to(G.device), as_tensor(j).to(G.device)).cpu().numpy().astype(np.float64)
    values, group = np.unique(relations.round(9), return_inverse=True)  # sums of products have a last digit

    ax = axes_or_new(ax)
    if len(values) <= _MOST_BOXES:
        _draw_boxes(ax, values, [distances[group == k] for k in range(len(values))])
    else:
        _draw_density(ax, relations, distances)
    name = relation_name(Y) if isinstance(relation, str) and relation == "auto" else relation
    ax.set(xlabel="relation of targets" + (f" ({name})" if isinstance(name, str) else ""), ylabel="squared distance")
    varies = len(values) > 1 and np.ptp(distances) > 0
    correlation = f"{spearmanr(distances, relations).statistic:.2f}" if varies else "undefined"
    ax.set_title(f"Spearman correlation {correlation}, {len(i):,} pairs")
    return ax


def _without_unnamed(X: np.ndarray, Y: Any) -> tuple[np.ndarray, Any]:
    """Samples and targets, none of which is missing where they are names; numbers stay as they are."""
    names = plain_targets(Y, some_named=True)
    if not isinstance(names, np.ndarray) or names.dtype != object or len(names) != len(X):
        return X, Y
    named = np.array([not any(map(is_missing, np.ravel(row).tolist())) for row in names], dtype=bool)
    return X[named], names[named]


def _pairs(n: int, max_pairs: int, generator: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """Both ends of pairs of different samples."""
    if n * (n - 1) // 2 <= max_pairs:
        i, j = np.triu_indices(n, 1)
        return i, j
    i = generator.randint(n, size=max_pairs)
    return i, (i + generator.randint(1, n, size=max_pairs)) % n


def _draw_boxes(ax: Axes, values: np.ndarray, groups: list[np.ndarray]) -> None:
    sizes = np.array([len(group) for group in groups])
    widest = 0.8 * (np.diff(values).min() if len(values) > 1 else 1.0)
    text = text_color()
    ax.boxplot(
        groups,
        positions=values,
        widths=widest * np.sqrt(np.maximum(sizes / sizes.max(), 0.01)),
        whis=(5, 95),
        showfliers=False,
        manage_ticks=False,
        patch_artist=True,
        boxprops={"facecolor": PALETTE[4], "edgecolor": text},
        medianprops={"color": "black", "linewidth": 2},  # on the box, not on the background
        whiskerprops={"color": text},
        capprops={"color": text},
    )
    ax.set_xticks(values, [f"{value:.3g}" for value in values])


def _draw_density(ax: Axes, relations: np.ndarray, distances: np.ndarray) -> None:
    # A few far pairs would press all others into a corner.
    top = np.quantile(distances, 0.995)
    near = distances <= top
    counts = ax.hexbin(relations[near], distances[near], gridsize=40, mincnt=1, bins="log", cmap=sequential())
    ax.figure.colorbar(counts, ax=ax, label="pairs")
    tenths = np.array_split(np.argsort(relations, kind="stable"), 10)
    medians = [[np.median(each) for each in (relations[tenth], distances[tenth])] for tenth in tenths]
    effects = optional("matplotlib.patheffects")
    halo = [effects.withStroke(linewidth=4, foreground="white")]
    ax.plot(*np.transpose(medians), color="black", marker="o", markersize=4, path_effects=halo, label="median")
    ax.legend(loc="upper left")


def plot_metric(
    transformer: Any,
    *,
    feature_names: ArrayLike | None = None,
    max_features: int = 30,
    ax: Axes | None = None,
) -> Axes:
    """Picture of the matrix of a linear metric as a heat map.

    An entry M_kl says what differences of features k and l, taken together, add to the squared distance
    sum_kl M_kl (u_k - v_k) (u_l - v_l). Weights compare where features were standardised.

    Parameters
    ----------
    transformer : estimator
        Fitted linear metric: it has ``get_mahalanobis_matrix``, or ``components_`` that are multiplied with samples, as
        :class:`skrelmetric.RAMLLinear` and :class:`sklearn.neighbors.NeighborhoodComponentsAnalysis` have.
    feature_names : array-like of str of shape (n_features,), default=None
        Names of the features. None takes ``feature_names_in_``, or their numbers from 0.
    max_features : int, default=30
        Most features to draw: those of the largest weights M_kk, the largest first.
    ax : matplotlib Axes, default=None
        Where to draw. None makes a figure.

    Returns
    -------
    matplotlib Axes
        With the heat map as an image, white where an entry is 0. Both directions have the names, in letters that fit:
        long ones lose their middle, and where there is no room for all every second or third is written.

    Raises
    ------
    TypeError
        If `transformer` is no linear metric.
    ValueError
        If `feature_names` are not those of the features.
    sklearn.exceptions.NotFittedError
        If `transformer` is not fitted.
    ImportError
        If matplotlib is missing.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skrelmetric import RAMLLinear
    >>> from skrelmetric.plotting import plot_metric
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> ax = plot_metric(RAMLLinear().fit(X, y), max_features=2)
    >>> ax.images[0].get_array().shape
    (2, 2)
    """
    check_scalar(max_features, "max_features", Integral, min_val=1)
    M = _matrix(transformer)
    if feature_names is None:
        feature_names = getattr(transformer, "feature_names_in_", range(len(M)))
    names = check_names(feature_names, len(M), "feature_names", "features")
    first = np.argsort(-M.diagonal(), kind="stable")[:max_features]
    shown = M[np.ix_(first, first)]

    names = [names[k] for k in first]
    side = max(3.2, 0.16 * len(first)) + 0.07 * min(_MOST_LETTERS, max(map(len, names)))  # inches
    ax = axes_or_new(ax, figsize=(side + 1.2, side + 0.2))
    limit = np.abs(shown).max() or 1.0
    image = ax.imshow(shown, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    ax.figure.colorbar(image, ax=ax, label="weight")
    number = f"{len(first)} of {len(M)}" if len(first) < len(M) else str(len(M))
    ax.set_xlabel(f"{number} features, by weight")
    _name_both(ax, names)
    return ax


def _name_both(ax: Axes, names: list[str]) -> None:
    """Names of rows and columns, in letters that fit between their lines."""
    width, height = points_of(ax)  # from which the names take some
    largest = font_points("small")
    lines = max(1.0, 0.6 * min(width, height) / len(names))
    size = min(largest, max(LEAST_FONT, lines / 1.2))
    n_letters = min(_MOST_LETTERS, max(6, int(0.4 * min(width, height) / (0.6 * size))))
    names = [shortened(name, n_letters) for name in names]
    every = max(1, int(np.ceil(1.2 * size / lines)))
    shown = range(0, len(names), every)
    ax.set_xticks(shown, names[::every], rotation=90, fontsize=size)
    ax.set_yticks(shown, names[::every], fontsize=size)


def _matrix(transformer: Any) -> np.ndarray:
    if not hasattr(transformer, "fit"):
        raise TypeError(
            f"{type(transformer).__name__} is no estimator. Pass a fitted linear metric such as RAMLLinear."
        )
    if hasattr(transformer, "steps"):
        raise TypeError("transformer is a Pipeline. Pass its step that holds the metric, such as pipeline[-2].")
    check_is_fitted(transformer)
    if hasattr(transformer, "get_mahalanobis_matrix"):
        return np.asarray(as_host(transformer.get_mahalanobis_matrix()), dtype=np.float64)
    linear_map = _linear_map(transformer)
    if linear_map is None:
        raise TypeError(
            f"{type(transformer).__name__} is no linear metric of its samples: it has no get_mahalanobis_matrix, nor a "
            f"transform that is linear in their features. Pass one such as {_metric_of(transformer)}."
        )
    return linear_map @ linear_map.T


def _metric_of(model: Any) -> str:
    """Where the linear metric is that an estimator holds; RAMLLinear for one that holds none."""
    return "its metrics_['linear']" if "linear" in getattr(model, "metrics_", ()) else "RAMLLinear"


def _linear_map(transformer: Any) -> np.ndarray | None:
    """Matrix that a transform multiplies samples with, up to a shift; None where it does something else."""
    if not hasattr(transformer, "transform") or not hasattr(transformer, "components_"):
        return None
    if hasattr(transformer, "encoder_"):
        return None
    unit = np.eye(transformer.n_features_in_)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of features without names
        try:
            origin, forth, back = (transformer.transform(sign * unit) for sign in (0, 1, -1))
        except ValueError:  # as of negative samples
            return None
    return forth - origin if np.allclose(back - origin, origin - forth) else None
