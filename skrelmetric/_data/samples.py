"""Samples as alignment takes them: centred and weighted, never written down, summed over in blocks of rows."""

import math
from collections.abc import Iterator
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from skrelmetric._interop.arrays import canonical
from skrelmetric._interop.torch import as_tensor, block_rows

__all__ = [
    "LIMITS",
    "Rows",
    "Samples",
    "cross",
    "dense",
    "rows_at_once",
    "scaled",
    "shifted",
    "slices",
    "stored",
    "take",
]

Rows: TypeAlias = Tensor | sparse.csr_array
"""A tall matrix with one row a sample: a Tensor or a csr_array."""

LIMITS = {torch.float32: 2.0**100}
"""Largest modulus of an entry in single precision, whose square is taken in double precision."""

_BYTES_AT_ONCE = 2**24  # of samples, from which an encoder of images makes a hundred times as many

# A product of sparse rows costs several times as much an entry as one of dense blocks.
_WORTH_SPARSE = 0.1

# Products of two entries of the same sparse row are kept, at 16 bytes each, if there are no more.
_MOST_PRODUCTS = 2**25


class Samples:
    """Rows of ``X - mean`` with weights.

    Parameters
    ----------
    X : Tensor or csr_array of shape (n_samples, n_features)
        Samples, float32 or float64.
    weights : Tensor of shape (n_samples,)
        Weight p_i of each sample, float64; they sum to 1.
    mean : Tensor of shape (n_features,) or None, default=None
        What is subtracted from each row, float64. None is the weighted mean.

    Attributes
    ----------
    stored_sparse : bool
        Whether `X` is sparse.
    multiplied_sparse : bool
        Whether it is sparse enough, and where scipy is, for products of sparse rows; otherwise blocks of rows are
        made dense, on the device.

    Notes
    -----
    Every sum goes over the samples in row blocks; beyond `X` memory is a block and a few d x d matrices. Sums are
    accumulated in float64, and what is summed many times is multiplied in the dtype of `X` within a block. The mean
    is taken out of dense rows, and out of the sums over sparse ones.
    """

    def __init__(self, X: Rows, weights: Tensor, mean: Tensor | None = None):
        self.X: Any = X
        self.weights, self.device, self.shape = weights, weights.device, (X.shape[0], X.shape[1])
        self.stored_sparse = not isinstance(X, Tensor)
        self.dtype = as_tensor(self.X.data[:0]).dtype if self.stored_sparse else X.dtype
        self.multiplied_sparse = (
            not isinstance(X, Tensor)
            and self.device.type == "cpu"
            and X.nnz < _WORTH_SPARSE * np.prod(X.shape, dtype=float)
        )
        self.mean = self._weighted_mean() if mean is None else mean

    def __getitem__(self, index: slice | Tensor) -> Tensor:
        """Centred rows, in the dtype of X."""
        return (self._rows(index) - self.mean).to(self.dtype)

    def _rows(self, index: slice | Tensor) -> Tensor:
        if isinstance(self.X, Tensor):
            return self.X[index]
        return as_tensor(self.X[index if isinstance(index, slice) else index.cpu().numpy()].toarray(), self.device)

    def _weighted_mean(self) -> Tensor:
        if self.stored_sparse:
            return as_tensor(self.X.T @ self.weights.cpu().numpy(), self.device)
        # Differences from a sample keep the digits that a common offset would take.
        origin = self.X[0].to(torch.float64)
        mean = torch.zeros_like(origin)
        for rows in slices(self):
            mean += self.weights[rows] @ (self.X[rows] - origin)
        return origin + mean

    def varying(self) -> Tensor:
        """Mask of the features in which any two samples differ."""
        if isinstance(self.X, Tensor):
            return (self.X[0] != self.X).any(0)
        differ = (self.X.max(axis=0) != self.X.min(axis=0)).toarray()
        return as_tensor(np.asarray(differ).reshape(-1), self.device)

    def cross(self, V: Rows) -> Tensor:
        """V' Z of shape (k, n_features), in float64."""
        if self.multiplied_sparse or (self.dtype == torch.float64 and not self.stored_sparse):
            return cross(V, self.X) - torch.outer(_column_sums(V), self.mean)
        return cross(V, self)

    def scatter(self, *weights: Tensor) -> list[Tensor]:
        """Z' diag(w) Z for each of some weights w, in place of the samples' own, in one pass, in float64."""
        if self.multiplied_sparse:
            products = (as_tensor((self.X.T @ scaled(self.X, w)).toarray()).to(torch.float64) for w in weights)
            firsts = cross(torch.stack(weights, 1), self.X)
            return [self._centred(*moments) for moments in zip(products, firsts, map(torch.sum, weights), strict=True)]
        totals = [self.mean.new_zeros((self.shape[1],) * 2) for _ in weights]
        room = self.mean.new_empty((2, _block_length(self), self.shape[1]))
        for rows in slices(self):
            x = self._rows(rows)
            z, weighted = room[:, : len(x)]
            torch.sub(x, self.mean, out=z)
            for total, w in zip(totals, weights, strict=True):
                total.addmm_(torch.mul(z, w[rows, None], out=weighted).T, z)
        return totals

    def scatter_of_forms(self, M: Tensor) -> Tensor:
        """Z' diag(p q) Z with the quadratic forms q_i = z_i' M z_i, in float64, in one pass.

        The mean is taken out of the forms and of the sum rather than of each row, which costs next to nothing but
        needs a mean that does not dwarf the deviations from it.
        """
        shift, constant = -2 * M @ self.mean, self.mean @ M @ self.mean
        if self._products is not None:
            of_pairs = 2 * M.triu() - M.diagonal().diag()
            forms = as_tensor(self._products @ of_pairs.reshape(-1).numpy() + self.X @ shift.numpy()) + constant
            weights = self.weights * forms
            second = as_tensor(self._products.T @ weights.numpy()).reshape(M.shape)
            first = as_tensor(self.X.T @ weights.numpy())
            return self._centred(second + second.triu(1).T, first, weights.sum())
        m, v = M.to(self.dtype), shift.to(self.dtype)
        if self.multiplied_sparse:  # only the forms go by blocks: the sum of each would cost more than its rows
            blocks = (self.X[rows] for rows in slices(self))
            forms = [x.multiply(x @ m.numpy() + v.numpy()).sum(axis=1) for x in blocks]
            return self.scatter(self.weights * (as_tensor(np.concatenate(forms)) + constant))[0]
        second, first, zeroth = torch.zeros_like(M), torch.zeros_like(self.mean), torch.zeros_like(constant)
        room = m.new_empty((_block_length(self), self.shape[1]))
        for rows in slices(self):
            x = self._rows(rows)
            block = room[: len(x)]
            w = self.weights[rows] * (torch.addmm(v, x, m, out=block).mul_(x).sum(1) + constant)
            weights = w.to(x.dtype)
            second += torch.mul(x, weights[:, None], out=block).T @ x
            first += x.T @ weights
            zeroth += w.sum()
        return self._centred(second, first, zeroth)

    @cached_property
    def _products(self) -> sparse.csr_array | None:
        """Products of any two entries of each sparse row, of shape (n_samples, n_features^2); None if they are many.

        A quadratic form of a row is their sum, weighted by the entries of its matrix.
        """
        if not self.multiplied_sparse:
            return None
        lengths = np.diff(self.X.indptr).astype(np.int64)
        ends = np.append(0, np.cumsum(lengths * (lengths + 1) // 2))
        if ends[-1] > _MOST_PRODUCTS:
            return None
        entries = np.arange(self.X.nnz)
        n_partners = np.repeat(np.cumsum(lengths), lengths) - entries  # each entry itself, and what follows in its row
        firsts = np.repeat(entries, n_partners)
        seconds = np.arange(ends[-1]) - np.repeat(np.cumsum(n_partners) - n_partners - entries, n_partners)
        columns, data = self.X.indices.astype(np.int64), self.X.data.astype(np.float64)
        pairs = columns[firsts] * self.shape[1] + columns[seconds]
        return sparse.csr_array((data[firsts] * data[seconds], pairs, ends), (self.shape[0], self.shape[1] ** 2))

    def gram(self) -> Tensor:
        """Z Z' of shape (n_samples, n_samples) of sparse rows about their own mean, in float64."""
        X = self.X.astype(np.float64)
        along_mean = as_tensor(X @ self.mean.cpu().numpy(), self.device)
        products = as_tensor((X @ X.T).toarray(), self.device)
        return products - along_mean[:, None] - along_mean + self.mean @ self.mean

    def turned(self, rotation: Tensor) -> "Samples":
        """Samples with rows ``z @ rotation``, written down."""
        rotation = rotation.to(self.dtype)
        Z = torch.empty((self.shape[0], rotation.shape[1]), dtype=self.dtype, device=self.device)
        for rows in slices(self) if rotation.shape[1] else ():
            torch.mm(self[rows], rotation, out=Z[rows])
        return Samples(Z, self.weights, self.mean.new_zeros(rotation.shape[1]))

    def _centred(self, second: Tensor, first: Tensor, zeroth: Tensor) -> Tensor:
        """Weighted second moment about the mean, from the moments about 0."""
        across = torch.outer(first - zeroth * self.mean / 2, self.mean)
        return second - across - across.T


def slices(*arrays: Rows | Samples) -> Iterator[slice]:
    """Walk through the rows of several matrices together, in blocks sized by the widest."""
    step = _block_length(*arrays)
    yield from (slice(start, start + step) for start in range(0, arrays[0].shape[0], step))


def _block_length(*arrays: Rows | Samples) -> int:
    device = next((array.device for array in arrays if hasattr(array, "device")), torch.device("cpu"))
    return block_rows(max(array.shape[1] for array in arrays), device)


def cross(A: Rows, B: Rows | Samples) -> Tensor:
    """A' B of tall matrices as a float64 tensor, summed in float64 whatever their dtype."""
    if isinstance(B, Tensor) and B.dtype == torch.float64:
        if not isinstance(A, Tensor):
            return as_tensor(np.asarray(A.T @ B.numpy(), dtype=np.float64))
        if A.dtype == torch.float64:
            return A.T @ B
    if isinstance(B, sparse.csr_array):
        product = B.T @ (A.numpy() if isinstance(A, Tensor) else A)
        return as_tensor(np.asarray(product if isinstance(A, Tensor) else product.toarray(), dtype=np.float64)).T
    total = torch.zeros((A.shape[1], B.shape[1]), dtype=torch.float64, device=B.device)
    for rows in slices(A, B) if isinstance(A, Tensor) else slices(B):  # sparse rows take no room, however wide
        b = B[rows].to(torch.float64)
        total += A[rows].T.to(torch.float64) @ b if isinstance(A, Tensor) else as_tensor(A[rows].T @ b.numpy())
    return total


def rows_at_once(shape: tuple[int, ...], dtype: torch.dtype) -> int:
    """Number of samples of a shape that may be in memory at once beside what is made of them, at least 1."""
    return max(1, _BYTES_AT_ONCE // max(1, math.prod(shape) * dtype.itemsize))


def stored(X: Any) -> Rows:
    """Samples where and as they are: a tensor that shares their memory, or a csr_array."""
    return canonical(X) if sparse.issparse(X) else as_tensor(X)


def take(array: Any, index: Tensor | slice) -> Any:
    """Some rows of an array of any kind, by indices, a mask or a slice."""
    if isinstance(index, slice):
        return array[index]
    return array[index.to(array.device) if isinstance(array, Tensor) else index.cpu().numpy()]


def dense(rows: Rows) -> Tensor:
    """Rows as a tensor."""
    return rows if isinstance(rows, Tensor) else as_tensor(rows.toarray())


def shifted(X: sparse.csr_array, shift: np.ndarray) -> sparse.csr_array:
    """Sparse samples less a shift of their entries."""
    if not shift.any():
        return X
    return sparse.csr_array(((X.data - shift[X.indices]).astype(X.dtype), X.indices, X.indptr), X.shape)


def scaled(A: Rows, weights: Tensor) -> Rows:
    """diag(weights) A."""
    if isinstance(A, Tensor):
        return weights[:, None] * A
    return sparse.csr_array((A.data * np.repeat(weights.numpy(), np.diff(A.indptr)), A.indices, A.indptr), A.shape)


def _column_sums(V: Rows) -> Tensor:
    return V.sum(0).to(torch.float64) if isinstance(V, Tensor) else as_tensor(np.asarray(V.sum(axis=0)))
