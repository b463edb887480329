"""Data sets that come with the package."""

import gzip
from typing import NamedTuple

import numpy as np

from skrelmetric.datasets._cache import PACKAGED, bunch, check_choice


class _Shape(NamedTuple):
    """Shape of a table: training samples before test samples in its rows, features before labels in its columns."""

    n_train: int
    n_labels: int


_YEAST = _Shape(n_train=1500, n_labels=14)
_EMOTIONS = _Shape(n_train=391, n_labels=6)


def load_yeast(*, subset: str = "all", return_X_y: bool = False, as_frame: bool = False):
    """Load yeast: expression profiles of genes, with the functional classes of each.

    2417 genes, 103 real features, 14 labels, 4.24 labels a gene. The package holds the data.

    Parameters
    ----------
    subset : {"train", "test", "all"}, default="all"
        Official training samples (the first 1500), official test samples (the other 917), or both in this order.
    return_X_y : bool, default=False
        Whether to return ``(data, target)`` and not a Bunch.
    as_frame : bool, default=False
        Whether to return pandas data frames.

    Returns
    -------
    Bunch or (data, target)
        ``data`` of shape (n_samples, 103), ``target`` of shape (n_samples, 14) holding 0 and 1, ``frame``,
        ``feature_names``, ``target_names`` and ``DESCR``.

    Raises
    ------
    ValueError
        If `subset` is unknown.

    Examples
    --------
    >>> from skrelmetric.datasets import load_yeast
    >>> X, Y = load_yeast(return_X_y=True)
    >>> X.shape, Y.shape
    ((2417, 103), (2417, 14))
    """
    return _load("yeast", _YEAST, subset, return_X_y, as_frame)


def load_emotions(*, subset: str = "all", return_X_y: bool = False, as_frame: bool = False):
    """Load emotions: sound descriptors of pieces of music, with the moods that each evokes.

    593 pieces, 72 real features, 6 labels, 1.87 labels a piece. The package holds the data.

    Parameters
    ----------
    subset : {"train", "test", "all"}, default="all"
        Official training samples (the first 391), official test samples (the other 202), or both in this order.
    return_X_y : bool, default=False
        Whether to return ``(data, target)`` and not a Bunch.
    as_frame : bool, default=False
        Whether to return pandas data frames.

    Returns
    -------
    Bunch or (data, target)
        ``data`` of shape (n_samples, 72), ``target`` of shape (n_samples, 6) holding 0 and 1, ``frame``,
        ``feature_names``, ``target_names`` and ``DESCR``.

    Raises
    ------
    ValueError
        If `subset` is unknown.

    Examples
    --------
    >>> from skrelmetric.datasets import load_emotions
    >>> load_emotions().target_names[0]
    'amazed-suprised'
    """
    return _load("emotions", _EMOTIONS, subset, return_X_y, as_frame)


def _load(name: str, shape: _Shape, subset: str, return_X_y: bool, as_frame: bool):
    rows = {"train": slice(shape.n_train), "test": slice(shape.n_train, None), "all": slice(None)}
    check_choice("subset", subset, tuple(rows))
    with PACKAGED.joinpath(f"data/{name}.csv.gz").open("rb") as compressed, gzip.open(compressed, "rt") as lines:
        names = next(lines).strip().split(",")
        table = np.loadtxt(lines, delimiter=",")[rows[subset]]
    X = np.ascontiguousarray(table[:, : -shape.n_labels])
    Y = table[:, -shape.n_labels :].astype(np.int64)
    feature_names, target_names = names[: -shape.n_labels], names[-shape.n_labels :]
    return bunch(X, Y, feature_names, target_names, descr=name, return_X_y=return_X_y, as_frame=as_frame)
