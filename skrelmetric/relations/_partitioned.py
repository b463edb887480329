"""Relation of samples in several partitions."""

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import torch

from skrelmetric._data.partitions import Partitions
from skrelmetric._data.targets import Targets, TargetSummary
from skrelmetric._interop.torch import as_tensor
from skrelmetric.relations._named import PAIRWISE, Rule, binds, rule_of
from skrelmetric.relations._operators import ClassDifference, Pairwise, Relation
from skrelmetric.relations._reals import LevelDifference, Levels

__all__ = ["RelationInParts"]

Vocabulary = list[Any]
"""Distinct targets: the levels or the values of each output, ascending, or one array of whole rows."""


class RelationInParts:
    """Relation of samples in several partitions, which makes an operator of the targets of each.

    Products with a relation are sums over samples and a core that all partitions have in common; see
    :class:`~skrelmetric.relations.Relation`. Relations that factor need nothing but the summary of all targets. The
    others sum by distinct targets, which have to be collected first.

    Parameters
    ----------
    relation : str, callable or object
        As :func:`skrelmetric.relations.make_relation` takes it, but for operators of given samples.
    summary : TargetSummary
        Summary of all targets.
    device : torch.device
        Where the operators' tensors live.
    partitions : sequence of Partitions, default=()
        Partitions whose distinct targets are collected where they are needed.

    Raises
    ------
    ValueError
        If the relation is unknown, is bound to all targets at once, or does not suit the targets.
    """

    def __init__(
        self, relation: Any, summary: TargetSummary, device: torch.device, partitions: Sequence[Partitions] = ()
    ):
        if binds(relation):
            raise ValueError(
                f"relation={relation!r} is bound to all targets at once, but these come in parts: in chunks, a Dask "
                "array or shards. Pass a name, a callable g(Y_a, Y_b) or Jeffreys(eps), or fit to samples in memory."
            )
        self.summary, self.device = summary, device
        self.name: str
        self._rule: Rule | None = None
        g = None
        if callable(relation) and not isinstance(relation, type):
            self.name, g = "callable", relation
        else:
            self.name, self._rule = rule_of(relation, summary)
        by_rows = g is not None or self.name == "jaccard" or (self.name == "cosine" and summary.missing)
        self._words = _ROWS if by_rows else {"l1": _LEVELS, "discrete": _VALUES}.get(self.name)
        if self._words is not None:
            distinct, union = self._words.distinct, self._words.union
            of_each = [each.fold(lambda subset: distinct(subset.targets.host_rows()), union) for each in partitions]
            self._vocabulary: Vocabulary = reduce(union, of_each) if of_each else distinct(self._none().host_rows())
            self._prototype = self._operator(g)

    def _operator(self, g: Callable[[Any, Any], Any] | None) -> Relation:
        """Operator over no samples, which knows the distinct targets."""
        device, vocabulary, summary = self.device, self._vocabulary, self.summary
        q = len(vocabulary)
        if self._words is _LEVELS:
            mask = torch.ones((0, q), dtype=torch.bool, device=device) if summary.missing else None
            return LevelDifference(torch.zeros((0, q), dtype=torch.float64, device=device), mask, vocabulary)
        if self._words is _VALUES:
            codes = torch.zeros((0, q), dtype=torch.int64, device=device)
            return ClassDifference(codes, [len(column) for column in vocabulary])
        (rows,), codes = vocabulary, torch.zeros(0, dtype=torch.int64, device=device)
        if g is not None:
            return Pairwise(rows.reshape(len(rows), *summary.outputs), codes, g, shared=True)
        return Pairwise(as_tensor(rows.astype(np.float64), device), codes, PAIRWISE[self.name], shared=True)

    def of(self, targets: Targets) -> Relation:
        """Operator over the samples of some targets.

        Parameters
        ----------
        targets : Targets
            Targets of a partition.

        Returns
        -------
        Relation
        """
        if self._words is None:
            assert self._rule is not None
            return self._rule.of(targets, self.summary)
        return self._prototype.over(as_tensor(self._words.rows(self._vocabulary, targets.host_rows()), self.device))

    def empty(self) -> Relation:
        """Operator over no samples, whose core is that of all.

        Returns
        -------
        Relation
        """
        return self.of(self._none())

    def _none(self) -> Targets:
        return Targets(np.zeros((0, *self.summary.outputs), dtype=self.summary.dtype), self.device)


class _Words(NamedTuple):
    """Functions that find distinct targets, unite them, and give each sample its row of the operator over them."""

    distinct: Callable[[np.ndarray], Vocabulary]
    union: Callable[[Vocabulary, Vocabulary], Vocabulary]
    rows: Callable[[Vocabulary, np.ndarray], np.ndarray]


def _codes_of_values(vocabulary: Vocabulary, rows: np.ndarray) -> np.ndarray:
    codes = np.empty(rows.shape, dtype=np.int64)
    for j, (values, column) in enumerate(zip(vocabulary, rows.T, strict=True)):
        codes[:, j] = np.where(_known(column), np.searchsorted(values, column), -1)
    return codes


def _known(values: np.ndarray) -> np.ndarray:
    return ~np.isnan(values) if values.dtype.kind == "f" else np.ones(values.shape, dtype=bool)


def _union_of_rows(some: Vocabulary, others: Vocabulary) -> Vocabulary:
    return [_as_words(np.concatenate([*some, *others]))]


def _as_words(rows: np.ndarray) -> np.ndarray:
    """Distinct rows, told apart by their bytes: NaN is like NaN."""
    _, first = np.unique(_bytes_of(rows), return_index=True)
    return rows[first]


def _bytes_of(rows: np.ndarray) -> np.ndarray:
    rows = np.ascontiguousarray(rows)
    return rows.view(f"V{max(1, rows.dtype.itemsize * rows.shape[1])}").reshape(-1)


def _codes_of_rows(vocabulary: Vocabulary, rows: np.ndarray) -> np.ndarray:
    (words,) = vocabulary
    both = np.concatenate([words, rows.astype(words.dtype)])
    _, first, codes = np.unique(_bytes_of(both), return_index=True, return_inverse=True)
    return first[codes[len(words) :], None]  # the first of a row and its word is the word


_LEVELS = _Words(
    lambda rows: [Levels.of(column[_known(column)]) for column in rows.T],
    lambda some, others: [a.merged(b) for a, b in zip(some, others, strict=True)],
    lambda vocabulary, rows: rows.astype(np.float64),
)
_VALUES = _Words(
    lambda rows: [np.unique(column[_known(column)]) for column in rows.T],
    lambda some, others: [np.union1d(a, b) for a, b in zip(some, others, strict=True)],
    _codes_of_values,
)
_ROWS = _Words(lambda rows: [_as_words(rows)], _union_of_rows, _codes_of_rows)
