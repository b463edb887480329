"""Names of relations, and the operator that each makes of a target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from numbers import Real
from typing import Any, NamedTuple, TypeGuard

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy import sparse
from torch import Tensor

from skrelmetric._data.samples import Rows
from skrelmetric._data.targets import Columns, Targets, TargetSummary, read_targets
from skrelmetric._interop.magnitudes import check_range, limit_of, unit_rows
from skrelmetric._interop.sklearn import warn_caller
from skrelmetric._interop.torch import as_tensor
from skrelmetric.relations._operators import ClassDifference, Factored, Pairwise, Relation
from skrelmetric.relations._reals import AbsoluteDifference

__all__ = ["PAIRWISE", "Jeffreys", "Rule", "binds", "make_relation", "relation_name", "rule_of"]


def make_relation(
    y: ArrayLike | Targets,
    relation: str | Callable[[Any, Any], Any] | Relation | Jeffreys = "auto",
    *,
    device: str | torch.device | None = None,
) -> Relation:
    """Relation of a target, as an operator over its samples.

    Parameters
    ----------
    y : array-like or sparse matrix of shape (n_samples,) or (n_samples, n_outputs)
        Target: a 0/1 label indicator (dense or in any sparse format), label distributions, numbers, or classes. NaN
        marks what is missing; every pair is compared on the outputs known of both.
    relation : str, callable or object, default="auto"
        What g(y_i, y_j) is:

        - ``"hamming"``: number of labels that one sample has and the other has not;
        - ``"l1"``: sum of absolute differences, the papers' choice for label distributions (HRAML, Eq. 11);
        - ``"sqeuclidean"``: sum of squared differences;
        - ``"discrete"``: number of outputs in which the classes differ (0 or 1 for a single output);
        - ``"hellinger"``: squared Hellinger distance, half the sum of squared differences of square roots;
        - ``"cosine"``: 1 - cosine similarity; two zero targets are alike, and at 1 from any other;
        - ``"jeffreys"``: symmetric Kullback-Leibler divergence, see :class:`Jeffreys`;
        - ``"jaccard"``: fraction of the labels of two samples that only one has; 0 where neither has any;
        - ``"auto"``: for 0/1 values in several columns "hamming", or "cosine" where these are more than 40 and none is
          missing; "discrete" for strings and for other whole numbers, but "l1" for floats of more than 20 distinct
          whole values in a column, as for other real values. From 11 to 40 such values there is a warning;
        - a callable: ``g(Y_a, Y_b)`` takes rows of `y` and returns the symmetric relation of all pairs, an array of
          shape (a, b). It is evaluated on distinct targets, in blocks of rows;
        - an object with ``bind(y, device)`` that returns a :class:`Relation`, such as ``Jeffreys(eps=1e-3)``, or
          a :class:`Relation` of the samples of `y`.
    device : str, torch.device or None, default=None
        Where the operator's tensors live. None is where `y` lives.

    Returns
    -------
    Relation
        Operator with ``G @ V``, ``G.block(rows, columns)``, ``G.quadratic(Z)`` and ``G.row_means()``.

    Raises
    ------
    ValueError
        If `relation` is unknown, `y` is empty or infinite, its values do not suit the relation, or a callable
        returns anything but finite symmetric relations.

    Notes
    -----
    "hamming", "sqeuclidean", "hellinger", "cosine" and "jeffreys" are thin factors, take a sparse `y` as it is, and
    cost time linear in the samples; so do "discrete" and "l1" (after sorting), which are dense. "jaccard", callables,
    and "cosine" with missing values take the square of the number of distinct targets.

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
    targets = read_targets(y, device)
    if binds(relation):
        bound = relation.bind(targets.y, targets.device)
        if not isinstance(bound, Relation):
            raise ValueError(
                f"{type(relation).__name__}.bind returned a {type(bound).__name__}, but it must return a "
                "skrelmetric.relations.Relation, such as Factored. A matrix is given by a function of places: "
                "relation=lambda a, b: matrix[numpy.ix_(a, b)] with y=numpy.arange(len(X))."
            )
        return bound
    if callable(relation) and not isinstance(relation, type):
        return _of_callable(targets, relation)
    _, rule = rule_of(relation, targets.summary)
    return rule.of(targets, targets.summary)


def relation_name(y: ArrayLike | Targets) -> str:
    """Relation that "auto" stands for.

    Parameters
    ----------
    y : array-like or sparse matrix of shape (n_samples,) or (n_samples, n_outputs)
        Target.

    Returns
    -------
    str
        "hamming", "cosine", "discrete" or "l1".

    Raises
    ------
    ValueError
        If `y` is no target.
    """
    return _auto(read_targets(y, "cpu").summary)


