"""IMDB: the words of plots of films, and their genres."""

import bz2
from array import array
from os import PathLike
from pathlib import Path

import arff
import numpy as np
from scipy import sparse
from sklearn.utils import Bunch

from skrelmetric.datasets._cache import describe, fetch_file


def fetch_imdb(
    *,
    data_home: str | PathLike | None = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
):
    """Fetch IMDB, words in summaries of plots with the genres of the films, downloading it if need be.

    120,919 summaries, 1001 words of which 19.4 occur in a summary (1.9%), 28 genres, 2.00 genres a film. There is no
    official split. Reading takes about ten seconds and 100 MiB.

    Parameters
    ----------
    data_home : str, path or None, default=None
        Folder of the cache, in which a leading ``~`` is the user's home. None is the environment variable
        ``SKRELMETRIC_DATA`` where it is set, or else the user's cache folder.
    download_if_missing : bool, default=True
        Whether to download what the cache does not hold.
    return_X_y : bool, default=False
        Whether to return ``(data, target)`` and not a Bunch.

    Returns
    -------
    Bunch or (data, target)
        ``data``, a sparse csr_array of shape (120919, 1001), float64, 1 where a summary has the word, ``target`` of
        shape (120919, 28), int64, holding 0 and 1, ``feature_names``, ``target_names`` and ``DESCR``.

    Raises
    ------
    ValueError
        If the download is not the registered file.
    OSError
        If the file is missing and cannot or may not be downloaded.
    TypeError
        If `data_home` is no path.
    """
    names, table, n_labels = _read_meka(fetch_file("large/Imdb.arff.bz2", data_home, download_if_missing))
    X, Y = table[:, n_labels:], table[:, :n_labels].toarray().astype(np.int64)
    if return_X_y:
        return X, Y
    return Bunch(
        data=X,
        target=Y,
        feature_names=names[n_labels:],
        target_names=names[:n_labels],
        DESCR=describe("imdb"),
    )


def _read_meka(path: Path) -> tuple[list[str], sparse.csr_array, int]:
    """Column names and table of a compressed sparse ARFF file, and how many columns lead as labels by MEKA's "-C".

    Rows are read one by one, for as objects of Python they would take many times the memory of the table.
    """
    columns, values, ends = array("i"), array("d"), array("i", [0])
    with bz2.open(path, "rt", encoding="utf-8") as lines:
        content = arff.load(lines, encode_nominal=True, return_type=arff.LOD_GEN)
        for row in content["data"]:
            columns.extend(row)
            values.extend(row.values())
            ends.append(len(columns))
    names = [name for name, _ in content["attributes"]]
    n_labels = int(content["relation"].partition("-C ")[2])
    buffers = (np.frombuffer(each, dtype=each.typecode) for each in (values, columns, ends))
    table = sparse.csr_array(tuple(buffers), shape=(len(ends) - 1, len(names)))
    return names, table, n_labels
