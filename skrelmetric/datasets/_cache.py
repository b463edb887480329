"""Cache of verified files, and Bunches of what they hold."""

from importlib.resources import files
from os import PathLike, fspath
from pathlib import Path
from time import monotonic
from typing import BinaryIO

import numpy as np
import pooch
from sklearn.utils import Bunch

from skrelmetric._interop.files import replacing

PACKAGED = files("skrelmetric.datasets")
"""Folder of the files that come with the package."""

_MOST_BYTES, _MOST_SECONDS = 2**26, 600  # of a download; the largest registered file has 3.3 MB
_PATIENCE = 30  # seconds to wait for a sign of the server


def fetch_file(name: str, data_home: str | PathLike | None, download_if_missing: bool) -> Path:
    """Path of a registered file in the cache, downloaded first if need be.

    Parameters
    ----------
    name : str
        Path of the file in the cache, as the registry has it.
    data_home : str, path or None
        The cache; None is the environment variable ``SKRELMETRIC_DATA`` or else the user's cache folder. A leading
        ``~`` is the user's home.
    download_if_missing : bool
        Whether to download a file that the cache does not hold.

    Returns
    -------
    Path

    Raises
    ------
    OSError
        If the file is missing or damaged and may not be downloaded, or cannot be: without a network, within ten
        minutes, or where the cache cannot be written to.
    TypeError
        If `data_home` is no path.
    ValueError
        If the download is not the registered file, or larger than 64 MiB; it is not kept then.
    """
    cache = pooch.create(
        path=_path(data_home) if data_home is not None else pooch.os_cache("skrelmetric"),
        base_url="",
        env=None if data_home is not None else "SKRELMETRIC_DATA",
    )
    with PACKAGED.joinpath("data/registry.txt").open() as registry:
        cache.load_registry(registry)
    local, url = Path(cache.abspath, name), cache.get_url(name)
    elsewhere = "point data_home or SKRELMETRIC_DATA to a folder"
    try:
        if local.exists() and pooch.file_hash(str(local)) == cache.registry[name]:
            return local
    except OSError as error:
        raise OSError(f"{local} cannot be read ({error}). Make it readable, or {elsewhere} that is.") from None
    if not download_if_missing:
        state = "damaged" if local.exists() else "not in the cache"
        raise OSError(
            f"{local} is {state} and download_if_missing=False. Allow the download from {url}, or {elsewhere} that "
            "holds the file."
        )
    try:
        local.parent.mkdir(parents=True, exist_ok=True)
        pooch.get_logger().info("Downloading %s to %s.", url, local)
        with replacing(local) as file:
            _download(url, file)
            file.flush()
            found = pooch.file_hash(file.name)
            if found != cache.registry[name]:
                raise ValueError(
                    f"{url} has the SHA-256 digest {found}, and not {cache.registry[name]} as registered. Try again "
                    f"later, or save the registered file as {local}."
                )
    except OSError as error:
        # Errors of the network have no number here, those of the system have.
        reason = getattr(next(iter(error.args), None), "reason", error)  # without the tries that led to it
        if error.errno is None:
            mend = f"Check the connection, save the file as {local}, or {elsewhere} that holds it"
        else:
            mend = f"Make room and make it writable, or {elsewhere} that has both"
            reason = f"{local.parent} cannot be written to: {reason}"
        raise OSError(f"{url} could not be downloaded ({reason}). {mend}.") from None
    return local


def _path(data_home: str | PathLike) -> str:
    path = fspath(data_home) if isinstance(data_home, str | PathLike) else None
    if not path or not isinstance(path, str):
        raise TypeError(f"data_home={data_home!r} is no path. Pass a str, a pathlib.Path, or None for the default.")
    return path


def _download(url: str, file: BinaryIO) -> None:
    """Write what an address holds to a file, unless it is too much or takes too long."""
    import requests  # which takes a while to load

    n_bytes, end = 0, monotonic() + _MOST_SECONDS
    with requests.get(url, stream=True, timeout=_PATIENCE) as response:
        response.raise_for_status()
        for content in response.iter_content(64):  # so few that the clock is looked at although they drip
            n_bytes += len(content)
            if n_bytes > _MOST_BYTES:
                raise ValueError(f"{url} is larger than {_MOST_BYTES:,} bytes, and so not the registered file.")
            if monotonic() > end:
                raise TimeoutError(f"{n_bytes:,} bytes in {_MOST_SECONDS} seconds")
            file.write(content)


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
    groups: np.ndarray | None = None,
):
    """Data set as scikit-learn hands it out: a Bunch or a pair, of arrays or of data frames.

    A Bunch has `groups`, those samples that depend on each other, where there are some.
    """
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
        **({} if groups is None else {"groups": groups}),
    )


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuse a value that is not one of the choices."""
    if value not in choices:
        raise ValueError(f"{name}={value!r} is not known. Choose one of {list(choices)}.")