def binds(relation: Any) -> TypeGuard[Any]:
    """Whether a relation is an object that makes its operator itself, of all targets at once."""
    return hasattr(relation, "bind") and not isinstance(relation, type | Jeffreys)


def rule_of(relation: Any, summary: TargetSummary) -> tuple[str, Rule]:
    """Name of a relation, "auto" resolved, and its rule, for targets that suit it.

    Raises
    ------
    ValueError
        If it is not known, or the targets do not suit it.
    """
    name, rule = ("jeffreys", relation.rule()) if isinstance(relation, Jeffreys) else _named(relation, summary)
    if rule.check:
        rule.check(summary, name)
    return name, rule


def _named(relation: Any, summary: TargetSummary) -> tuple[str, Rule]:
    if isinstance(relation, str) and relation == "auto":
        relation = _auto(summary)
        if _FEW_LEVELS < summary.n_levels <= 2 * _MANY_LEVELS:
            other = "discrete" if relation == "l1" else "l1"
            warn_caller(
                f"y holds floats that are whole numbers, {summary.n_levels} distinct ones, which may be numbers or "
                f"classes: relation='auto' is {relation!r}. Pass relation={relation!r} if that is right, or {other!r}.",
                UserWarning,
            )
        elif relation == "discrete" and _holds_signs(summary):
            warn_caller(
                "y holds whole numbers from -1 to 1 in several columns, which count as classes. Write 0 for a label "
                "that a sample has not, and NaN for an unknown one; pass relation='discrete' if they are classes.",
                UserWarning,
            )
    if isinstance(relation, type):
        raise ValueError(f"relation={relation.__name__} is a class. Pass an object, {relation.__name__}(...).")
    if not isinstance(relation, str) or relation not in _RELATIONS:
        known = ["auto", *_RELATIONS]
        close = get_close_matches(relation, known, n=1) if isinstance(relation, str) else None
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"relation={relation!r} is not known.{hint} Choose one of {known}, "
            "or pass a callable g(Y_a, Y_b) or an object such as Jeffreys(eps=1e-3)."
        )
    return relation, _RELATIONS[relation]


class Rule(NamedTuple):
    """Rule by which a relation makes an operator of targets.

    Attributes
    ----------
    check : callable or None
        Raises ValueError for targets that do not suit the relation.
    operator : callable
        Makes the operator of columns of targets.
    by_output : bool, default=True
        Whether the relation is a sum over outputs, to which one that never differs adds nothing.
    """

    check: Callable[[TargetSummary, str], None] | None
    operator: Callable[[Columns], Relation]
    by_output: bool = True

    def of(self, targets: Targets, summary: TargetSummary) -> Relation:
        """Operator over targets that suit the relation."""
        return self.operator(targets.columns(summary, by_output=self.by_output))


def _holds_signs(summary: TargetSummary) -> bool:
    """Whether numbers from -1 to 1 stand in several columns, as some write label sets."""
    return summary.n_outputs > 1 and summary.numeric and (summary.least, summary.largest) == (-1, 1)


def _check_numeric(summary: TargetSummary, name: str) -> None:
    if not summary.numeric:
        raise ValueError(
            f"relation={name!r} compares numbers, but y holds strings. Use relation='discrete' for classes."
        )


def _check_range(summary: TargetSummary, name: str) -> None:
    _check_numeric(summary, name)
    check_range(max(-summary.least, summary.largest), "y", limit_of() ** 0.5)  # a relation is squared, too


def _check_nonnegative(summary: TargetSummary, name: str) -> None:
    _check_range(summary, name)
    if summary.least < 0:
        raise ValueError(
            f"relation={name!r} compares distributions or counts, but y holds {summary.least:g}. "
            "Use relation='l1' or 'sqeuclidean' for numbers of any sign."
        )


def _check_indicator(summary: TargetSummary, name: str) -> None:
    _check_numeric(summary, name)
    if not summary.indicator:
        low, high = summary.least, summary.largest
        unfitting = low if low < 0 else high if high > 1 else summary.fraction
        raise ValueError(
            f"relation={name!r} compares label sets as 0/1 indicators, but y holds {unfitting:g}. "
            "Use relation='discrete' for classes or 'l1' for numbers."
        )


def _class_difference(columns: Columns) -> Relation:
    values = columns.dense()
    codes = torch.empty(values.shape, dtype=torch.int64, device=values.device)
    for j, column in enumerate(values.T):
        codes[:, j] = column.unique(return_inverse=True)[1]
    return ClassDifference(codes if columns.known is None else torch.where(columns.known, codes, -1))


