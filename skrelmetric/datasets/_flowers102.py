"""Oxford Flowers: photographs of flowers, split by whole classes."""

import io
import struct
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import BinaryIO

import numpy as np
from sklearn.utils import Bunch

from skrelmetric.datasets._cache import check_choice, describe, fetch_file
from skrelmetric.datasets._images import check_size, pillow

_SIDE = 256  # of the images in the files
_N_FILES = 5  # of each part
_PARTS = ("train", "validation")
_N_TRAINING_CLASSES = 51
_SUBSETS = {"train": (0, _N_TRAINING_CLASSES), "test": (_N_TRAINING_CLASSES, 102), "all": (0, 102)}


def fetch_flowers102(
    *,
    subset: str = "train",
    size: int = 224,
    data_home: str | PathLike | None = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
):
    """Fetch Oxford Flowers, 102 kinds of flowers in 20 photographs each, downloading them if need be.

    Training and test images have no class in common, so that a metric is tested on classes that it never saw. Needs
    Pillow: ``pip install 'skrelmetric[images]'``.

    Parameters
    ----------
    subset : {"train", "test", "all"}, default="train"
        Classes 0 to 50 (1020 images), classes 51 to 101 (1020 images), or the two in this order.
    size : int, default=224
        Height and width of the images, from 1 to 256, to which they are resized with bicubic interpolation.
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
        ``data`` of shape (n_samples, 3, size, size), uint8, red, green and blue, ``target`` of shape (n_samples,),
        int64 classes from 0, ``part`` of shape (n_samples,), "train" or "validation", the official part that an image
        is of, and ``DESCR``. Samples are ordered by class, part and number of the photograph.

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
    first, end = _SUBSETS[subset]
    photographs = []
    for part in _PARTS:
        for i in range(_N_FILES):
            name = f"images/flowers102/flower102_{part}_{i:05}-of-{_N_FILES:05}.tfrecord"
            for record in _records(fetch_file(name, data_home, download_if_missing)):
                example = _example(record)
                code = int(example["image/class/label"])
                if first <= code < end:
                    photographs.append((code, part, example["image/filename"], example["image/encoded"]))
    photographs.sort()
    codes, parts, _, encoded = zip(*photographs, strict=True)
    X, y = _decoded(encoded, int(size)), np.array(codes, dtype=np.int64)
    if return_X_y:
        return X, y
    return Bunch(data=X, target=y, part=np.array(parts), DESCR=describe("flowers102"))


def _decoded(encoded: tuple[bytes, ...], size: int) -> np.ndarray:
    """Images (n, 3, size, size) of some files."""
    Image = pillow("fetch_flowers102")
    X = np.empty((len(encoded), 3, size, size), dtype=np.uint8)
    for image, content in zip(X, encoded, strict=True):
        with Image.open(io.BytesIO(content)) as photograph:
            pixels = photograph.convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
        image[:] = np.asarray(pixels).transpose(2, 0, 1)
    return X


def _records(path: Path) -> Iterator[bytes]:
    """Records of a TFRecord file: each is its length, a checksum of that, its content, and a checksum of this.

    The digest of the whole file was compared before, so that checksums have nothing to add.
    """
    with path.open("rb") as file:
        while head := file.read(12):
            yield file.read(struct.unpack("<Q", head[:8])[0])
            file.read(4)


def _example(record: bytes) -> dict[str, bytes | int]:
    """First value of each feature of a ``tf.train.Example``, a message of protocol buffers.

    It holds Features (field 1), a map (field 1) from names (1) to a Feature (2), which is a list of bytes, floats or
    integers (1, 2 or 3) of values (1), integers being packed.
    """
    example = {}
    for entry in _fields(_fields(record)[0][1]):
        name, feature = (value for _, value in _fields(entry[1]))
        kind, values = _fields(feature)[0]
        _, first = _fields(values)[0]
        example[name.decode()] = _varint(io.BytesIO(first)) if kind == 3 else first
    return example


def _fields(message: bytes) -> list[tuple[int, bytes]]:
    """Numbers and contents of the fields of a message, all of which have a length."""
    fields, stream = [], io.BytesIO(message)
    while stream.tell() < len(message):
        number = _varint(stream) >> 3
        fields.append((number, stream.read(_varint(stream))))
    return fields


def _varint(stream: BinaryIO) -> int:
    """Whole number of seven bits a byte, the lowest first, of which the last byte is below 128."""
    value = shift = 0
    while True:
        (byte,) = stream.read(1)
        value |= (byte & 127) << shift
        if byte < 128:
            return value
        shift += 7
