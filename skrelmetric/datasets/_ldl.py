"""Label-distribution data sets."""

from os import PathLike

import numpy as np
from scipy.io import loadmat

from skrelmetric.datasets._cache import bunch, check_choice, fetch_file

LDL_NAMES = ("Natural_Scene", "Movie", "SBU_3DFE", "Yeast_alpha")
"""Names that :func:`fetch_ldl` knows."""


def fetch_ldl(
    name: str,
    *,
    data_home: str | PathLike | None = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
    as_frame: bool = False,
):
    """Fetch a label-distribution data set, downloading it if need be.

    Parameters
    ----------
    name : {"Natural_Scene", "Movie", "SBU_3DFE", "Yeast_alpha"}
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
        ``data`` of shape (n_samples, n_features), ``target`` of shape (n_samples, n_labels) whose rows are
        distributions, both float64, ``frame``, ``feature_names``, ``target_names`` (the files name neither, so these
        are numbered) and ``DESCR``.

    Raises
    ------
    ValueError
        If `name` is unknown, or a download is not the registered file.
    OSError
        If the file is missing and cannot or may not be downloaded.
    TypeError
        If `data_home` is no path.
    """
    check_choice("name", name, LDL_NAMES)
    content = loadmat(fetch_file(f"ldl/{name}.mat", data_home, download_if_missing))
    X = np.ascontiguousarray(content["features"], dtype=np.float64)
    target = content["label_distribution"] if "label_distribution" in content else content["labels"]
    D = np.ascontiguousarray(target, dtype=np.float64)
    feature_names = [f"feature_{i}" for i in range(X.shape[1])]
    target_names = [f"label_{i}" for i in range(D.shape[1])]
    return bunch(X, D, feature_names, target_names, descr="ldl", return_X_y=return_X_y, as_frame=as_frame)
