"""Supervision of losses of deep metric learning by targets of any kind: similar pairs, and labels that apply."""

from numbers import Real
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from skrelmetric._data.samples import dense
from skrelmetric._data.targets import Targets, read_targets
from skrelmetric.losses import Batch
from skrelmetric.relations import GivenPairs, Relation, make_relation

__all__ = ["Supervision", "pair_relation"]

# Relations up to the first threshold are similar pairs, those from the second on dissimilar ones.
_THRESHOLDS = {"discrete": (0.0, 1.0), "jaccard": (0.5, 0.8)}
_OF_GIVEN_PAIRS = (0.0, 1.0)
_QUANTILES = (0.1, 0.5)  # of all pairs, where nothing better is known: the nearest tenth, and the farther half
_N_DRAWN = 2**16

_AUTO = {"labels": "jaccard", "classes": "discrete", "numbers": "l1"}
"""Relation by which pairs are told apart, by the kind of target; whole numbers are classes, however many."""


def pair_relation(y: Any, relation: Any, device: torch.device) -> Relation:
    """The relation by which pairs are told apart, where "auto" is "jaccard" for label sets.

    Parameters
    ----------
    y : array-like, sparse matrix or Targets
        Targets.
    relation : str, callable or object
        See :func:`skrelmetric.relations.make_relation`.
    device : torch.device
        Where it is wanted.

    Returns
    -------
    Relation
    """
    targets = read_targets(y, device)
    return make_relation(targets, _named(targets, relation))


def _named(targets: Targets, relation: Any) -> Any:
    if isinstance(relation, str) and relation == "auto":
        return _AUTO[targets.summary.kind]
    return relation


