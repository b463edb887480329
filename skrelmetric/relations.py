"""Relations between targets, as symmetric linear operators over samples.

A relation g(y_i, y_j) says how far apart two *targets* are: label sets, label distributions, numbers or
classes. Over n samples it is an n x n matrix G, and everything that alignment needs of G is a product
``G @ V`` with a few columns V. The classes here compute that product, exactly, in time linear in n (times
log n once, for sorting), and never form G.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from difflib import get_close_matches

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils import check_array
from sklearn.utils.multiclass import type_of_target
from torch import Tensor

from skrelmetric._sklearn import check_not_ragged
from skrelmetric._torch import as_tensor, block_rows, cross

__all__ = ["AbsoluteDifference", "ClassDifference", "Factored", "Relation", "make_relation"]


class Relation(ABC):
    """Matrix G of g(y_i, y_j) over n samples, known by its products and its blocks.

    Attributes
    ----------
    n_samples : int
        Number of samples n; G is (n, n).
    device : torch.device
        Where the operator's tensors live.
    """

    n_samples: int
    device: torch.device

    @abstractmethod
    def __matmul__(self, V: Tensor) -> Tensor:
        """Product G @ V of shape (n, p), for V of shape (n, p)."""

    @abstractmethod
    def block(self, rows: Tensor | slice, columns: Tensor | slice) -> Tensor:
        """Pairwise block G[rows][:, columns], at the cost of its own size."""

    @abstractmethod
    def quadratic(self, Z: Tensor) -> Tensor:
        """Z' G Z of shape (d, d) in float64, for Z of shape (n, d)."""

    def row_means(self) -> Tensor:
        """Mean of each row of G, shape (n,), in float64."""
        ones = torch.ones((self.n_samples, 1), dtype=torch.float64, device=self.device)
        return (self @ ones)[:, 0] / self.n_samples


class Factored(Relation):
    """Relation whose matrix has a symmetric factorisation G = F K F' with thin F and small K.

    Parameters
    ----------
    factor : Tensor of shape (n_samples, k)
        The factor F.
    core : Tensor of shape (k, k)
        The symmetric matrix K.

    Notes
    -----
    ``G @ V = F (K (F' V))`` costs O(n k p), and ``F' V`` is a sum over samples.
    """

    def __init__(self, factor: Tensor, core: Tensor):
        self.factor, self.core = factor, core
        self.n_samples, self.device = factor.shape[0], factor.device

    def __matmul__(self, V: Tensor) -> Tensor:
        return (self.factor @ (self.core @ cross(self.factor, V))).to(V.dtype)

    def block(self, rows: Tensor | slice, columns: Tensor | slice) -> Tensor:
        return self.factor[rows] @ self.core @ self.factor[columns].T

    def quadratic(self, Z: Tensor) -> Tensor:
        sums = cross(self.factor, Z)
        return sums.T @ self.core @ sums


class ClassDifference(Relation):
    """Number of target columns in which two samples belong to different classes.

    Parameters
    ----------
    codes : Tensor of shape (n_samples, n_columns)
        Class of each sample in each column, as integers from 0.

    Notes
    -----
    ``G @ V`` takes one sum of V per class and costs O(n n_columns p), whatever the number of classes; Z' G Z takes
    another O(K d^2) for K classes.
    """

    def __init__(self, codes: Tensor):
        self.codes = codes
        self.n_samples, self.device = codes.shape[0], codes.device

    def __matmul__(self, V: Tensor) -> Tensor:
        product = (self.codes.shape[1] * V.sum(0)).expand_as(V).clone()
        for codes in self.codes.T:
            sums = V.new_zeros((int(codes.max()) + 1, V.shape[1])).index_add_(0, codes, V)
            product -= sums[codes]
        return product

    def block(self, rows: Tensor | slice, columns: Tensor | slice) -> Tensor:
        return (self.codes[rows][:, None] != self.codes[columns][None]).sum(-1).to(torch.float64)

    def quadratic(self, Z: Tensor) -> Tensor:
        total = Z.sum(0, dtype=torch.float64)
        product = self.codes.shape[1] * torch.outer(total, total)
        for codes in self.codes.T:
            n_classes = int(codes.max()) + 1
            sums = Z.new_zeros((n_classes, Z.shape[1]), dtype=torch.float64)
            for start in range(0, self.n_samples, step := block_rows(Z)):
                rows = slice(start, start + step)
                sums.index_add_(0, codes[rows], Z[rows].to(torch.float64))
            product -= sums.T @ sums
        return product


