"""Absolute differences of real targets, whose sums over samples need an order."""

from collections.abc import Iterator
from copy import copy
from functools import cached_property
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from skrelmetric._data.samples import Rows, Samples, slices
from skrelmetric._data.targets import less_mean
from skrelmetric.relations._operators import ALL, Relation

__all__ = ["AbsoluteDifference", "LevelDifference", "Levels"]

_MOST_CELLS = 3 * 2**12


class _RealDifference(Relation):
    """Sum of absolute differences (l1 distance) of real targets, pair by pair.

    Parameters
    ----------
    Y : Tensor of shape (n_samples, n_columns)
        Real targets, float64.
    known : Tensor of bool of shape (n_samples, n_columns) or None
        False where a target is missing, which is 0 in `Y`.
    """

    def __init__(self, Y: Tensor, known: Tensor | None):
        self.Y, self.known = Y, known
        self.n_samples, self.device, self._row_elements = Y.shape[0], Y.device, Y.shape[1]

    @property
    def rows(self) -> Tensor:
        return self.Y if self.known is None else torch.where(self.known, self.Y, torch.nan)

    def _read(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """Targets and which of them are known, from rows of such an operator."""
        return rows.nan_to_num(0.0), None if self.known is None else ~rows.isnan()

    def block(self, rows: Tensor | slice, columns: Tensor | slice) -> Tensor:
        if self.known is None:
            return torch.cdist(self.Y[rows], self.Y[columns], p=1)
        both = self.known[rows][:, None] & self.known[columns]
        return ((self.Y[rows][:, None] - self.Y[columns]).abs() * both).sum(-1)

    def pairs(self, i: Tensor, j: Tensor) -> Tensor:
        differences = (self.Y[i] - self.Y[j]).abs()
        return (differences if self.known is None else differences * self.known[i] * self.known[j]).sum(1)

    def mean_square(self, weights: Tensor) -> Tensor:
        if self.Y.shape[1] != 1:
            return super().mean_square(weights)
        p = weights if self.known is None else weights * self.known[:, 0]
        t = self.Y[:, 0]
        t = t - p @ t / p.sum().clamp(min=torch.finfo(p.dtype).tiny)
        return 2 * ((p @ t.square()) * p.sum() - (p @ t).square())


class AbsoluteDifference(_RealDifference):
    """Sum of absolute differences (l1 distance) of real targets, by sorting each column once.

    Parameters
    ----------
    Y : Tensor of shape (n_samples, n_columns)
        Real targets.
    known : Tensor of bool of shape (n_samples, n_columns) or None, default=None
        False where a target is missing.

    Notes
    -----
    In a column sorted so that t_1 <= ... <= t_n, with prefix sums P_i of v and Q_i of t v::

        sum_j |t_i - t_j| v_j = t_i (2 P_i - P_n) - (2 Q_i - Q_n)

    Thus ``G @ V`` costs O(n n_columns p) after sorting. Z' G Z has a form of its own: with prefix sums c_i of the rows
    of Z in sorted order, their total c_n and the gaps d_i = t_{i+1} - t_i, it is::

        sum_i d_i (c_i (c_n - c_i)' + (c_n - c_i) c_i'),

    one weighted Gram matrix a column, O(n n_columns d^2). That is faster than Z' (G Z) although it computes more: it
    goes through the samples in blocks, writes nothing of size n d, and skips runs of equal targets.
    """

    def __init__(self, Y: Tensor, known: Tensor | None = None):
        super().__init__(Y if known is None else torch.where(known, Y, 0.0), known)

    @cached_property
    def orders(self) -> list[Tensor]:
        """Samples of each column whose target is known, in the order of their targets."""
        Y, known = self.Y, self.known
        # A missing target sorts last and is cut off.
        order = (Y if known is None else torch.where(known, Y, torch.inf)).argsort(0)
        counts = [len(Y)] * Y.shape[1] if known is None else known.sum(0).tolist()
        return [column[:count] for column, count in zip(order.T, counts, strict=True)]

    def over(self, rows: Rows) -> Self:
        return type(self)(*self._read(rows))

    def collect(self, V: Tensor, rows: slice = ALL, into: Tensor | None = None) -> Tensor:
        # Nothing can be summed before the samples are in order: C is the identity, and the core does all.
        if into is None:
            into = V.new_zeros((self.n_samples, V.shape[1]), dtype=torch.float64)
        into[rows] += V
        return into

    def core(self, sums: Tensor) -> Tensor:
        product = torch.zeros_like(sums)
        for t, order in self._sorted():
            product[order] += _sorted_differences(t, sums[order])
        return product

    def spread(self, product: Tensor, rows: slice = ALL) -> Tensor:
        return product[rows]

    def quadratic(self, Z: Tensor | Samples, weights: Tensor | None = None) -> Tensor:
        d = Z.shape[1]
        product = torch.zeros((d, d), dtype=torch.float64, device=self.device)
        for t, order in self._sorted():
            gaps = t.diff(append=t[-1:])
            before, gram = product.new_zeros(d), product.new_zeros((d, d))
            moment = torch.zeros_like(before)
            for block in slices(order[:, None], Z):
                rows, gap = order[block], gaps[block]
                z = Z[rows].to(torch.float64)
                c = before + (z if weights is None else weights[rows, None] * z).cumsum(0)
                before = c[-1]
                distinct = gap > 0  # a run of equal targets counts once, so coarse targets cost little
                c, gap = c[distinct], gap[distinct]
                gram.addmm_((c * gap[:, None]).T, c)
                moment += gap @ c
            product += torch.outer(moment, before) + torch.outer(before, moment) - 2 * gram
        return product

    def _sorted(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Each column's known targets in order, less their mean, and the rows that they are of."""
        Y = less_mean(self.Y, self.known)  # the prefix sums lose less to cancellation
        for column, order in zip(Y.T, self.orders, strict=True):
            yield column[order], order


class Levels(NamedTuple):
    """Cells of a column of real targets, in whose terms sums over samples are kept.

    Attributes
    ----------
    values : ndarray of shape (n_cells,)
        Upper ends of the cells, ascending: some of the values, the largest among them. A cell holds the values above
        the one before, up to its own.
    counts : ndarray of shape (n_cells,)
        Number of samples in each cell.
    """

    values: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, column: np.ndarray) -> Self:
        """Cells of known values."""
        values, counts = np.unique(column, return_counts=True)
        return cls(values, counts.astype(np.float64))._thinned()

    def merged(self, other: Self) -> Self:
        """Cells of these values and others."""
        values, where = np.unique(np.concatenate([self.values, other.values]), return_inverse=True)
        counts = np.bincount(where, np.concatenate([self.counts, other.counts]), minlength=len(values))
        return type(self)(values, counts)._thinned()

    def _thinned(self) -> Self:
        # A cell of width w that holds the fraction f w of the samples misjudges (f w)^2 w. For a given number of cells
        # the sum is least where their density is f^(2/3).
        if len(self.values) <= _MOST_CELLS:
            return self
        density = np.cbrt(self.counts**2 * np.gradient(self.values)).cumsum()
        chosen = np.searchsorted(density, np.linspace(0, density[-1], _MOST_CELLS))
        chosen = np.unique(np.append(chosen, len(density) - 1))
        counts = np.diff(self.counts.cumsum()[chosen], prepend=0)
        return type(self)(self.values[chosen], counts)


class LevelDifference(_RealDifference):
    """Sum of absolute differences (l1 distance) of real targets, by sums over cells of each column.

    It is what :class:`AbsoluteDifference` is, for samples in several partitions: a product is a sum over samples, of a
    number of rows that does not grow with them.

    Parameters
    ----------
    Y : Tensor of shape (n_samples, n_columns)
        Real targets, float64; 0 where they are missing.
    known : Tensor of bool of shape (n_samples, n_columns) or None
        False where a target is missing.
    levels : list of Levels
        Cells of each column, of all samples.

    Notes
    -----
    With the sums P_c of v and Q_c of t v over the cells up to c, a target t of cell c differs from those of all other
    cells by t (P_(c-1) - (P_n - P_c)) - (Q_(c-1) - (Q_n - Q_c)), exactly. Targets of one cell count as equal: of up to
    12,288 distinct values each has a cell of its own, and of more the metric of :class:`~skrelmetric.RAMLLinear` moves
    by some 1e-8 of its largest entry (up to 7e-8 for 300,000 Cauchy targets). Blocks and pairs are exact always.
    """

    def __init__(self, Y: Tensor, known: Tensor | None, levels: list[Levels]):
        super().__init__(Y, known)
        self._values = [torch.as_tensor(each.values, dtype=torch.float64, device=Y.device) for each in levels]

    def over(self, rows: Rows) -> Self:
        some = copy(self)
        _RealDifference.__init__(some, *self._read(rows))
        return some

    def collect(self, V: Tensor, rows: slice = ALL, into: Tensor | None = None) -> Tensor:
        if into is None:
            into = V.new_zeros((sum(self._sizes), V.shape[1]), dtype=torch.float64)
        V = V.to(torch.float64)
        for values, t, cell, sums in self._columns(into, rows):
            sums.index_add_(0, cell, V)
            sums[len(values) + 1 :].index_add_(0, cell, t[:, None] * V)
        return into

    def core(self, sums: Tensor) -> Tensor:
        product = torch.zeros_like(sums)
        for values, v, image in zip(self._values, sums.split(self._sizes), product.split(self._sizes), strict=True):
            k = len(values)
            if not k:
                continue
            v, offsets = v[:k], v[k + 1 : -1]
            values = values - values[k // 2]  # the sums lose less to cancellation
            tv = values[:, None] * v + offsets
            slope = 2 * v.cumsum(0) - v - v.sum(0)
            image[:k] = tv.sum(0) + tv - 2 * tv.cumsum(0) + values[:, None] * slope
            image[k + 1 : -1] = slope
        return product

    def spread(self, product: Tensor, rows: slice = ALL) -> Tensor:
        spread = product.new_zeros((len(self.Y[rows]), product.shape[1]))
        for values, t, cell, image in self._columns(product, rows):
            spread += image[cell] + t[:, None].to(product.dtype) * image[len(values) + 1 :][cell]
        return spread

    @property
    def _sizes(self) -> list[int]:
        """Rows of the sums of each column: two for each cell, and two for what is missing, which count for nothing."""
        return [2 * len(values) + 2 for values in self._values]

    def _columns(self, sums: Tensor, rows: slice) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Values of each column, the targets less those of their cells, the cells, and the column's sums."""
        for j, (values, of_column) in enumerate(zip(self._values, sums.split(self._sizes), strict=True)):
            t = self.Y[rows, j].contiguous()
            cell = torch.searchsorted(values, t).clamp(max=max(0, len(values) - 1))
            offset = t - values[cell] if len(values) else torch.zeros_like(t)
            if self.known is not None:
                known = self.known[rows, j]
                cell, offset = cell.where(known, len(values)), offset.where(known, 0.0)
            yield values, offset, cell, of_column


def _sorted_differences(t: Tensor, v: Tensor) -> Tensor:
    """sum_j |t_i - t_j| v_j for ascending t of shape (n,) and v of shape (n, p)."""
    t = t[:, None]
    P, Q = v.cumsum(0), (t * v).cumsum(0)
    return t * (2 * P - P[-1:]) - (2 * Q - Q[-1:])
