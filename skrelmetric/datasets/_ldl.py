"""Label-distribution data sets."""

from collections.abc import Callable
from os import PathLike

import numpy as np
from scipy.io import loadmat

from skrelmetric.datasets._cache import bunch, check_choice, fetch_file

LDL_NAMES = ("Natural_Scene", "Movie", "SBU_3DFE", "Yeast_alpha", "Yeast_cdc", "Painting", "FG-Net")
"""Names that :func:`fetch_ldl` knows."""

_N_PHOTOGRAPHS = 25  # of each person of SBU_3DFE


def _persons_of_sbu(content: dict[str, np.ndarray]) -> np.ndarray:
    return np.arange(len(content["features"])) // _N_PHOTOGRAPHS


def _persons_of_fg_net(content: dict[str, np.ndarray]) -> np.ndarray:
    """Person on each photograph: ages ascend on those of one person, and fall from a person to the next."""
    return np.cumsum(np.diff(content["age"].ravel().astype(np.int64), prepend=0) < 0)


_PERSONS: dict[str, Callable] = {"SBU_3DFE": _persons_of_sbu, "FG-Net": _persons_of_fg_net}

_CUT = ("FG-Net",)  # ages below 0 and above 69 are cut off the distributions of the file, and their mass with them


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
    name : {"Natural_Scene", "Movie", "SBU_3DFE", "Yeast_alpha", "Yeast_cdc", "Painting", "FG-Net"}
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
        are numbered) and ``DESCR``. The Bunch of faces, SBU_3DFE and FG-Net, has ``groups`` of shape (n_samples,)
        too, the number of the person on each photograph. The rows of FG-Net, which sum to .57 to 1 in its file, are
        divided by their sums.

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
    if name in _CUT:
        D /= D.sum(axis=1, keepdims=True)
    feature_names = [f"feature_{i}" for i in range(X.shape[1])]
    target_names = [f"label_{i}" for i in range(D.shape[1])]
    groups = _PERSONS[name](content) if name in _PERSONS else None
    return bunch(
        X, D, feature_names, target_names, descr="ldl", return_X_y=return_X_y, as_frame=as_frame, groups=groups
    )