class AbsoluteDifference(Relation):
    """Sum of absolute differences (l1 distance) of real targets, by sorting each column once.

    Parameters
    ----------
    Y : Tensor of shape (n_samples, n_columns)
        Real targets.

    Notes
    -----
    In a column sorted so that t_1 <= ... <= t_n, with prefix sums P_i of v and Q_i of t v,

        sum_j |t_i - t_j| v_j = t_i (2 P_i - P_n) - (2 Q_i - Q_n),

    so ``G @ V`` costs O(n n_columns p) after sorting. Z' G Z has a form of its own: with prefix sums c_i of the rows
    of Z in sorted order, their total c_n and the gaps d_i = t_{i+1} - t_i, it is

        sum_i d_i (c_i (c_n - c_i)' + (c_n - c_i) c_i'),

    one weighted Gram matrix a column, O(n n_columns d^2). That is faster than Z' (G Z) although it computes more: it
    goes through the samples in blocks, writes nothing of size n d, and skips runs of equal targets.
    """

    def __init__(self, Y: Tensor):
        self.Y = Y - Y.mean(0)  # differences stay, the prefix sums lose less to cancellation
        self.order = Y.argsort(0)
        self.n_samples, self.device = Y.shape[0], Y.device

    def __matmul__(self, V: Tensor) -> Tensor:
        product = torch.zeros_like(V)
        for y, order in zip(self.Y.T, self.order.T, strict=True):
            t, v = y[order, None], V[order].to(torch.float64)
            P, Q = v.cumsum(0), (t * v).cumsum(0)
            product[order] += (t * (2 * P - P[-1]) - (2 * Q - Q[-1])).to(V.dtype)
        return product

    def block(self, rows: Tensor | slice, columns: Tensor | slice) -> Tensor:
        return torch.cdist(self.Y[rows], self.Y[columns], p=1)

    def quadratic(self, Z: Tensor) -> Tensor:
        total = Z.sum(0, dtype=torch.float64)  # c_n
        d = Z.shape[1]
        gram, moment = total.new_zeros((d, d)), total.new_zeros(d)
        for y, order in zip(self.Y.T, self.order.T, strict=True):
            gaps = y[order].diff(append=y[order[-1:]])
            before = torch.zeros_like(total)
            for rows, gap in zip(order.split(block_rows(Z)), gaps.split(block_rows(Z)), strict=True):
                c = before + Z[rows].to(torch.float64).cumsum(0)
                before = c[-1]
                distinct = gap > 0  # a run of equal targets counts once, so coarse targets cost little
                c, gap = c[distinct], gap[distinct]
                gram.addmm_((c * gap[:, None]).T, c)
                moment += gap @ c
        return torch.outer(moment, total) + torch.outer(total, moment) - 2 * gram


def _squared_distance(Phi: Tensor) -> Factored:
    """|phi_i - phi_j|^2 = r_i + r_j - 2 phi_i . phi_j, with F = [r, 1, Phi] and K = [[0, 1], [1, 0]] (+) -2 I."""
    r = Phi.square().sum(1, keepdim=True)
    factor = torch.hstack([r, torch.ones_like(r), Phi])
    core = -2 * torch.eye(factor.shape[1], dtype=Phi.dtype, device=Phi.device)
    core[:2, :2] = 1 - torch.eye(2)
    return Factored(factor, core)


def _centred_squared_distance(Y: Tensor) -> Factored:
    return _squared_distance(Y - Y.mean(0))  # differences stay, and large offsets cancel no digits


def _indicator(y: np.ndarray, relation: str) -> np.ndarray:
    unexpected = (y != 0) & (y != 1)
    if unexpected.any():
        raise ValueError(
            f"relation={relation!r}, which 'auto' takes for label sets, compares 0/1 indicators, but y holds "
            f"{y[unexpected][0]}. Use relation='discrete' for classes or 'l1' for numbers."
        )
    return y.astype(np.float64)


def _numbers(y: np.ndarray, relation: str) -> np.ndarray:
    try:
        return y.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"relation={relation!r} compares numbers, but y has dtype {y.dtype}. Use relation='discrete' for classes."
        ) from error


