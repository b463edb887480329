"""Multi-target regression data sets of the Mulan collection."""

from os import PathLike

from skrelmetric.datasets._arff import read_one_hot
from skrelmetric.datasets._cache import bunch, check_choice, fetch_file

_N_TARGETS = {"andro": 6, "atp1d": 6, "enb": 2, "jura": 3, "oes97": 16, "sf2": 3}

MULTI_TARGET_NAMES = tuple(_N_TARGETS)
"""Names that :func:`fetch_multi_target` knows."""


def fetch_multi_target(
    name: str,
    *,
    data_home: str | PathLike | None = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
    as_frame: bool = False,
):
    """Fetch a multi-target regression data set of the Mulan collection, downloading it if need be.

    The targets are numbers on scales of their own. There are no official splits.

    Parameters
    ----------
    name : {"andro", "atp1d", "enb", "jura", "oes97", "sf2"}
        The data set.
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
        ``data`` of shape (n_samples, n_features), ``target`` of shape (n_samples, n_targets), both float64,
        ``frame``, ``feature_names``, ``target_names`` and ``DESCR``. Each value that the file declares for a nominal
        feature is a feature of 0 and 1, of the name "feature=value".

    Raises
    ------
    ValueError
        If `name` is unknown, or a download is not the registered file.
    OSError
        If a file is missing and cannot or may not be downloaded.
    TypeError
        If `data_home` is no path.
    """
    check_choice("name", name, MULTI_TARGET_NAMES)
    names, table = read_one_hot(fetch_file(f"multi-target/{name}.arff", data_home, download_if_missing))
    n_features = len(names) - _N_TARGETS[name]
    X, Y = table[:, :n_features].copy(), table[:, n_features:].copy()
    feature_names, target_names = names[:n_features], names[n_features:]
    return bunch(X, Y, feature_names, target_names, descr="multi_target", return_X_y=return_X_y, as_frame=as_frame)
