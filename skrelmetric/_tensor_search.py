"""Neighbour search on tensors, where they live, with the choice among equal distances that `_search` makes."""

from typing import Any

import torch
from torch import Tensor

from skrelmetric._sklearn import get_chunk_n_rows

__all__ = ["TensorSearch"]

_EUCLIDEAN = {"euclidean", "l2", "sqeuclidean"}
_ORDERS = {"manhattan": 1.0, "cityblock": 1.0, "l1": 1.0, "chebyshev": torch.inf, "infinity": torch.inf}


class TensorSearch:
    """Training samples, ready to be searched by brute force, in blocks under scikit-learn's ``working_memory``.

    Parameters
    ----------
    X : Tensor of shape (n_train, n_features), or (n_train, n_train) if precomputed
        Training samples, or their distances.
    metric : str
        "euclidean", "sqeuclidean", "manhattan", "chebyshev", "minkowski", "cosine" or "precomputed".
    metric_params : dict or None
        The order ``p`` of "minkowski".

    Raises
    ------
    ValueError
        If the metric is any other.
    """

    def __init__(self, X: Tensor, *, metric: Any = "euclidean", metric_params: dict | None = None):
        params = metric_params or {}
        order = params.get("p", 2.0) if metric == "minkowski" else _ORDERS.get(metric, 0.0)
        euclidean = metric in _EUCLIDEAN or order == 2
        if set(params) - {"p"} or not (euclidean or order or metric in ("cosine", "precomputed")):
            raise ValueError(
                f"metric={metric!r} with metric_params={metric_params!r} is not available for tensors. Use one of "
                f"{sorted(_EUCLIDEAN | set(_ORDERS) | {'cosine', 'minkowski', 'precomputed'})} (minkowski with p), "
                "or pass numpy arrays."
            )
        self.metric, self.order, self.euclidean = metric, order, euclidean
        # A centre amid the samples keeps digits that the expanded form of |x - y|^2 would lose.
        self.centre = X.median(0).values if euclidean else None
        self.samples = self._prepared(X)
        if euclidean:
            self.squares = self.samples.square().sum(1)

    def nearest(self, X: Tensor | None, n_neighbors: int) -> Tensor:
        """Indices of the nearest training samples, equal distances in the order of the samples.

        Parameters
        ----------
        X : Tensor of shape (n_queries, n_features), or (n_queries, n_train) if precomputed, or None
            Queries. None asks for the neighbours of the training samples, none of which is its own.
        n_neighbors : int
            Number k of neighbours, at most the number of candidates.

        Returns
        -------
        Tensor of shape (n_queries, n_neighbors)
            Indices; their order within a row has no meaning.
        """
        leave_one_out = X is None
        queries = self.samples if X is None else self._prepared(X)
        n_train = len(self.samples)
        chosen = []
        step = get_chunk_n_rows(4 * 8 * n_train, max_n_rows=max(1, len(queries)))
        for start in range(0, max(1, len(queries)), step):
            x = queries[start : start + step]
            D = self._distances(x)
            if leave_one_out:
                own = torch.arange(start, start + len(x), device=D.device)
                D = D.scatter(1, own[:, None], torch.inf)
            nearest, indices = D.topk(min(n_neighbors + 1, n_train), largest=False)
            kth = nearest[:, n_neighbors - 1 : n_neighbors]
            tolerance = self._tolerance(x, kth)
            indices = indices[:, :n_neighbors]
            if n_neighbors < n_train and bool((nearest[:, -1:] <= kth + tolerance).any()):
                indices = _first_by_index(D, kth, tolerance, n_neighbors)
            chosen.append(indices)
        return torch.cat(chosen)

    def _prepared(self, X: Tensor) -> Tensor:
        if self.centre is not None:
            return X - self.centre
        if self.metric == "cosine":
            return X / X.norm(dim=1, keepdim=True).clamp(min=torch.finfo(X.dtype).tiny)
        return X

    def _distances(self, x: Tensor) -> Tensor:
        """Distances to all training samples, squared if Euclidean."""
        if self.metric == "precomputed":
            return x
        if self.euclidean:
            return (
                torch.addmm(self.squares, x, self.samples.T, alpha=-2)
                .add_(x.square().sum(1, keepdim=True))
                .clamp_(min=0)
            )
        if self.metric == "cosine":
            return 1 - x @ self.samples.T
        return torch.cdist(x, self.samples, p=self.order)

    def _tolerance(self, x: Tensor, kth: Tensor) -> Tensor:
        """Difference that rounding may make between equal distances, of shape (n_queries, 1)."""
        eps = torch.finfo(x.dtype).eps
        if self.euclidean:  # a sample at squared distance d^2 from x has |y|^2 <= 2 |x|^2 + 2 d^2
            return (64 + 4 * x.shape[1]) * eps * (x.square().sum(1, keepdim=True) + kth)
        return 4096 * eps * (kth.abs() + (self.metric == "cosine"))


def _first_by_index(D: Tensor, kth: Tensor, tolerance: Tensor, n_neighbors: int) -> Tensor:
    """First neighbours of each row from all its distances; those that tie with the k-th by index."""
    nearer = kth - tolerance > D
    tied = (kth + tolerance >= D) & ~nearer
    places = n_neighbors - nearer.sum(1, keepdim=True)
    chosen = nearer | (tied & (tied.cumsum(1) <= places))
    return chosen.to(torch.uint8).topk(n_neighbors).indices
