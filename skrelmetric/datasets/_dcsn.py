"""Multi-label data sets of the collection of cutset networks."""

from os import PathLike

from skrelmetric.datasets._arff import read_labelled
from skrelmetric.datasets._cache import bunch, check_choice, fetch_file

DCSN_NAMES = ("plant978", "Arts1500", "Business1500")
"""Names that :func:`fetch_dcsn` knows."""


def fetch_dcsn(
    name: str,
    *,
    data_home: str | PathLike | None = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
    as_frame: bool = False,
):
    """Fetch a multi-label data set of the DCSN collection, downloading it if need be.

    Proteins of plants, and pages of two of Yahoo's directories. There are no official splits.

    Parameters
    ----------
    name : {"plant978", "Arts1500", "Business1500"}
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
        ``data`` of shape (n_samples, n_features), float64, ``target`` of shape (n_samples, n_labels), int64, holding
        0 and 1, ``frame``, ``feature_names``, ``target_names`` and ``DESCR``.

    Raises
    ------
    ValueError
        If `name` is unknown, or a download is not the registered file.
    OSError
        If a file is missing and cannot or may not be downloaded.
    TypeError
        If `data_home` is no path.
    """
    check_choice("name", name, DCSN_NAMES)
    table, labels = (
        fetch_file(f"dcsn/{name}{suffix}", data_home, download_if_missing) for suffix in (".orig.arff.gz", ".xml.gz")
    )
    content = read_labelled([table], labels)
    return bunch(*content, descr="dcsn", return_X_y=return_X_y, as_frame=as_frame)