class Supervision:
    """Targets of the training samples, ready to be asked for those of a batch.

    Parameters
    ----------
    y : array-like, sparse matrix or Targets of shape (n_samples,) or (n_samples, n_outputs)
        Classes, a 0/1 label indicator, label distributions, or numbers. NaN where a value is missing.
    relation : str, callable or object, default="auto"
        What tells similar pairs from dissimilar ones; see :func:`skrelmetric.relations.make_relation`. "auto" is
        "discrete" for classes, "jaccard" for label sets, and "l1" for real targets.
    thresholds : pair of float or "auto", default="auto"
        Largest relation of a similar pair, and least of a dissimilar one; those between are neither. "auto" is 0 and 1
        for "discrete" and given pairs, 0.5 and 0.8 for "jaccard", and otherwise the relations that a tenth and a half
        of all pairs do not exceed.
    device : torch.device
        Where batches are wanted.
    pairs_alone : bool, default=False
        Whether nothing but pairs is known, and `y` stands for targets that there are not.

    Attributes
    ----------
    classes : Tensor of int64 of shape (n_samples,) or None
        Codes of the classes, where the target is one class a sample.
    n_labels : int
        Number of labels, or of classes.
    thresholds : tuple of float
        Those in use.

    Raises
    ------
    ValueError
        If `y` is no target that suits the relation, or the thresholds are not in order.
    """

    def __init__(
        self,
        y: Any,
        relation: Any = "auto",
        thresholds: Any = "auto",
        device: Any = "cpu",
        *,
        pairs_alone: bool = False,
    ):
        self._pairs_alone = pairs_alone
        self._targets = read_targets(y, torch.device(device))
        kind = self._targets.summary.kind
        self.classes = self._class_codes() if kind == "classes" and self._targets.values.shape[1] == 1 else None
        relation = _named(self._targets, relation)
        self._G = make_relation(self._targets, relation)
        self._kind = kind
        self.n_labels = int(self.classes.max()) + 1 if self.classes is not None else self._targets.values.shape[1]
        self.thresholds = self._thresholds(relation, thresholds)

    def batch(
        self, rows: Tensor, groups: Tensor | None = None, n_groups: int = 1, uses: Any = ("pairs", "labels")
    ) -> Batch:
        """Targets of some samples, as a loss takes them.

        Parameters
        ----------
        rows : Tensor of int64 of shape (B,)
            The samples.
        groups : Tensor of int64 of shape (B,) or None, default=None
            Branch of an ensemble that each of them trains; None is one for all.
        n_groups : int, default=1
            Number of branches.
        uses : collection of str, default=("pairs", "labels")
            What is needed of "pairs", "labels" and "targets".

        Returns
        -------
        Batch
        """
        similar, dissimilar = self._pairs(rows) if "pairs" in uses else (None, None)
        positive, negative = self._labels(rows) if "labels" in uses else (None, None)
        targets = self._as_given(rows) if "targets" in uses else None
        whole = Batch(similar, dissimilar, positive, negative, torch.zeros_like(rows), 1, targets)
        return whole if groups is None else whole.divided(groups, n_groups)

    def check(self, uses: Any) -> None:
        """Refuse losses that need more than is known.

        Parameters
        ----------
        uses : collection of str
            What they need, as :meth:`batch` takes it.

        Raises
        ------
        ValueError
            If they need targets, and there are pairs alone.
        """
        if self._pairs_alone and set(uses) - {"pairs"}:
            raise ValueError(
                "The loss needs targets, but y is None. Pass y, or a loss that learns from pairs alone, such as "
                "'contrastive' or 'multi_similarity'."
            )

    def _pairs(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        relations = self._G.block(rows, rows)
        apart = rows[:, None] != rows  # a sample drawn twice is no pair
        if self._targets.known is not None and not isinstance(self._G, GivenPairs):
            known = self._targets.known[rows].to(torch.float32)
            apart &= known @ known.T > 0  # nor are two samples of which no output is known of both
        near, far = self.thresholds
        similar = relations <= near
        return similar & apart, (relations >= far) & ~similar & apart

    def _labels(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        if self.classes is not None:
            positive = functional.one_hot(self.classes[rows], self.n_labels).to(torch.float32)
            return positive, 1 - positive
        values = self._values(rows)
        known = None if self._targets.known is None else self._targets.known[rows]
        if self._kind == "numbers":  # the label that describes a sample most is wholly its own
            values = values / values.amax(1, keepdim=True).clamp(min=torch.finfo(values.dtype).tiny)
        negative = 1 - values
        return (values, negative) if known is None else (values * known, negative * known)

    def _as_given(self, rows: Tensor) -> Tensor:
        """Codes of classes, of shape (B,), or values of the outputs, of shape (B, n_outputs), NaN where missing."""
        if self.classes is not None:
            return self.classes[rows]
        values = self._read(rows)
        known = self._targets.known
        return values if known is None else values.masked_fill(~known[rows], float("nan"))

    def _read(self, rows: Tensor) -> Tensor:
        some = self._targets.values
        values = some[rows] if isinstance(some, Tensor) else torch.from_numpy(some[rows.cpu().numpy()].toarray())
        return values.to(rows.device, torch.float32)

    def _values(self, rows: Tensor) -> Tensor:
        values = self._read(rows)
        numbers = self._kind == "numbers" and values.shape[1] == 1
        if numbers or self._kind == "classes" or not self._targets.numeric or (values < 0).any():
            raise ValueError(
                "The loss learns something for each label, but y is neither classes in one column, nor 0/1 label sets, "
                "nor distributions. Use a loss of pairs alone, such as 'triplet', with a relation."
            )
        return values

    def _class_codes(self) -> Tensor:
        values, known = dense(self._targets.values)[:, 0], self._targets.known
        if known is not None and not known.all():
            raise ValueError("y has samples without a class. Leave them out.")
        return values.unique(return_inverse=True)[1]

    def _thresholds(self, relation: Any, thresholds: Any) -> tuple[float, float]:
        if not isinstance(thresholds, str):
            ordered = len(thresholds) == 2 and all(isinstance(each, Real) for each in thresholds)
            if not ordered or not thresholds[0] <= thresholds[1]:
                raise ValueError(f"Thresholds {thresholds!r} must be two numbers, the larger one last.")
            return float(thresholds[0]), float(thresholds[1])
        if isinstance(relation, GivenPairs):
            return _OF_GIVEN_PAIRS
        if isinstance(relation, str) and relation in _THRESHOLDS:
            return _THRESHOLDS[relation]
        n, generator = self._G.n_samples, torch.Generator().manual_seed(0)
        i, j = torch.randint(n, (2, _N_DRAWN), generator=generator).to(self._G.device)
        relations = torch.cat([self._G.pairs(a, b) for a, b in zip(i.split(4096), j.split(4096), strict=True)])
        near, far = relations[i != j].quantile(torch.tensor(_QUANTILES, dtype=relations.dtype, device=relations.device))
        return float(near), float(far)
