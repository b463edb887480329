"""One relation of samples whose targets come in parts."""

from collections.abc import Callable
from copy import copy
from functools import reduce
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from skrelmetric._data.partitions import Collection
from skrelmetric._data.targets import TargetSurvey, read_part
from skrelmetric._interop.torch import as_tensor
from skrelmetric.relations._named import PAIRWISE, rule_of
from skrelmetric.relations._operators import ClassDifference, Pairwise, Relation
from skrelmetric.relations._reals import LevelDifference, Levels

__all__ = ["RelationInParts"]

Vocabulary = list[Any]
"""Distinct targets: the levels or the values of each output, ascending, or one array of whole rows."""


class RelationInParts:
    """What makes an operator of each part of the targets, so that the parts add up to one relation.

    Products with a relation are sums over samples and a core that all parts have in common; see
    :class:`~skrelmetric.relations.Relation`. Relations that factor need nothing but the survey. The others sum by
    distinct targets, which have to be known first: `distinct` gives those of a part, `union` those of two parts, and
    `knowing` the relation that knows them all.

    Parameters
    ----------
    relation : str, callable or object
        As :func:`skrelmetric.relations.make_relation` takes it, but for operators of given samples.
    survey : TargetSurvey
        What is known of all targets.
    device : torch.device
        Where the operators' tensors live.

    Raises
    ------
    ValueError
        If the relation is unknown, or an operator that is bound to samples.
    """

    def __init__(self, relation: Any, survey: TargetSurvey, device: torch.device):
        if isinstance(relation, Relation):
            raise ValueError(
                f"relation={relation!r} is an operator over given samples, but these come in parts. "
                "Pass a name, a callable g(Y_a, Y_b) or Jeffreys(eps)."
            )
        self.survey, self.device = survey, device
        self.name: str
        self._rule, self._g = None, None
        if callable(relation) and not isinstance(relation, type):
            self.name, self._g = "callable", relation
        else:
            self.name, self._rule = rule_of(relation, survey)
        by_rows = self._g is not None or self.name == "jaccard" or (self.name == "cosine" and survey.missing)
        self._words: _Words | None = _ROWS if by_rows else {"l1": _LEVELS, "discrete": _VALUES}.get(self.name)
        self._vocabulary: Vocabulary = []
        self._prototype: Any = None

    @classmethod
    def across(cls, relation: Any, survey: TargetSurvey | None, device: torch.device, *collections: Collection) -> Self:
        """The relation of all samples of some collections, with the distinct targets that it needs to know."""
        assert survey is not None
        relations = cls(relation, survey, device)
        if relations.sums_by_target:
            distinct = (
                collection.fold(lambda part: relations.distinct(part.y), relations.union) for collection in collections
            )
            relations = relations.knowing(reduce(relations.union, distinct))
        return relations

    @property
    def sums_by_target(self) -> bool:
        """Whether distinct targets have to be known."""
        return self._words is not None

    def distinct(self, y: Any) -> Vocabulary:
        """Distinct targets of some that were checked."""
        if self._rule is not None and self._rule.check:
            self._rule.check(read_part(y, self.survey, torch.device("cpu")), self.name)
        assert self._words is not None
        return self._words.distinct(_as_rows(y))

    def union(self, some: Vocabulary, others: Vocabulary) -> Vocabulary:
        """Distinct targets of both."""
        assert self._words is not None
        return self._words.union(some, others)

    def knowing(self, vocabulary: Vocabulary) -> Self:
        """The relation, for these distinct targets."""
        assert self._words is not None
        known = copy(self)
        device, q = self.device, len(vocabulary)
        if self._words is _LEVELS:
            mask = torch.ones((0, q), dtype=torch.bool, device=device) if self.survey.missing else None
            nothing = torch.zeros((0, q), dtype=torch.float64, device=device)
            known._prototype = LevelDifference(nothing, mask, vocabulary)
        elif self._words is _VALUES:
            codes = torch.zeros((0, q), dtype=torch.int64, device=device)
            known._prototype = ClassDifference(codes, [len(column) for column in vocabulary])
        else:
            targets, g = self._targets(vocabulary[0])
            known._prototype = Pairwise(targets, torch.zeros(0, dtype=torch.int64, device=device), g)
        known._vocabulary = vocabulary
        return known

    def of(self, y: Any) -> Relation:
        """Operator over the samples of some targets that were checked."""
        if self._words is None:
            assert self._rule is not None
            return self._rule.of(read_part(y, self.survey, self.device), self.name)
        return self._prototype.over(as_tensor(self._words.rows(self._vocabulary, _as_rows(y)), self.device))

    def nothing(self) -> Relation:
        """Operator over no samples, whose core is that of all."""
        return self.of(np.zeros((0, *self.survey.outputs), dtype=np.float64 if self.survey.numeric else "U1"))

    def _targets(self, rows: np.ndarray) -> tuple[Any, Callable[[Any, Any], Any]]:
        if self._g is not None:
            return rows.reshape(len(rows), *self.survey.outputs), self._g
        return as_tensor(rows.astype(np.float64), self.device), PAIRWISE[self.name]


class _Words(NamedTuple):
    """How distinct targets are told and united, and what the operator that knows them knows of each sample."""

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


def _as_rows(y: Any) -> np.ndarray:
    """Targets on the host, one row a sample, missing ones and zeros written in one way."""
    if sparse.issparse(y):
        y = y.toarray()
    elif isinstance(y, Tensor):
        y = y.cpu().numpy()
    y = y[:, None] if y.ndim == 1 else y
    if y.dtype.kind == "O":
        y = y.astype(str)
    return np.where(np.isnan(y), np.nan, y + 0.0) if y.dtype.kind == "f" else y
