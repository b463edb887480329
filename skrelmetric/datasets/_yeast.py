"""The data set that comes with the package."""

import gzip

import numpy as np

from skrelmetric.datasets._cache import _DATA, bunch, check_choice

_N_LABELS = 14
_N_TRAIN = 1500


def load_yeast(*, subset: str = "all", return_X_y: bool = False, as_frame: bool = False):
    """Load yeast: gene expression profiles with the functional classes of each gene.

    2417 genes, 103 real features, 14 labels, 4.24 labels a gene. The data is part of the package.

    Parameters
    ----------
    subset : {"train", "test", "all"}, default="all"
        Official training part (the first 1500 samples), official test part (the other 917), or both in this order.
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
    check_choice("subset", subset, ("train", "test", "all"))
    with _DATA.joinpath("data/yeast.csv.gz").open("rb") as compressed, gzip.open(compressed, "rt") as lines:
        names = next(lines).strip().split(",")
        table = np.loadtxt(lines, delimiter=",")
    table = table[{"train": slice(_N_TRAIN), "test": slice(_N_TRAIN, None), "all": slice(None)}[subset]]
    X, Y = np.ascontiguousarray(table[:, :-_N_LABELS]), table[:, -_N_LABELS:].astype(np.int64)
    return bunch(X, Y, names[:-_N_LABELS], names[-_N_LABELS:], descr="yeast", return_X_y=return_X_y, as_frame=as_frame)
