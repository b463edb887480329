"""USPS: handwritten digits."""

from os import PathLike

import numpy as np
from scipy.io import loadmat
from sklearn.utils import Bunch

from skrelmetric.datasets._cache import describe, fetch_file


def fetch_usps(
    *,
    data_home: str | PathLike | None = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
):
    """Fetch digits of the USPS collection, downloading them if need be.

    2007 scanned digits, 256 grey values, 10 classes: the test samples of the collection.

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
        ``data`` of shape (2007, 256), float64 in [-1, 1], row by row of an image of 16 x 16 pixels, ``target`` of
        shape (2007,), the digits, ``target_names`` and ``DESCR``.

    Raises
    ------
    ValueError
        If the download is not the registered file.
    OSError
        If the file is missing and cannot or may not be downloaded.
    TypeError
        If `data_home` is no path.
    """
    content = loadmat(fetch_file("single/usps.mat", data_home, download_if_missing))
    X = np.ascontiguousarray(content["fea"], dtype=np.float64)
    y = content["gnd"].ravel().astype(np.int64) - 1  # counted from 1 in the file
    if return_X_y:
        return X, y
    return Bunch(data=X, target=y, target_names=[str(digit) for digit in range(10)], DESCR=describe("usps"))