def _absolute_difference(columns: Columns) -> Relation:
    return AbsoluteDifference(columns.dense().to(torch.float64), columns.known)


def _squared_difference(columns: Columns) -> Relation:
    return _product_of_differences(columns.less_mean(), known=columns.known)


def _hamming(columns: Columns) -> Relation:
    return _product_of_differences(columns.numbers(), known=columns.known)


def _hellinger(columns: Columns) -> Relation:
    return _product_of_differences((columns.numbers() / 2).sqrt(), known=columns.known)


def _cosine(columns: Columns) -> Relation:
    Y = columns.numbers()
    if columns.known is not None:
        return _pairwise_with_missing(columns, _cosine_distance)
    units = unit_rows(Y)
    if isinstance(units, Tensor):
        is_zero = (units == 0).all(1, keepdim=True).to(units.dtype)
        return _product_of_differences(torch.hstack([units, is_zero]) / 2**0.5)
    is_zero = sparse.csr_array((np.diff(units.indptr) == 0).astype(np.float64)[:, None])
    return _product_of_differences(sparse.csr_array(sparse.hstack([units, is_zero])) / 2**0.5)


def _jaccard(columns: Columns) -> Relation:
    return _pairwise_with_missing(columns, _jaccard_distance)


@dataclass(frozen=True)
class Jeffreys:
    """Symmetric Kullback-Leibler divergence of distributions, sum_l (u_l - v_l) (log u_l - log v_l).

    Parameters
    ----------
    eps : float, default=1e-6
        Values below are raised to it, above 0 and below 1; it bounds the relation where one distribution is 0.

    Notes
    -----
    The name "jeffreys" stands for ``Jeffreys()``. Raised values are not divided by their sum again.

    Examples
    --------
    >>> from skrelmetric.relations import Jeffreys, make_relation
    >>> G = make_relation([[0.5, 0.5], [0.75, 0.25]], Jeffreys(eps=1e-3))
    >>> round(G.block(slice(1), slice(1, 2)).item(), 4)
    0.2747
    """

    eps: float = 1e-6

    def bind(self, y: ArrayLike, device: str | torch.device = "cpu") -> Relation:
        """Operator over the samples of `y`.

        Parameters
        ----------
        y : array-like or sparse matrix of shape (n_samples, n_outputs)
            Distributions, or other numbers that are not negative.
        device : str or torch.device, default="cpu"
            Where the operator's tensors live.

        Returns
        -------
        Factored

        Raises
        ------
        ValueError
            If `y` is negative anywhere, or `eps` is not between 0 and 1.
        """
        return make_relation(read_targets(y, device), self)

    def rule(self) -> Rule:
        """Rule by which the relation makes an operator of targets.

        Returns
        -------
        object
            Check of a summary of targets, and maker of operators.

        Raises
        ------
        ValueError
            If `eps` is not between 0 and 1.
        """
        if not (isinstance(self.eps, Real) and 0 < self.eps < 1):
            raise ValueError(f"eps={self.eps!r} must be between 0 and 1: it bounds the relation where a value is 0.")
        return Rule(_check_nonnegative, self._operator)

    def _operator(self, columns: Columns) -> Relation:
        # Differences are free of a shift, and shifted by their value at 0 both factors are 0 where y is.
        if isinstance(columns.values, Tensor):
            Y = columns.numbers().clamp(min=self.eps)
            return _product_of_differences(Y - self.eps, (Y / self.eps).log(), columns.known)
        Y = columns.values
        raised = np.maximum(Y.data, self.eps)
        factors = raised - self.eps, np.log(raised / self.eps)
        U, V = (sparse.csr_array((entries, Y.indices, Y.indptr), Y.shape) for entries in factors)
        return _product_of_differences(U, V)


_RELATIONS = {
    "hamming": Rule(_check_indicator, _hamming),
    "l1": Rule(_check_range, _absolute_difference),
    "sqeuclidean": Rule(_check_range, _squared_difference),
    "discrete": Rule(None, _class_difference),
    "hellinger": Rule(_check_nonnegative, _hellinger),
    "cosine": Rule(_check_numeric, _cosine, by_output=False),
    "jeffreys": Rule(_check_nonnegative, Jeffreys()._operator),
    "jaccard": Rule(_check_indicator, _jaccard, by_output=False),
}


_FEW_LEVELS, _MANY_LEVELS = 10, 20  # distinct whole floats of an output that are surely classes, and still are
_MANY_LABELS = 40


