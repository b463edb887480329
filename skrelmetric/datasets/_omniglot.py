"""Omniglot: handwritten characters, split by whole alphabets."""

from os import PathLike
from pathlib import Path
from zipfile import ZipFile

import numpy as np
from sklearn.utils import Bunch

from skrelmetric.datasets._cache import check_choice, describe, fetch_file
from skrelmetric.datasets._images import check_size, pillow

_SIDE = 105  # of the original images

_ALPHABETS = {
    "train": ("Balinese", "Early_Aramaic", "Greek", "Korean"),
    "test": ("Japanese_(katakana)", "Latin", "Sanskrit", "Tagalog"),
}
_ARCHIVES = {"train": "images_background_small1.zip", "test": "images_background_small2.zip"}
_SUBSETS = {"train": ("train",), "test": ("test",), "all": ("train", "test")}


def fetch_omniglot(
    *,
    subset: str = "train",
    size: int = 28,
    data_home: str | PathLike | None = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
):
    """Fetch eight alphabets of Omniglot, handwritten characters, downloading them if need be.

    Training and test images have no alphabet in common, so that a metric is tested on classes that it never saw. Needs
    Pillow: ``pip install 'skrelmetric[images]'``.

    Parameters
    ----------
    subset : {"train", "test", "all"}, default="train"
        Training alphabets (2200 images, 110 classes), test alphabets (2640 images, 132 classes), or the two in this
        order.
    size : int, default=28
        Height and width of the images, from 1 to 105; less than 105 averages areas of the original.
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
        ``data`` of shape (n_samples, 1, size, size), float32 in [0, 1] where ink is 1 and paper 0, ``target`` of
        shape (n_samples,), int64 codes of the characters from 0, ``alphabet`` of shape (n_samples,), names of the
        alphabets, ``target_names``, as in "Greek/character01", and ``DESCR``. Samples are ordered by alphabet,
        character and drawer.

    Raises
    ------
    ValueError
        If `subset` is unknown, `size` is out of range, or a download is not the registered file.
    OSError
        If a file is missing and cannot or may not be downloaded.
    TypeError
        If `data_home` is no path.
    ImportError
        If Pillow is not installed.
    """
    check_choice("subset", subset, tuple(_SUBSETS))
    check_size(size, _SIDE)
    images, characters = [], []
    for each in _SUBSETS[subset]:
        archive = fetch_file(f"images/{_ARCHIVES[each]}", data_home, download_if_missing)
        drawings, names = _read_images(archive, _ALPHABETS[each], int(size))
        images.append(drawings)
        characters += names
    X = np.concatenate(images)
    target_names = list(dict.fromkeys(characters))
    codes = {name: code for code, name in enumerate(target_names)}
    y = np.array([codes[name] for name in characters], dtype=np.int64)
    if return_X_y:
        return X, y
    return Bunch(
        data=X,
        target=y,
        alphabet=np.array([name.split("/")[0] for name in characters]),
        target_names=target_names,
        DESCR=describe("omniglot"),
    )


def _read_images(archive: Path, alphabets: tuple[str, ...], size: int) -> tuple[np.ndarray, list[str]]:
    """Images (n, 1, size, size) of some alphabets in an archive, and "alphabet/character" of each."""
    Image = pillow("fetch_omniglot")
    with ZipFile(archive) as entries:
        paths = sorted((*name.split("/")[1:], name) for name in entries.namelist() if name.endswith(".png"))
        chosen = [path for path in paths if path[0] in alphabets]  # (alphabet, character, file, entry)
        X = np.empty((len(chosen), 1, size, size), dtype=np.float32)
        for image, (*_, entry) in zip(X[:, 0], chosen, strict=True):
            with entries.open(entry) as file, Image.open(file) as drawing:
                # Averages of areas keep thin strokes, as grey; nearest pixels would drop them.
                image[:] = np.asarray(drawing.convert("L").resize((size, size), Image.Resampling.BOX))
    return 1 - X / np.float32(255), [f"{alphabet}/{character}" for alphabet, character, *_ in chosen]
