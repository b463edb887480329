"""Matrices of numbers in MATLAB files of versions 5 to 7, by the level 5 of MathWorks' "MAT-File Format".

Nothing is taken from a file before it is looked at: on some damaged files `scipy.io.loadmat` ends the whole process.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy import sparse

_MATRIX, _COMPRESSED = 14, 15  # types of elements that hold others

_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""Kinds of numbers by type of element."""

_CLASSES = dict(enumerate(("cell", "struct", "object", "char", "sparse", "double", "single"), 1)) | {
    8 + k: name for k, name in enumerate(("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"))
}
"""Classes of matrices by their number, but for functions and new objects."""

_COMPLEX = 0x08  # flag of a matrix

_OF_NUMBERS = {"sparse": np.float64, "double": np.float64, "single": np.float32} | {
    name: np.dtype(name) for name in _CLASSES.values() if "int" in name
}
"""Kinds of numbers by the class of their matrix. Logical matrices are of uint8."""


class Matrix(NamedTuple):
    """Variable of a file: its name, its shape, its class in MATLAB's words, and the elements that it holds."""

    name: str
    shape: tuple[int, ...]
    kind: str
    parts: list[np.ndarray]

    def __str__(self) -> str:
        return f"{self.name} ({' x '.join(map(str, self.shape))} {self.kind})"

    def numbers(self) -> np.ndarray:
        """Numbers of the matrix, dense.

        Raises
        ------
        ValueError
            If it is empty, has other than two dimensions or other than real numbers, or is damaged.
        """
        if self.kind not in _OF_NUMBERS or len(self.shape) != 2 or min(self.shape) < 1:
            raise ValueError(f"{self} is no matrix of real numbers with a row a sample")
        n_parts = 3 if self.kind == "sparse" else 1
        if len(self.parts) != n_parts:
            raise ValueError(f"{self} has {len(self.parts)} elements of numbers in the place of {n_parts}")
        if self.kind == "sparse":
            rows, starts, entries = self.parts
            n_entries = starts[-1]
            matrix = sparse.csc_array((entries[:n_entries], rows[:n_entries], starts), shape=self.shape)
            matrix.check_format(full_check=True)  # places of entries, which a damaged file may have anywhere
            dense = matrix.toarray()
        else:
            (entries,) = self.parts
            dense = entries.reshape(self.shape, order="F")
        return np.ascontiguousarray(dense, dtype=_OF_NUMBERS[self.kind])


def read_matrices(content: bytes, most: int) -> list[Matrix]:
    """Variables of a MATLAB file.

    Parameters
    ----------
    content : bytes
        The file.
    most : int
        Bytes that the variables may have together, where they are compressed.

    Returns
    -------
    list of Matrix

    Raises
    ------
    ValueError
        If it is of another version, damaged, or larger.
    """
    if b"\x89HDF" in (content[:4], content[512:516]):
        raise ValueError("it is of version 7.3, which is HDF5: in MATLAB save it with save(file, ..., '-v7')")
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    if order is None:
        raise ValueError("it is no file of MATLAB's versions 5 to 7: save it with save(file, ..., '-v7')")
    matrices = []
    for kind, element in _elements(content[128:], order):
        if kind == _COMPRESSED:
            inflated = _inflated(element, most)
            most -= len(inflated)
            ((kind, element),) = _elements(inflated, order)
        if kind != _MATRIX:
            raise ValueError(f"it has an element of type {kind} in the place of a matrix")
        matrices.append(_matrix(element, order))
    return matrices


def _inflated(element: bytes, most: int) -> bytes:
    inflating = zlib.decompressobj()
    inflated = inflating.decompress(element, most + 1)
    if len(inflated) > most:
        raise ValueError(f"it holds more than {most:,} bytes")
    if not inflating.eof:
        raise ValueError("it is cut off")
    return inflated


def _elements(content: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Types and contents of the elements that stand one after the other."""
    place = 0
    while place < len(content):
        if place + 8 > len(content):
            raise ValueError("it is cut off")
        kind, size = struct.unpack_from(f"{order}II", content, place)
        start = place + 8
        if kind >> 16:  # so few bytes that they stand where their number would
            kind, size, start = kind & 0xFFFF, kind >> 16, place + 4
            if size > 4:
                raise ValueError(f"it has {size} bytes in the place of 4")
        end = start + size
        if end > len(content):
            raise ValueError("it is cut off")
        yield kind, content[start:end]
        place = end if kind == _COMPRESSED else end + -end % 8


def _matrix(element: bytes, order: str) -> Matrix:
    """Variable with its header read."""
    elements = list(_elements(element, order))
    if len(elements) < 3:
        raise ValueError("it has a matrix without a header")
    flags = int(_numbers(*elements[0], order)[0])
    kind = _CLASSES.get(flags & 0xFF, "object")
    if kind == "object":  # and functions, which have headers of their own
        return Matrix("", (), kind, [])
    shape, name = (_numbers(*each, order).tolist() for each in elements[1:3])
    if len(shape) < 2 or min(shape) < 0:
        raise ValueError(f"it has a matrix of the shape {shape}")
    is_complex = flags >> 8 & _COMPLEX
    parts = [_numbers(*each, order) for each in elements[3:]] if kind in _OF_NUMBERS else []
    title = "".join(map(chr, name))
    return Matrix(title, tuple(shape), f"complex {kind}" if is_complex else kind, parts)


def _numbers(kind: int, part: bytes, order: str) -> np.ndarray:
    if kind not in _NUMBERS:
        raise ValueError(f"it has an element of type {kind} in the place of numbers")
    return np.frombuffer(part, dtype=f"{order}{_NUMBERS[kind]}")
