"""Relation of pairs that are given, where nothing is known of the samples themselves."""

from __future__ import annotations

from copy import copy
from numbers import Integral
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from skrelmetric._data.samples import Rows
from skrelmetric._interop.arrays import as_host
from skrelmetric.relations._operators import ALL, Relation

__all__ = ["GivenPairs"]

_SIMILAR, _UNKNOWN, _DISSIMILAR = 0.0, 0.5, 1.0
_PAIRS_AT_ONCE = 2**14


class GivenPairs(Relation):
    """Relation of given pairs of samples: 0 for similar ones, 1 for dissimilar ones, and 1/2 for all others.

    Parameters
    ----------
    similar : array-like of shape (n_similar, 2) or None
        Similar pairs, as places of samples among the rows of X, in 0, ..., n_samples - 1. A pair has no order, and one
        that is given twice counts once.
    dissimilar : array-like of shape (n_dissimilar, 2) or None, default=None
        Dissimilar pairs. None, or no rows, is none of a kind, but there must be some of either.
    n_samples : int
        Number of samples, which must be that of the X of a fit: other rows would be other samples.

    Attributes
    ----------
    similar, dissimilar : ndarray of shape (n_pairs, 2)
        Pairs of each kind, the lesser place first, each once.

    Raises
    ------
    ValueError
        If the pairs are no whole numbers of this shape or out of range, if a sample is paired with itself, if a pair is
        both similar and dissimilar, or if there are none.

    See Also
    --------
    skrelmetric.RAMLLinear : Learns a linear metric from given pairs, for which no `y` is needed.
    skrelmetric.DRMLTransformer : Learns from given pairs by losses of pairs, without `y` if need be.

    Notes
    -----
    Memory and products are linear in samples and pairs. With ``pair_thresholds=(0, 0.5)`` of
    :class:`~skrelmetric.DRMLTransformer` all pairs that are not given as similar count as dissimilar, which suits
    similar pairs alone.

    Examples
    --------
    >>> import torch
    >>> from skrelmetric.relations import GivenPairs
    >>> G = GivenPairs([[0, 1]], [[1, 2]], n_samples=3)
    >>> G @ torch.eye(3, dtype=torch.float64)
    tensor([[0.0000, 0.0000, 0.5000],
            [0.0000, 0.0000, 1.0000],
            [0.5000, 1.0000, 0.0000]], dtype=torch.float64)
    """

    def __init__(self, similar: ArrayLike | None, dissimilar: ArrayLike | None = None, *, n_samples: int):
        if not isinstance(n_samples, Integral) or n_samples < 2:
            raise ValueError(f"n_samples={n_samples!r} must be a whole number of at least 2.")
        n = int(n_samples)
        self.n_samples, self.device = n, torch.device("cpu")
        of_similar, of_dissimilar = _keys(similar, "similar", n), _keys(dissimilar, "dissimilar", n)
        both = np.intersect1d(of_similar, of_dissimilar)
        if len(both):
            i, j = divmod(int(both[0]), n)
            raise ValueError(f"The pair ({i}, {j}) is given as similar and as dissimilar. Leave it out of one of them.")
        if not len(of_similar) + len(of_dissimilar):
            raise ValueError("No pairs are given. Pass at least one that is similar or dissimilar.")
        self.similar: np.ndarray = np.stack([of_similar // n, of_similar % n], 1)
        self.dissimilar: np.ndarray = np.stack([of_dissimilar // n, of_dissimilar % n], 1)
        keys, order = torch.from_numpy(np.concatenate([of_similar, of_dissimilar])).sort()
        values = torch.where(order < len(of_similar), _SIMILAR, _DISSIMILAR).to(torch.float64)
        self._keys: Tensor = keys
        self._values: Tensor = values
        self._places: Tensor = torch.arange(n)
        self._n_places: int = n

    def __repr__(self) -> str:
        counts = f"{len(self.similar)} similar, {len(self.dissimilar)} dissimilar"
        return f"{type(self).__name__}({counts}, n_samples={self.n_samples})"

    @property
    def rows(self) -> Tensor:
        return self._places[:, None]

    def over(self, rows: Rows) -> Self:
        some = copy(self)
        some._places, some.n_samples = rows[:, 0], len(rows)
        return some

    def bind(self, y: Any, device: torch.device) -> Self:
        """Return this operator on a device, where it is one over the samples of `y`.

        Raises
        ------
        ValueError
            If there are other numbers of samples.
        """
        n_samples = y.shape[0] if hasattr(y, "shape") else len(y)
        if n_samples != self.n_samples:
            raise ValueError(
                f"relation holds pairs of {self.n_samples} samples, but a fit to {n_samples} is asked for. Pass all of "
                "them, each with a known target if there are targets; in cross-validation give the pairs of each fold."
            )
        some = copy(self)
        some.device = torch.device(device)
        some._keys, some._values = self._keys.to(device), self._values.to(device)
        some._places = self._places.to(device)
        return some

    def collect(self, V: Tensor, rows: slice = ALL, into: Tensor | None = None) -> Tensor:
        if into is None:
            into = V.new_zeros((self._n_places, V.shape[1]), dtype=torch.float64)
        return into.index_add_(0, self._places[rows], V.to(torch.float64))

    def core(self, sums: Tensor) -> Tensor:
        product = _UNKNOWN * (sums.sum(0) - sums)
        for keys, values in zip(self._keys.split(_PAIRS_AT_ONCE), self._values.split(_PAIRS_AT_ONCE), strict=True):
            i, j, known = keys // self._n_places, keys % self._n_places, (values - _UNKNOWN)[:, None]
            product.index_add_(0, i, known * sums[j]).index_add_(0, j, known * sums[i])
        return product

    def spread(self, product: Tensor, rows: slice = ALL) -> Tensor:
        return product[self._places[rows]]

    def block(self, rows: Tensor | slice, columns: Tensor | slice) -> Tensor:
        return self._between(self._places[rows][:, None], self._places[columns])

    def pairs(self, i: Tensor, j: Tensor) -> Tensor:
        return self._between(self._places[i], self._places[j])

    def _between(self, i: Tensor, j: Tensor) -> Tensor:
        """Relations of the samples at some places, of the shape that these make together."""
        keys = torch.minimum(i, j) * self._n_places + torch.maximum(i, j)
        found = torch.searchsorted(self._keys, keys).clamp(max=len(self._keys) - 1)
        relations = torch.where(self._keys[found] == keys, self._values[found], _UNKNOWN)
        return torch.where(i == j, _SIMILAR, relations)


def _keys(pairs: ArrayLike | None, name: str, n_samples: int) -> np.ndarray:
    """Pairs i < j as numbers i n + j, ascending and each once."""
    try:
        array = np.asarray(as_host([] if pairs is None else pairs))
    except ValueError as error:
        raise ValueError(f"`{name}` holds rows of several lengths. Pass places of samples, two a row.") from error
    if not array.size:
        return np.zeros(0, dtype=np.int64)
    if array.ndim != 2 or array.shape[1] != 2 or array.dtype.kind not in "iu":
        raise ValueError(
            f"`{name}` has shape {array.shape} and dtype {array.dtype}, but places of samples are needed, as whole "
            "numbers of shape (n_pairs, 2): [[0, 5], [2, 3]] is samples 0 and 5, and 2 and 3."
        )
    outside = array[(array < 0) | (array >= n_samples)]
    if len(outside):
        raise ValueError(f"`{name}` holds {outside[0]}, but the {n_samples} samples are 0 to {n_samples - 1}.")
    i, j = np.sort(array.astype(np.int64), axis=1).T
    if (i == j).any():
        raise ValueError(f"`{name}` pairs sample {i[i == j][0]} with itself. Leave such pairs out.")
    return np.unique(i * n_samples + j)
