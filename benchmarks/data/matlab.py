"""Matrices of numbers in MATLAB files up to version 7, read by scipy in a process of its own.

On some damaged files `scipy.io.loadmat` ends the process that runs it. A process of `multiprocessing` would not do:
the workers of Dask, which read files too, may have none.
"""

import io
import math
import pickle
import shutil
import subprocess
import sys
from collections import Counter
from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.io import loadmat, whosmat

_NUMBERS = {"sparse": "double", "logical": "uint8"} | {
    name: name for name in ("double", "single", *(f"{sign}int{8 * n}" for sign in ("", "u") for n in (1, 2, 4, 8)))
}
"""Kinds of numbers by the class of their matrix, in MATLAB's words."""


class Matrix(NamedTuple):
    """Variable of a file: its name, its shape, its class in MATLAB's words, and its numbers, dense, where it has any.

    There are none where it is empty, larger than it may be, one of several of its name, or has other than two
    dimensions or other than real numbers.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    values: np.ndarray | None

    def __str__(self) -> str:
        return f"{self.name} ({' x '.join(map(str, self.shape))} {self.kind})"


def read_matrices(content: bytes, names: tuple[str, ...], most: int) -> list[Matrix]:
    """Variables of a MATLAB file, without a danger to this process.

    Parameters
    ----------
    content : bytes
        The file.
    names : tuple of str
        Variables whose numbers are wanted.
    most : int
        Bytes that each of these may have, at 8 a number.

    Returns
    -------
    list of Matrix

    Raises
    ------
    ValueError
        If it is of another version, or damaged.
    """
    command = [sys.executable, "-P", __file__, str(most), *names]  # without this folder's names, such as files
    child = subprocess.run(command, input=content, capture_output=True)
    if child.returncode == 1:  # an exception, which stands last: its type, a colon and its words
        raised = child.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise ValueError(raised.partition(": ")[2] or raised)
    if child.returncode:
        raise ValueError("it is damaged")
    return [Matrix(*variable) for variable in pickle.loads(child.stdout)]


def scipy_matrices(content: bytes, names: tuple[str, ...], most: int) -> list[Matrix]:
    """Variables of a MATLAB file as `read_matrices` has them, read in this process, which a damaged file may end."""
    if b"\x89HDF" in (content[:4], content[512:516]):
        raise ValueError("it is of version 7.3, which is HDF5: in MATLAB save it with save(file, ..., '-v7')")
    listed = whosmat(io.BytesIO(content), chars_as_strings=False)
    matrices = [Matrix(name, shape, kind, None) for name, shape, kind in listed]
    counts = Counter(matrix.name for matrix in matrices)
    wanted = [each.name for each in matrices if each.name in names and counts[each.name] == 1 and _is_table(each, most)]
    held = loadmat(io.BytesIO(content), variable_names=wanted)  # its mat_dtype makes complex numbers real
    return [_filled(matrix, held[matrix.name]) if matrix.name in wanted else matrix for matrix in matrices]


def _is_table(matrix: Matrix, most: int) -> bool:
    shape = matrix.shape
    return matrix.kind in _NUMBERS and len(shape) == 2 and min(shape) > 0 and 8 * math.prod(shape) <= most


def _filled(matrix: Matrix, values: np.ndarray | sparse.spmatrix) -> Matrix:
    if np.iscomplexobj(values):
        return matrix._replace(kind=f"complex {matrix.kind}")
    if sparse.issparse(values):
        values = sparse.csc_array(values)
        values.check_format(full_check=True)  # places of entries, which a damaged file may have anywhere
        values = values.toarray()
    return matrix._replace(values=np.ascontiguousarray(values, dtype=_NUMBERS[matrix.kind]))


if __name__ == "__main__":
    variables = scipy_matrices(sys.stdin.buffer.read(), tuple(sys.argv[2:]), int(sys.argv[1]))
    pickled = pickle.dumps([tuple(variable) for variable in variables])
    shutil.copyfileobj(io.BytesIO(pickled), sys.stdout.buffer)  # in parts: a pipe loses what is past 2 GiB of one
