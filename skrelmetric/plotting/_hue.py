"""Hues of samples by their targets: classes, numbers, or whether a sample has a label."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from skrelmetric._interop.given import is_missing
from skrelmetric.plotting._axes import check_names

__all__ = ["Classes", "Hue", "Numbers", "Presence", "read_hues"]


class Classes(NamedTuple):
    """Hues by class.

    Attributes
    ----------
    values : ndarray of int of shape (n_samples,)
        Numbers of the classes, -1 where unknown.
    title : str
        What they are the classes of, which may be empty.
    names : list of str
        Names of the classes.
    """

    values: np.ndarray
    title: str
    names: list[str]


class Numbers(NamedTuple):
    """Hues by number.

    Attributes
    ----------
    values : ndarray of float of shape (n_samples,)
        Numbers, NaN where unknown.
    title : str
        What they are.
    """

    values: np.ndarray
    title: str


class Presence(NamedTuple):
    """Hues by whether a sample has a label.

    Attributes
    ----------
    values : ndarray of int of shape (n_samples,)
        1 with the label, 0 without it, -1 where unknown.
    title : str
        Name of the label.
    """

    values: np.ndarray
    title: str


Hue = Classes | Numbers | Presence


def read_hues(Y: Any, label: Any, names: Any, discrete: bool | None, max_panels: int) -> list[Hue] | Hue:
    """Hue of the samples, or a list with that of each label where several are to be told apart.

    Parameters
    ----------
    Y : ndarray or csr_array of shape (n_samples,) or (n_samples, n_labels)
        Targets.
    label : int, str, sequence of these or None
        Columns to choose.
    names : array-like of str or None
        Names of the columns, or of the classes of one.
    discrete : bool or None
        Whether a column holds classes.
    max_panels : int
        Most labels, unless they are chosen.

    Raises
    ------
    ValueError
        If `label`, `names` or `discrete` do not suit the targets.
    """
    if Y.ndim == 1 or Y.shape[1] == 1:
        if label is not None:
            raise ValueError(f"label={label!r} chooses among several columns, but Y has one. Leave it out.")
        return _single(_column(Y, 0), "", names, discrete)
    n_labels = Y.shape[1]
    names = [f"label {j}" for j in range(n_labels)] if names is None else names
    names = check_names(names, n_labels, "label_names", "labels")
    if label is not None and not _is_several(label):
        index = _index(label, names)
        return _labelled(_column(Y, index), names[index], discrete)
    if label is None and _are_distributions(Y):
        return _strongest(Y, names)
    chosen = _most_frequent(Y, max_panels) if label is None else [_index(each, names) for each in label]
    if not len(chosen):
        raise ValueError("label is empty. Pass a label, several of them, or None for the most frequent ones.")
    return [_labelled(_column(Y, index), names[index], discrete) for index in chosen]


def _is_several(label: Any) -> bool:
    return isinstance(label, Sequence | np.ndarray) and not isinstance(label, str)


def _index(label: int | str, names: list[str]) -> int:
    if isinstance(label, str) and label in names:
        return names.index(label)
    if not isinstance(label, str) and -len(names) <= label < len(names):
        return int(label) % len(names)
    raise ValueError(f"label={label!r} is none of the {len(names)} labels. Choose an index or one of {names}.")


def _column(Y: Any, index: int) -> np.ndarray:
    if Y.ndim == 1:
        return Y
    column = Y[:, [index]]
    return (column.toarray() if sparse.issparse(column) else column)[:, 0]


def _labelled(column: np.ndarray, name: str, discrete: bool | None) -> Hue:
    """Hue by one of several columns."""
    if discrete is None and column.dtype.kind in "biuf":
        column = column.astype(np.float64)
        unknown = np.isnan(column)
        if np.isin(column[~unknown], [0, 1]).all():
            return Presence(np.where(unknown, -1, column).astype(int), name)
    return _single(column, name, None, discrete)


def _single(y: np.ndarray, title: str, names: Any, discrete: bool | None) -> Classes | Numbers:
    numeric = y.dtype.kind in "biuf"
    known = np.array([not is_missing(value) for value in y.tolist()], dtype=bool)
    if discrete is None:
        discrete = not numeric or bool((y[known] == y[known].round()).all())
    if not discrete:
        if not numeric:
            raise ValueError("discrete=False is for numbers, but Y holds classes. Leave it out.")
        return Numbers(y.astype(np.float64), title or "target")
    classes, of_known = np.unique(y[known], return_inverse=True)
    codes = np.full(len(y), -1)
    codes[known] = of_known
    plain = [f"{value:g}" if numeric else str(value) for value in classes.tolist()]
    return Classes(codes, title, plain if names is None else check_names(names, len(classes), "label_names", "classes"))


def _are_distributions(Y: Any) -> bool:
    """Whether all rows without a gap are of at least 0 with sum 1, and there is any."""
    if Y.dtype.kind not in "biuf":
        return False
    known = Y if sparse.issparse(Y) else Y[~np.isnan(Y.astype(np.float64)).any(1)]
    return bool(known.shape[0] and known.min() >= 0 and np.allclose(known.sum(axis=1), 1))


def _strongest(Y: Any, names: list[str]) -> Classes:
    """Hue by the strongest label, of those that are the strongest of any sample."""
    strongest = np.asarray(Y.argmax(axis=1)).ravel()
    if not sparse.issparse(Y):
        strongest = np.where(np.isnan(Y.astype(np.float64)).any(1), -1, strongest)
    used, codes = np.unique(strongest, return_inverse=True)
    n_unknown = int((used < 0).any())
    return Classes(codes - n_unknown, "strongest label", [names[code] for code in used[n_unknown:]])


def _most_frequent(Y: Any, n_columns: int) -> np.ndarray:
    """Columns that most samples have where all are labels, or else the first, in their order."""
    frequencies = np.zeros(Y.shape[1])
    values = Y.data if sparse.issparse(Y) else Y
    if values.dtype.kind in "biuf":
        values = values.astype(np.float64)
        if np.isin(values[~np.isnan(values)], [0, 1]).all():
            frequencies = np.asarray(Y.sum(axis=0)).ravel() if sparse.issparse(Y) else np.nansum(values, axis=0)
    return np.sort(np.argsort(-frequencies, kind="stable")[:n_columns])
