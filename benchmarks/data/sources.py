"""Data sets by name, and files of one's own."""

from collections.abc import Callable
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import sparse
from sklearn.datasets import load_breast_cancer, load_digits, load_wine

from skrelmetric.datasets import (
    LDL_NAMES,
    MULAN_NAMES,
    fetch_imdb,
    fetch_ldl,
    fetch_mulan,
    fetch_omniglot,
    fetch_usps,
    load_emotions,
    load_yeast,
)


class DataSet(NamedTuple):
    """Samples, targets, and how many of the first are the official training samples, if there is a split."""

    X: np.ndarray | sparse.csr_array
    Y: np.ndarray
    n_train: int | None = None


class Source(NamedTuple):
    """Source of a data set: a name that is known here, or a file; and whether it is sparse.

    The target columns of a file are what `labels` says they are, and `targets` are their names.
    """

    name: str
    task: str
    path: str | None = None
    labels: tuple[str, ...] | int | None = None
    is_sparse: bool = False
    targets: tuple[str, ...] = ()


BUNDLED: dict[str, Callable] = {"yeast": load_yeast, "emotions": load_emotions}
"""Loaders of the data sets that come with the package and need no network."""

_CLASSES: dict[str, Callable] = {
    "usps": fetch_usps,
    "digits": load_digits,
    "wine": load_wine,
    "breast_cancer": load_breast_cancer,
}

_TASKS = {
    **dict.fromkeys([*MULAN_NAMES, "imdb"], "multilabel"),
    **dict.fromkeys(LDL_NAMES, "label distribution"),
    **dict.fromkeys(_CLASSES, "classification"),
    "omniglot": "retrieval",
}

DATASETS = {name: Source(name, task, is_sparse=name == "imdb") for name, task in _TASKS.items()}
"""Data sets that have a name here."""

FAMILIES = {"Yeast_alpha": "Yeast", "Yeast_cdc": "Yeast", "Arts1500": "Yahoo", "Business1500": "Yahoo"}
"""Families of data sets that were measured alike on the same or similar samples, and count once in statistics."""


@cache
def load(source: Source) -> DataSet:
    """Samples and targets of a data set.

    Raises
    ------
    ImportError
        If what reads it is not installed.
    OSError
        If it is missing and cannot be downloaded, or cannot be read.
    ValueError
        If a file of one's own does not hold what is said of it.
    """
    name = source.name
    if source.path is not None:
        return _own(source.path, source.labels)[0]
    if name == "imdb":
        return DataSet(*fetch_imdb(return_X_y=True))
    if source.task == "label distribution":
        return DataSet(*fetch_ldl(name, return_X_y=True))
    if source.task == "classification":
        return DataSet(*_CLASSES[name](return_X_y=True))
    if source.task == "retrieval":
        X, y = fetch_omniglot(subset="all", return_X_y=True)
        return DataSet(X, y, len(fetch_omniglot(return_X_y=True)[1]))
    loader = BUNDLED.get(name, partial(fetch_mulan, name))
    subsets = [loader(subset=subset, return_X_y=True) for subset in ("train", "test")]
    X, Y = (np.vstack(arrays) for arrays in zip(*subsets, strict=True))
    return DataSet(X, Y, len(subsets[0][0]))


@cache
def _own(path: str, labels: tuple[str, ...] | int | None) -> tuple[DataSet, tuple[str, ...]]:
    """Data of a file, and the names of its targets."""
    from benchmarks.data.files import read_file  # with pandas, which takes a while to load

    X, Y, targets = read_file(path, labels)
    return DataSet(X, Y), tuple(targets)


@cache
def digest(source: Source) -> str:
    """Digest that tells the data of a source from that of any other, whatever it is called."""
    X, Y, _ = load(source)
    return sha256(b"".join([X.tobytes(), Y.tobytes(), repr((X.shape, Y.shape, Y.dtype)).encode()])).hexdigest()[:16]


def task_of(Y: np.ndarray) -> str:
    """Task that targets are for: classes, label sets or label distributions.

    Raises
    ------
    ValueError
        If they are none of these.
    """
    if Y.ndim == 1:
        return "classification"
    if np.isin(Y, (0, 1)).all():
        return "multilabel"
    if (Y >= 0).all() and np.allclose(Y.sum(axis=1), 1, atol=1e-3):
        return "label distribution"
    raise ValueError(
        f"The targets, {Y.shape[1]} columns from {Y.min():g} to {Y.max():g}, are neither label sets (0, 1) nor label "
        "distributions (at least 0, with sum 1 in each row). Name one column of classes, or columns of these kinds."
    )


def own_source(path: str, labels: tuple[str, ...] | int | None) -> Source:
    """Source of a file of one's own, read once to see what kind of targets it has.

    Raises
    ------
    ImportError, OSError, ValueError
        If it cannot be read, or is not what is said of it.
    """
    file = str(Path(path).resolve())
    (_, Y, _), targets = _own(file, labels)
    try:
        task = task_of(Y)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    return Source(Path(path).name, task, file, labels, targets=targets)
