"""Base of the predictors by neighbours: what they search, and who their neighbours are."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.utils.validation import check_is_fitted

from skrelmetric._interop.arrays import as_host, like, module_of
from skrelmetric._interop.pickles import VersionedEstimator
from skrelmetric._interop.sklearn import StrOptions, check_same_namespace, keep_label_names, warn_caller
from skrelmetric._search.host import Found
from skrelmetric._search.neighbours import Neighbours, read_queries

__all__ = ["NeighborPredictor", "available", "none_of"]

_SEARCH = ("metric", "metric_params", "algorithm", "n_jobs", "device")
"""Names of the parameters of the search."""


class NeighborPredictor(VersionedEstimator):
    """Predictor that asks the nearest training samples."""

    _parameter_constraints: dict = {
        "metric": [str, callable],
        "metric_params": [dict, None],
        "algorithm": [StrOptions({"auto", "ball_tree", "kd_tree", "brute"})],
        "n_jobs": [Integral, None],
        "device": "no_validation",  # a str or torch.device, but that is not worth loading torch for
    }

    n_neighbors_: Any
    label_names_: np.ndarray
    _neighbours: Neighbours
    _kind: Any

    def kneighbors(self, X: ArrayLike | None = None, n_neighbors: int | None = None, return_distance: bool = True):
        """Nearest training samples of each sample, nearest first, equal distances in the order of the training samples.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or (n_samples, n_train) if precomputed, or \
None, default=None
            Samples. None asks for the neighbours of the training samples, none of which is its own; precomputed
            distances among these are not kept.
        n_neighbors : int or None, default=None
            Number of neighbours. None is as many as vote.
        return_distance : bool, default=True
            Whether to return distances.

        Returns
        -------
        distances : ndarray of shape (n_samples, n_neighbors)
            Distances, only if `return_distance`.
        indices : ndarray of shape (n_samples, n_neighbors)
            Indices of training samples.

        Raises
        ------
        ValueError
            If `n_neighbors` is not a number of training samples that there are.
        """
        found = self._found(X, n_neighbors)
        given = self._kind if X is None else X
        indices = like(found.indices, given)
        return (like(found.distances, given), indices) if return_distance else indices

    def kneighbors_graph(
        self, X: ArrayLike | None = None, n_neighbors: int | None = None, mode: str = "connectivity"
    ) -> sparse.csr_matrix:
        """Graph of the nearest training samples of each sample.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or (n_samples, n_train) if precomputed, or \
None, default=None
            Samples. None asks for the neighbours of the training samples, none of which is its own.
        n_neighbors : int or None, default=None
            Number of neighbours. None is as many as vote.
        mode : {"connectivity", "distance", "weight"}, default="connectivity"
            Entries: 1, the distance, or the share that the neighbour has in the vote on the sample.

        Returns
        -------
        csr_matrix of shape (n_samples, n_train)

        Raises
        ------
        ValueError
            If `mode` is unknown, or `n_neighbors` is not a number of training samples that there are.
        """
        entries_of = {"connectivity": _ones, "distance": _distances, "weight": self._shares}
        if mode not in entries_of:
            raise ValueError(f"mode={mode!r} is not known. Choose one of {list(entries_of)}.")
        asked = None if mode == "weight" else n_neighbors  # shares are those among all who vote
        found = self._found(X, asked)
        entries, indices = (as_host(each)[:, :n_neighbors] for each in (entries_of[mode](found), found.indices))
        starts = np.arange(len(indices) + 1) * indices.shape[1]
        shape = len(indices), self._neighbours.n_train
        return sparse.csr_matrix((entries.ravel(), indices.ravel(), starts), shape=shape)

    def _search(self, X: Any, Y: Any) -> Neighbours:
        """Training samples and their targets, ready to be searched."""
        return Neighbours(X, Y, **{name: getattr(self, name) for name in _SEARCH})

    def _keep(self, neighbours: Neighbours, y: Any, given: Any) -> None:
        """Keep what was fitted to: samples to search, names of the labels, and the kind of arrays."""
        neighbours.forget_distances()
        self._neighbours, self._kind = neighbours, like(none_of(neighbours.Y), given)
        keep_label_names(self, y)

    def _queries(self, X: Any, method: str) -> Any:
        """Samples to predict, checked."""
        check_is_fitted(self)
        check_same_namespace(X, self, attribute="_kind", method=method)
        return read_queries(self, X)

    def _found(self, X: Any, n_neighbors: int | None) -> Found:
        check_is_fitted(self)
        n_candidates = self._neighbours.n_train - (X is None)
        if n_neighbors is None:
            n_neighbors = min(self._n_voters, n_candidates)
        if not isinstance(n_neighbors, Integral) or not 1 <= n_neighbors <= n_candidates:
            raise ValueError(
                f"n_neighbors={n_neighbors!r}, but there are {n_candidates} training samples to choose from. "
                "Pass a number from 1 to that, or None."
            )
        X = None if X is None else self._queries(X, "kneighbors")
        return self._neighbours.nearest(X, n_neighbors, self.device, ranked=True)

    @property
    def _n_outputs(self) -> int | None:
        """Number of outputs; None where targets are one-dimensional."""
        return self._kind.shape[1] if self._kind.ndim == 2 else None

    @property
    def _n_voters(self) -> int:
        """Number of neighbours that vote."""
        return self.n_neighbors_

    def _shares(self, found: Found) -> Any:
        """Share of each neighbour in the vote."""
        return _ones(found) / self._n_voters

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        tags.input_tags.sparse = True
        tags.input_tags.pairwise = self.metric == "precomputed"
        tags.target_tags.multi_output = True
        return tags


def available(n_neighbors: Any, n_candidates: int) -> int:
    """Number of neighbours to take, with a warning where there are fewer than asked for."""
    if n_neighbors > n_candidates:
        warn_caller(
            f"n_neighbors={n_neighbors}, but there are only {n_candidates} training samples to choose from; "
            f"using {n_candidates}.",
            UserWarning,
        )
    return min(n_neighbors, n_candidates)


def none_of(Y: Any) -> Any:
    """Array of no targets, of the shape of some."""
    return np.empty((0, *Y.shape[1:])) if sparse.issparse(Y) else Y[:0]


def _distances(found: Found) -> Any:
    return found.distances


def _ones(found: Found) -> Any:
    return module_of(found.distances).ones_like(found.distances)
