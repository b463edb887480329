"""Relations of all pairs of samples, as symmetric linear operators."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from copy import copy
from typing import Any, Self

import numpy as np
import torch
from scipy import sparse
from sklearn.utils import gen_batches
from torch import Tensor

from skrelmetric._data.samples import Rows, Samples, cross, scaled, slices
from skrelmetric._interop.notes import noted
from skrelmetric._interop.sklearn import get_chunk_n_rows
from skrelmetric._interop.torch import as_tensor

__all__ = ["ALL", "ClassDifference", "Factored", "Pairwise", "Relation"]


ALL = slice(None)
_FEW_PAIRS = 2**22
_DRAWN_PAIRS = 2**20

# A sum that is a smaller part of the sum of its moduli is what rounding leaves of 0.
_ROUNDING = 64 * torch.finfo(torch.float64).eps


class Relation(ABC):
    """Matrix G of g(y_i, y_j) over n samples, known by its products and its blocks.

    Every relation has the form G = C K C' with one row of C a sample, so that a product with G is a sum over samples, a
    product with the small core K, and a row for each sample: `collect`, `core` and `spread`, of which the first and the
    last go through the samples in chunks as well as at once.

    Attributes
    ----------
    n_samples : int
        Number of samples n; G is (n, n).
    device : torch.device
        Where the operator's tensors live.
    """

    n_samples: int
    device: torch.device
    _row_elements = 1  # numbers that a block holds for each pair while it is made

    def __matmul__(self, V: Tensor) -> Tensor:
        """Product G @ V of shape (n, p), for V of shape (n, p)."""
        return self.spread(self.core(self.collect(V))).to(V.dtype)

    def __getitem__(self, rows: Tensor | slice) -> Self:
        """The relation of some of the samples."""
        return self.over(self.rows[rows])

    @property
    @abstractmethod
    def rows(self) -> Rows:
        """Rows of the samples, one each: together with the core they are the relation."""

    @abstractmethod
    def over(self, rows: Rows) -> Self:
        """The relation of other samples, given by their rows, with the same core."""

    @abstractmethod
    def collect(self, V: Tensor, rows: slice = ALL, into: Tensor | None = None) -> Tensor:
        """Sums over rows C[rows]' V of shape (k, p), in float64, for V the values of those rows; added to `into`."""

    @abstractmethod
    def core(self, sums: Tensor) -> Tensor:
        """K @ sums, of shape (k, p), for sums collected over all rows."""

    @abstractmethod
    def spread(self, product: Tensor, rows: slice = ALL) -> Tensor:
        """Rows C[rows] @ product, in the dtype of the product."""

    @abstractmethod
    def block(self, rows: Tensor | slice, columns: Tensor | slice) -> Tensor:
        """Pairwise block G[rows][:, columns], at the cost of its own size."""

    def sums(self, Z: Tensor | Samples, weights: Tensor | None = None) -> Tensor:
        """C' P Z of shape (k, d) in float64, for Z of shape (n, d) and P = diag(weights), or 1 for None."""
        sums = None
        for rows in slices(Z):
            z = Z[rows].to(torch.float64)
            sums = self.collect(z if weights is None else weights[rows, None] * z, rows, sums)
        return self.collect(torch.zeros((0, Z.shape[1]), device=self.device), slice(0, 0)) if sums is None else sums

    def quadratic(self, Z: Tensor | Samples, weights: Tensor | None = None) -> Tensor:
        """Z' P G P Z of shape (d, d) in float64, for Z of shape (n, d) and P = diag(weights), or 1 for None."""
        sums = self.sums(Z, weights)
        return sums.T @ self.core(sums)

    def pairs(self, i: Tensor, j: Tensor) -> Tensor:
        """Relations g(y_i, y_j) of some pairs, of shape (n_pairs,)."""
        # A block of few pairs is their square, of which the diagonal is taken.
        blocks = [self.block(a, b).diagonal() for a, b in zip(i.split(32), j.split(32), strict=True)]
        return torch.cat(blocks)

    def is_zero(self, sums: Tensor, of_all: Tensor) -> bool:
        """Whether nothing but rounding tells any relation from 0, for collected weights and their core."""
        return False

    def row_means(self, weights: Tensor | None = None) -> Tensor:
        """Mean of each row of G under weights that sum to 1, or under equal ones, in float64."""
        if weights is None:
            weights = torch.full((self.n_samples,), 1 / self.n_samples, dtype=torch.float64, device=self.device)
        return (self @ weights[:, None])[:, 0]

    def mean_square(self, weights: Tensor) -> Tensor:
        """Mean of G_ij^2 under weights that sum to 1, in float64: over drawn pairs where all would take long.

        It is exact for up to 2048 samples, and for any number of relations that factor or have a single column.
        """
        n = self.n_samples
        if n * n <= _FEW_PAIRS:
            rows = gen_batches(n, get_chunk_n_rows(8 * n * max(1, self._row_elements), max_n_rows=n))
            return torch.stack([weights[some] @ self.block(some, ALL).square() @ weights for some in rows]).sum()
        drawn = torch.rand(2 * _DRAWN_PAIRS, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        ends = torch.searchsorted(weights.cumsum(0), drawn.to(self.device)).clamp(max=n - 1).split(_DRAWN_PAIRS)
        batches = zip(*(end.split(4096) for end in ends), strict=True)
        return torch.cat([self.pairs(i, j) for i, j in batches]).square().mean()

    def bind(self, y: Any, device: torch.device) -> Self:
        """Return this operator, where it is one over the samples of `y`.

        Raises
        ------
        ValueError
            If `y` has another number of samples.
        """
        n_samples = y.shape[0] if hasattr(y, "shape") else len(y)
        if n_samples != self.n_samples:
            raise ValueError(
                f"relation is an operator over {self.n_samples} samples, but y has {n_samples}. In cross-validation "
                "pass a name, a callable g(Y_a, Y_b) or an object with bind(y, device) instead."
            )
        return self


class Factored(Relation):
    """Relation, nowhere negative, whose matrix is G = F K F' with a thin F and one entry of K a row.

    Parameters
    ----------
    factor : Tensor or csr_array of shape (n_samples, k)
        The factor F.
    partner : Tensor of int64 of shape (k,)
        Column of the entry of K in each row. K is symmetric, so a column's partner's partner is itself.
    scale : Tensor of shape (k,)
        The entries of K.

    Notes
    -----
    ``G @ V = F (K (F' V))`` costs O(n k p), or O(nnz p) where F is sparse, and ``F' V`` is a sum over samples.
    """

    def __init__(self, factor: Rows, partner: Tensor, scale: Tensor):
        self.factor, self.partner, self.scale = factor, partner, scale
        self.n_samples, self.device = factor.shape[0], scale.device

    def __getitem__(self, rows: Tensor | slice) -> Self:
        return self.over(self.factor[self._index(rows)])

    @property
    def rows(self) -> Rows:
        return self.factor

    def over(self, rows: Rows) -> Self:
        return type(self)(rows, self.partner, self.scale)

    def collect(self, V: Tensor, rows: slice = ALL, into: Tensor | None = None) -> Tensor:
        return _added(cross(self.factor[rows], V), into)

    def core(self, sums: Tensor) -> Tensor:
        return self.scale[:, None] * sums[self.partner]

    def spread(self, product: Tensor, rows: slice = ALL) -> Tensor:
        factor = self.factor[rows]
        if isinstance(factor, Tensor):
            return factor.to(product.dtype) @ product
        return as_tensor(factor @ product.numpy()).to(product.dtype)

    def block(self, rows: Tensor | slice, columns: Tensor | slice) -> Tensor:
        if isinstance(self.factor, Tensor):
            return self.factor[rows] @ self.core(self.factor[columns].T)
        a, b = (self.factor[self._index(index)] for index in (rows, columns))
        core = sparse.csr_array((self.scale.numpy(), (np.arange(len(self.scale)), self.partner.numpy())))
        return as_tensor((a @ core @ b.T).toarray())

    def pairs(self, i: Tensor, j: Tensor) -> Tensor:
        if not isinstance(self.factor, Tensor):
            return super().pairs(i, j)
        terms = self.factor[i] * (self.factor[j][:, self.partner] * self.scale)
        sums = terms.sum(1)
        return torch.where(sums.abs() <= _ROUNDING * terms.abs().sum(1), 0.0, sums)  # of targets that are the same

    def is_zero(self, sums: Tensor, of_all: Tensor) -> bool:
        terms = sums * of_all  # of the mean of relations, none of which is negative
        return bool(terms.sum() <= _ROUNDING * terms.abs().sum())

    def sums(self, Z: Tensor | Samples, weights: Tensor | None = None) -> Tensor:
        factor = self.factor if weights is None else scaled(self.factor, weights)
        return Z.cross(factor) if isinstance(Z, Samples) else cross(factor, Z)

    def mean_square(self, weights: Tensor) -> Tensor:
        # With W = F'PF, the mean of G^2 is the trace of (K W)^2.
        if isinstance(self.factor, Tensor):
            image = self.core(cross(scaled(self.factor, weights), self.factor))
            return (image * image.T).sum()
        inner = sparse.csr_array(scaled(self.factor, weights).T @ self.factor)
        image = scaled(sparse.csr_array(inner[self.partner.numpy()]), self.scale)
        return self.scale.new_tensor(image.multiply(image.T).sum())

    def _index(self, rows: Tensor | slice) -> Any:
        return rows.numpy() if isinstance(rows, Tensor) and not isinstance(self.factor, Tensor) else rows


class ClassDifference(Relation):
    """Number of target columns in which two samples belong to different classes.

    Parameters
    ----------
    codes : Tensor of shape (n_samples, n_columns)
        Class of each sample in each column, as integers from 0; -1 where it is missing.
    n_classes : list of int or None, default=None
        Number of classes of each column; None counts those that there are.

    Notes
    -----
    ``G @ V`` takes one sum of V per class and costs O(n n_columns p), whatever the number of classes; Z' G Z takes
    another O(K d^2) for K classes.
    """

    def __init__(self, codes: Tensor, n_classes: list[int] | None = None):
        self.codes = codes
        self.n_samples, self.device, self._row_elements = codes.shape[0], codes.device, codes.shape[1]
        self._n_classes = n_classes or [int(column.max()) + 1 if len(column) else 0 for column in codes.T]

    @property
    def rows(self) -> Tensor:
        return self.codes

    def over(self, rows: Rows) -> Self:
        return type(self)(rows, self._n_classes)

    def collect(self, V: Tensor, rows: slice = ALL, into: Tensor | None = None) -> Tensor:
        # A column has one row a class, and a last one where the missing are gathered.
        if into is None:
            into = V.new_zeros((sum(self._n_classes) + len(self._n_classes), V.shape[1]), dtype=torch.float64)
        for codes, sums in self._columns(into):
            sums.index_add_(0, codes[rows] % len(sums), V.to(torch.float64))
        return into

    def core(self, sums: Tensor) -> Tensor:
        product = torch.zeros_like(sums)
        for (_, known), (_, of_others) in zip(self._columns(sums), self._columns(product), strict=True):
            of_others[:-1] = known[:-1].sum(0) - known[:-1]
        return product

    def spread(self, product: Tensor, rows: slice = ALL) -> Tensor:
        spread = product.new_zeros((len(self.codes[rows]), product.shape[1]))
        for codes, of_others in self._columns(product):
            spread += of_others[codes[rows]]
        return spread

    def _columns(self, sums: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Codes of each column, and its rows among the sums."""
        return zip(self.codes.T, sums.split([n + 1 for n in self._n_classes]), strict=True)

    def block(self, rows: Tensor | slice, columns: Tensor | slice) -> Tensor:
        return self._differences(self.codes[rows][:, None], self.codes[columns])

    def pairs(self, i: Tensor, j: Tensor) -> Tensor:
        return self._differences(self.codes[i], self.codes[j])

    def mean_square(self, weights: Tensor) -> Tensor:
        if self.codes.shape[1] == 1:  # 0 or 1, whose square is itself
            return weights @ self.row_means(weights)
        return super().mean_square(weights)

    def _differences(self, a: Tensor, b: Tensor) -> Tensor:
        return ((a != b) & (a >= 0) & (b >= 0)).sum(-1).to(torch.float64)


class Pairwise(Relation):
    """Relation without a form of its own: any symmetric g, evaluated on pairs of distinct targets, in blocks.

    Parameters
    ----------
    targets : ndarray or Tensor of shape (n_distinct, ...)
        The distinct targets.
    codes : Tensor of shape (n_samples,)
        Which of them each sample has.
    g : callable
        ``g(targets[a], targets[b])`` is the array of relations of shape (a, b).
    shared : bool, default=False
        Whether other partitions of the samples sum by the same targets, all of which some of the samples then keep.

    Notes
    -----
    A block of rows takes no more than scikit-learn's ``working_memory``. ``G @ V`` costs u^2 evaluations of g for u
    distinct targets, which are often far fewer than the samples: label sets repeat.
    """

    def __init__(self, targets: Any, codes: Tensor, g: Callable[[Any, Any], Any], shared: bool = False):
        self.targets, self.codes, self.g, self.shared = targets, codes, g, shared
        self.n_samples, self.device = len(codes), codes.device
        rows = slice(get_chunk_n_rows(8 * len(targets), max_n_rows=100))
        some = self._between(rows, rows)
        if not torch.allclose(some, some.T, rtol=1e-6, atol=1e-9 * float(some.abs().max())):
            raise ValueError(
                "The relation is not symmetric: g(Y_a, Y_b) must equal g(Y_b, Y_a).T. "
                "Return (g(Y_a, Y_b) + g(Y_b, Y_a).T) / 2 to make it so."
            )

    def __getitem__(self, rows: Tensor | slice) -> Self:
        if self.shared:
            return self.over(self.rows[rows])
        distinct, codes = self.codes[rows].unique(return_inverse=True)
        some = self.over(codes[:, None])
        some.targets = self.targets[self._index(distinct)]
        return some

    @property
    def rows(self) -> Tensor:
        return self.codes[:, None]

    def over(self, rows: Rows) -> Self:
        some = copy(self)
        some.codes, some.n_samples = rows[:, 0], len(rows)
        return some

    def collect(self, V: Tensor, rows: slice = ALL, into: Tensor | None = None) -> Tensor:
        if into is None:
            into = V.new_zeros((len(self.targets), V.shape[1]), dtype=torch.float64)
        return into.index_add_(0, self.codes[rows], V.to(torch.float64))

    def core(self, sums: Tensor) -> Tensor:
        return torch.cat([block @ sums for _, block in self._blocks()])

    def spread(self, product: Tensor, rows: slice = ALL) -> Tensor:
        return product[self.codes[rows]]

    def mean_square(self, weights: Tensor) -> Tensor:
        weights = self.collect(weights[:, None])[:, 0]  # of the distinct targets
        return torch.stack([weights[rows] @ block.square() @ weights for rows, block in self._blocks()]).sum()

    def block(self, rows: Tensor | slice, columns: Tensor | slice) -> Tensor:
        return self._between(self.codes[rows], self.codes[columns])

    def _blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Row blocks of the matrix of the distinct targets."""
        n = len(self.targets)
        step = get_chunk_n_rows(8 * n, max_n_rows=n)
        for rows in gen_batches(n, step):
            yield rows, self._between(rows, slice(None))

    def _between(self, rows: Tensor | slice, columns: Tensor | slice) -> Tensor:
        """Relations of some distinct targets to others, as the user's function returns them, once checked."""
        a, b = (self.targets[self._index(index)] for index in (rows, columns))
        with noted(f"The relation got targets of shapes {np.shape(a)} and {np.shape(b)}, {a.dtype}."):
            block = self.g(a, b)
        if not isinstance(block, Tensor):
            block = as_tensor(np.asarray(block, dtype=np.float64), self.device)
        if block.shape != (len(a), len(b)):
            raise ValueError(
                f"The relation returned shape {tuple(block.shape)} for {len(a)} and {len(b)} targets. "
                f"g(Y_a, Y_b) must return all pairs, shape {(len(a), len(b))}."
            )
        if not torch.isfinite(block).all():
            raise ValueError("The relation returned NaN or infinity. g(Y_a, Y_b) must be finite for every pair.")
        return block.to(torch.float64)

    def _index(self, index: Tensor | slice) -> Any:
        return index.cpu().numpy() if isinstance(index, Tensor) and isinstance(self.targets, np.ndarray) else index


def _added(sums: Tensor, into: Tensor | None) -> Tensor:
    return sums if into is None else into.add_(sums)