def _auto(summary: TargetSummary) -> str:
    """Relation that "auto" stands for.

    Of few labels those that differ say how far apart two sets are. Of many labels nearly all are in neither set, and
    two sets that share nothing differ by little more than two that share some.
    """
    if summary.kind == "labels":  # where labels are missing, "cosine" would cost the square of the distinct sets
        return "cosine" if summary.n_outputs > _MANY_LABELS and not summary.missing else "hamming"
    return "discrete" if summary.kind == "classes" and summary.n_levels <= _MANY_LEVELS else "l1"


PAIRWISE = {"jaccard": lambda A, B: _jaccard_distance(A, B), "cosine": lambda A, B: _cosine_distance(A, B)}
"""Relations of targets with NaN for what is missing, by blocks of distinct ones."""


def _product_of_differences(U: Rows, V: Rows | None = None, known: Tensor | None = None) -> Factored:
    """sum_l (u_il - u_jl) (v_il - v_jl), over the outputs l known of both; V is U where it is None.

    Where all are known, F = [r, 1, U, V] with r_i = sum_l u_il v_il, and G = r 1' + 1 r' - U V' - V U'. Where some are
    missing, u = v = 0 there and m is their mask: F = [u v, m, u, v], each with one column an output.
    """
    partner = U if V is None else V
    if isinstance(U, Tensor):
        product = U * partner if known is not None else (U * partner).sum(1, keepdim=True)
        mask = torch.ones_like(product) if known is None else known.to(U.dtype)
        factor: Rows = torch.hstack([product, mask, U] if V is None else [product, mask, U, V])
    else:
        product = sparse.csr_array(U.multiply(partner).sum(axis=1)[:, None])
        mask = sparse.csr_array(np.ones((U.shape[0], 1)))
        factor = sparse.csr_array(sparse.hstack([product, mask, U] if V is None else [product, mask, U, V]))
    m, q = mask.shape[1], U.shape[1]
    pairs = [torch.arange(m) + m, torch.arange(m)]  # of products and mask, then of U and V
    pairs += [torch.arange(q) + 2 * m] if V is None else [torch.arange(q) + 2 * m + q, torch.arange(q) + 2 * m]
    partner = torch.cat(pairs)
    scale = torch.ones(len(partner), dtype=torch.float64)
    scale[2 * m :] = -2.0 if V is None else -1.0
    device = U.device if isinstance(U, Tensor) else "cpu"
    return Factored(factor, partner.to(device), scale.to(device))


def _of_callable(targets: Targets, g: Callable[[Any, Any], Any]) -> Pairwise:
    y, device = targets.y, targets.device
    if sparse.issparse(y):
        y = y.toarray()
    if isinstance(y, Tensor):
        distinct, codes = y.unique(dim=0, return_inverse=True)
        return Pairwise(distinct, codes.to(device), g)
    if y.dtype.kind == "O":  # such targets cannot be told apart by sorting
        distinct, codes = y, np.arange(len(y))
    else:
        distinct, codes = np.unique(y, axis=0, return_inverse=True)
    return Pairwise(distinct, as_tensor(codes.reshape(-1), device), g)


def _pairwise_with_missing(columns: Columns, g: Callable[[Tensor, Tensor], Tensor]) -> Pairwise:
    """Relation by blocks of a function that takes NaN for what is missing."""
    values = columns.dense().to(torch.float64)
    if columns.known is not None:
        values = torch.where(columns.known, values, torch.nan)
    if not values.shape[1]:  # no output tells samples apart
        return Pairwise(values[:1], torch.zeros(len(values), dtype=torch.int64, device=values.device), g)
    distinct, codes = values.unique(dim=0, return_inverse=True)
    return Pairwise(distinct, codes, g)


def _jaccard_distance(A: Tensor, B: Tensor) -> Tensor:
    (a, m), (b, n) = _values_and_mask(A), _values_and_mask(B)
    both = a @ b.T
    either = a @ n.T + m @ b.T - both
    return 1 - torch.where(either > 0, both / either, 1.0)


def _cosine_distance(A: Tensor, B: Tensor) -> Tensor:
    (a, m), (b, n) = _values_and_mask(A), _values_and_mask(B)
    a, b = unit_rows(a), unit_rows(b)
    norms = (a.square() @ n.T).sqrt(), (m @ b.T.square()).sqrt()
    neither = (norms[0] == 0) & (norms[1] == 0)
    product = norms[0] * norms[1]
    return 1 - torch.where(neither, 1.0, a @ b.T / torch.where(product > 0, product, 1.0))


def _values_and_mask(A: Tensor) -> tuple[Tensor, Tensor]:
    """Values with 0 for what is missing, and 1 for what is known."""
    return A.nan_to_num(0.0), 1 - A.isnan().to(A.dtype)
