"""Cache of verified files, and Bunches of what they hold."""

from importlib.resources import files
from os import PathLike
from pathlib import Path

import numpy as np
import pooch
from sklearn.utils import Bunch

PACKAGED = files("skrelmetric.datasets")
"""Folder of the files that come with the package."""


def fetch_file(name: str, data_home: str | PathLike | None, download_if_missing: bool) -> Path:
    """Path of a registered file in the cache, downloaded first if need be.

    Parameters
    ----------
    name : str
        Path of the file in the cache, as the registry has it.
    data_home : str, path or None
        The cache; None is the environment variable ``SKRELMETRIC_DATA`` or else the user's cache folder.
    download_if_missing : bool
        Whether to download a file that the cache does not hold.

    Returns
    -------
    Path

    Raises
    ------
    OSError
        If the file is missing or damaged and may not be downloaded, or cannot be.
    ValueError
        If the download is not the registered file, which is not kept then.
    """
    cache = pooch.create(
        path=data_home if data_home is not None else pooch.os_cache("skrelmetric"),
        base_url="",
        env=None if data_home is not None else "SKRELMETRIC_DATA",
    )
    with PACKAGED.joinpath("data/registry.txt").open() as registry:
        cache.load_registry(registry)
    local = Path(cache.abspath, name)
    intact = local.exists() and pooch.file_hash(str(local)) == cache.registry[name]
    if intact:
        return local
    if not download_if_missing:
        state = "damaged" if local.exists() else "not in the cache"
        raise OSError(
            f"{local} is {state} and download_if_missing=False. Allow the download from {cache.urls[name]}, "
            "or point data_home or SKRELMETRIC_DATA to a folder that holds the file."
        )
    try:
        return Path(cache.fetch(name))
    except OSError as error:  # requests raises its subclasses where there is no network
        raise OSError(
            f"{cache.urls[name]} could not be downloaded ({error}). Check the connection, or save the file as {local}."
        ) from error


def describe(name: str) -> str:
    """Text of a description that the package holds."""
    return PACKAGED.joinpath(f"descr/{name}.rst").read_text(encoding="utf-8")


def bunch(
    X: np.ndarray,
    Y: np.ndarray,
    feature_names: list[str],
    target_names: list[str],
    *,
    descr: str,
    return_X_y: bool,
    as_frame: bool,
):
    """Data set as scikit-learn hands it out: a Bunch or a pair, of arrays or of data frames."""
    data, target, frame = X, Y, None
    if as_frame:
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("as_frame=True needs pandas: pip install pandas. Arrays need nothing more.") from error
        data = pd.DataFrame(X, columns=feature_names)
        target = pd.DataFrame(Y, columns=target_names)
        frame = pd.concat([data, target], axis=1)
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        frame=frame,
        feature_names=feature_names,
        target_names=target_names,
        DESCR=describe(descr),
    )


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuse a value that is not one of the choices."""
    if value not in choices:
        raise ValueError(f"{name}={value!r} is not known. Choose one of {list(choices)}.")
