"""Multi-label data sets of the Mulan collection, in their official splits."""

from os import PathLike
from pathlib import Path

from skrelmetric.datasets._arff import read_labelled
from skrelmetric.datasets._cache import bunch, check_choice, fetch_file

MULAN_NAMES = ("emotions", "flags", "yeast", "scene", "enron", "medical", "Corel5k", "bibtex", "tmc2007-500")
"""Names that :func:`fetch_mulan` knows."""

_SUBSETS = {"train": ("train",), "test": ("test",), "all": ("train", "test")}
_FILES = {"Corel5k": "{name}-{subset}-sparse.arff"}


def fetch_mulan(
    name: str,
    subset: str = "all",
    *,
    data_home: str | PathLike | None = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
    as_frame: bool = False,
):
    """Fetch a multi-label data set of the Mulan collection, downloading it if need be.

    Parameters
    ----------
    name : {"emotions", "flags", "yeast", "scene", "enron", "medical", "Corel5k", "bibtex", "tmc2007-500"}
        The data set.
    subset : {"train", "test", "all"}, default="all"
        Official training samples, official test samples, or both in this order.
    data_home : str, path or None, default=None
        Folder of the cache, in which a leading ``~`` is the user's home. None is the environment variable
        ``SKRELMETRIC_DATA`` where it is set, or else the user's cache folder.
    download_if_missing : bool, default=True
        Whether to download what the cache does not hold.
    return_X_y : bool, default=False
        Whether to return ``(data, target)`` and not a Bunch.
    as_frame : bool, default=False
        Whether to return pandas data frames.

    Returns
    -------
    Bunch or (data, target)
        ``data`` of shape (n_samples, n_features), float64 (nominal features by their integer codes), ``target`` of
        shape (n_samples, n_labels) holding 0 and 1, ``frame``, ``feature_names``, ``target_names`` and ``DESCR``.

    Raises
    ------
    ValueError
        If `name` or `subset` is unknown, or a download is not the registered file.
    OSError
        If a file is missing and cannot or may not be downloaded.
    TypeError
        If `data_home` is no path.
    """
    check_choice("name", name, MULAN_NAMES)
    check_choice("subset", subset, tuple(_SUBSETS))

    def path(file: str) -> Path:
        return fetch_file(f"mulan/{name}/{file}", data_home, download_if_missing)

    file = _FILES.get(name, "{name}-{subset}.arff")
    tables = [path(file.format(name=name, subset=each)) for each in _SUBSETS[subset]]
    content = read_labelled(tables, path(f"{name}.xml"))
    return bunch(*content, descr="mulan", return_X_y=return_X_y, as_frame=as_frame)