def _codes(y: np.ndarray, relation: str) -> np.ndarray:
    codes = np.empty(y.shape, dtype=np.int64)
    for column, classes in zip(codes.T, y.T, strict=True):
        column[:] = np.unique(classes, return_inverse=True)[1]
    return codes


# How each relation reads a target, and the operator that it makes of what it read.
_RELATIONS: dict[str, tuple[Callable[[np.ndarray, str], np.ndarray], Callable[[Tensor], Relation]]] = {
    "hamming": (_indicator, _squared_distance),
    "l1": (_numbers, AbsoluteDifference),
    "sqeuclidean": (_numbers, _centred_squared_distance),
    "discrete": (_codes, ClassDifference),
}

_BY_TARGET = {
    "binary": "discrete",
    "multiclass": "discrete",
    "multiclass-multioutput": "discrete",
    "multilabel-indicator": "hamming",
    "continuous": "l1",
    "continuous-multioutput": "l1",
}


def make_relation(y: ArrayLike, relation: str = "auto", *, device: str | torch.device = "cpu") -> Relation:
    """Relation of a target, as an operator over its samples.

    Parameters
    ----------
    y : array-like or sparse matrix of shape (n_samples,) or (n_samples, n_outputs)
        Target: a 0/1 label indicator (dense or in any sparse format), label distributions, numbers, or classes.
    relation : {"auto", "hamming", "l1", "sqeuclidean", "discrete"}, default="auto"
        What g(y_i, y_j) is:

        - ``"hamming"``: number of labels that one sample has and the other has not;
        - ``"l1"``: sum of absolute differences, the papers' choice for label distributions (HRAML, Eq. 11);
        - ``"sqeuclidean"``: sum of squared differences;
        - ``"discrete"``: number of outputs in which the classes differ (0 or 1 for a single output);
        - ``"auto"``: "hamming" for a label indicator, "discrete" for classes, "l1" for real values, as told by
          :func:`sklearn.utils.multiclass.type_of_target`. Whole numbers count as classes.
    device : str or torch.device, default="cpu"
        Where the operator's tensors live.

    Returns
    -------
    Relation
        Operator with ``G @ V``, ``G.block(rows, columns)``, ``G.quadratic(Z)`` and ``G.row_means()``.

    Raises
    ------
    ValueError
        If `relation` is unknown, `y` is empty or not finite, or its values do not suit the relation.

    Examples
    --------
    >>> import torch
    >>> from skrelmetric.relations import make_relation
    >>> G = make_relation([[1, 0, 1], [1, 1, 0], [1, 0, 1]])
    >>> G @ torch.eye(3, dtype=torch.float64)
    tensor([[0., 2., 0.],
            [2., 0., 2.],
            [0., 2., 0.]], dtype=torch.float64)
    """
    check_not_ragged(y)
    y = check_array(y, accept_sparse=True, dtype=None, ensure_2d=False, input_name="y")
    if hasattr(y, "toarray"):
        y = y.toarray()
    if relation == "auto":
        relation = _relation_of_target(y)
    if relation not in _RELATIONS:
        known = ["auto", *_RELATIONS]
        close = get_close_matches(str(relation), known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"relation={relation!r} is not known.{hint} Choose one of {known}.")
    read, operator = _RELATIONS[relation]
    encoded = read(y.reshape(len(y), -1), relation)
    # Outputs in which all samples agree add nothing; without them that nothing is exact.
    differing = (encoded != encoded[0]).any(axis=0)
    return operator(as_tensor(encoded[:, differing], torch.device(device)))


def _relation_of_target(y: np.ndarray) -> str:
    if y.ndim == 2 and y.shape[1] > 1 and y.dtype.kind in "biuf" and ((y == 0) | (y == 1)).all():
        return _BY_TARGET["multilabel-indicator"]  # without the sorting that type_of_target does
    target = type_of_target(y, input_name="y", raise_unknown=True)
    if target not in _BY_TARGET:
        raise ValueError(
            f"relation='auto' cannot tell what a target of type {target!r} (dtype {y.dtype}, shape {y.shape}) means. "
            "Pass a 0/1 label indicator, real values or classes, or name the relation."
        )
    return _BY_TARGET[target]
