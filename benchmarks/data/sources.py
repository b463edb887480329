"""Data sets by name, and files of one's own."""

from collections.abc import Callable
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import sparse
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine

from skrelmetric.datasets import (
    DCSN_NAMES,
    EML_NAMES,
    LDL_NAMES,
    MULAN_NAMES,
    MULTI_TARGET_NAMES,
    fetch_dcsn,
    fetch_eml,
    fetch_flowers102,
    fetch_imdb,
    fetch_ldl,
    fetch_mulan,
    fetch_multi_target,
    fetch_omniglot,
    fetch_usps,
    load_emotions,
    load_yeast,
)
from skrelmetric.trunks import efficientnet_lite0, precompute


class DataSet(NamedTuple):
    """Samples, targets, and what is known of how to split them.

    Attributes
    ----------
    X : ndarray or csr_array of shape (n_samples, n_features)
    Y : ndarray of shape (n_samples,) or (n_samples, n_targets)
    n_train : int or None
        How many of the first samples are the official training samples; None without an official split.
    groups : ndarray of shape (n_samples,) or None
        Person on each photograph. Samples of a group are near copies of each other, and folds that part them measure
        how well copies are found. None where no groups are known; rows that stand beside each other may be alike even
        so, as in time series ("andro", "atp1d") and grids ("enb"), which folds of contiguous blocks tell.
    """

    X: np.ndarray | sparse.csr_array
    Y: np.ndarray
    n_train: int | None = None
    groups: np.ndarray | None = None


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
    "iris": load_iris,
}

_LABEL_SETS: dict[str, Callable] = {
    "imdb": fetch_imdb,
    **{name: partial(fetch_eml, name) for name in EML_NAMES},
    **{name: partial(fetch_dcsn, name) for name in DCSN_NAMES},
}

_NUMBERS: dict[str, Callable] = {name: partial(fetch_multi_target, name) for name in MULTI_TARGET_NAMES}

_UNSPLIT = {"classification": _CLASSES, "multilabel": _LABEL_SETS, "regression": _NUMBERS}
"""Loaders of data sets that are neither split nor grouped, by task."""

_TASKS = {
    **dict.fromkeys([*MULAN_NAMES, *_LABEL_SETS], "multilabel"),
    **dict.fromkeys(LDL_NAMES, "label distribution"),
    **dict.fromkeys(_NUMBERS, "regression"),
    **dict.fromkeys(_CLASSES, "classification"),
    "omniglot": "retrieval",
    "flowers102": "fine-tuning",
}

FROZEN = 12
"""Modules of the trunk that no method of fine-tuning trains, the stem and eleven blocks: samples are their outputs."""

_CENTRE = slice(16, 240)  # of the rows and columns of a photograph: the 224 that the trunk was trained on

OF_UNSEEN_CLASSES = ("retrieval", "fine-tuning")
"""Tasks whose test samples are of classes that were not seen in training."""

DATASETS = {name: Source(name, task, is_sparse=name == "imdb") for name, task in _TASKS.items()}
"""Data sets that have a name here."""

FAMILIES = {"Yeast_alpha": "Yeast", "Yeast_cdc": "Yeast", "Arts1500": "Yahoo", "Business1500": "Yahoo"}
"""Collections that several data sets come from; what is not here is a family of its own.

Ranks and tests over data sets take these for independent of each other. Yeast_alpha and Yeast_cdc have the same genes
and features, and Arts1500 and Business1500 are directories of one web site, with words selected alike: a method that
suits one suits the other, so that statistics count a family once.
"""


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
    if name in _UNSPLIT.get(source.task, {}):
        return DataSet(*_UNSPLIT[source.task][name](return_X_y=True))
    if source.task == "label distribution":
        data = fetch_ldl(name)
        return DataSet(data.data, data.target, groups=data.get("groups"))
    if source.task == "retrieval":
        X, y = fetch_omniglot(subset="all", return_X_y=True)
        return DataSet(X, y, len(fetch_omniglot(return_X_y=True)[1]))
    if source.task == "fine-tuning":
        photographs = fetch_flowers102(subset="all", size=256)
        X = precompute(efficientnet_lite0()[:FROZEN], photographs.data[:, :, _CENTRE, _CENTRE])
        return DataSet(X, photographs.target, int((photographs.target < 51).sum()))
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
    X, Y, *_ = load(source)
    return sha256(b"".join([X.tobytes(), Y.tobytes(), repr((X.shape, Y.shape, Y.dtype)).encode()])).hexdigest()[:16]


def task_of(Y: np.ndarray) -> str:
    """Task that targets are for, whichever they are.

    Parameters
    ----------
    Y : ndarray of shape (n_samples,) or (n_samples, n_targets)
        Integers of one column are classes, and floats are numbers to predict. Several columns are label sets if they
        hold 0 and 1 alone, label distributions if they are at least 0 and each row sums to 1, and else numbers.

    Returns
    -------
    {"classification", "multilabel", "label distribution", "regression"}
    """
    if Y.ndim == 1:
        return "regression" if np.issubdtype(Y.dtype, np.floating) else "classification"
    if np.isin(Y, (0, 1)).all():
        return "multilabel"
    return "label distribution" if is_distributions(Y) else "regression"


def is_distributions(Y: np.ndarray) -> bool:
    """Whether rows of numbers, of shape (n_samples, n_labels), are distributions: at least 0, with a sum of 1."""
    return bool((Y >= 0).all() and np.allclose(Y.sum(axis=1), 1, atol=1e-3))


def own_source(path: str, labels: tuple[str, ...] | int | None) -> Source:
    """Source of a file of one's own, read once to see what kind of targets it has.

    Raises
    ------
    ImportError, OSError, ValueError
        If it cannot be read, or is not what is said of it.
    """
    file = str(Path(path).resolve())
    data, targets = _own(file, labels)
    return Source(Path(path).name, task_of(data.Y), file, labels, targets=targets)
