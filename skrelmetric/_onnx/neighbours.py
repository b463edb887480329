"""Nearest training samples and their votes, as operators."""

from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from skrelmetric._onnx.graph import Graph
from skrelmetric._search.host import NeighbourSearch
from skrelmetric._search.neighbours import Neighbours

__all__ = ["Candidates", "kth"]


class Candidates(NamedTuple):
    """Training samples as seen from queries.

    Attributes
    ----------
    graph : Graph
        Model that is being made.
    D : str
        Squared distances, of shape (n_queries, n_train), 0 where rounding explains them.
    norms : str
        Squared norms of the centred queries, of shape (n_queries, 1).
    Y : ndarray of shape (n_train, n_outputs)
        Targets.
    search : NeighbourSearch
        Search of the training samples.
    """

    graph: Graph
    D: str
    norms: str
    Y: np.ndarray
    search: NeighbourSearch

    @classmethod
    def of(cls, graph: Graph, predictor: Any, X: str, kept: Any = None) -> "Candidates":
        """Candidates of a fitted predictor, or those of them that are kept."""
        search, Y = _searched(predictor)
        samples = search.samples.toarray() if sparse.issparse(search.samples) else search.samples
        samples, Y = (samples, Y) if kept is None else (samples[kept], Y[kept])
        x = graph.cast(X, np.float64)
        if search.centre is not None:
            x = graph("Sub", x, search.centre)
        norms = graph("ReduceSum", graph("Mul", x, x), np.array([1]), keepdims=1)
        squares = graph("Add", norms, (samples**2).sum(1)[None])
        D = graph("Add", squares, graph("MatMul", x, -2 * samples.T))
        seen = cls(graph, D, norms, Y if Y.ndim == 2 else Y[:, None], search)
        equal = graph("Less", D, seen.tolerance(np.zeros((1, 1))))
        return seen._replace(D=graph("Where", equal, np.float64(0), D))

    def tolerance(self, d: Any) -> str:
        """Difference that rounding may make between equal distances, as the search tells it, at some of these."""
        relative, absolute = self.search.rounding
        scaled = self.graph("Mul", self.graph("Add", self.norms, d), np.float64(relative))
        return self.graph("Add", scaled, np.float64(absolute))

    def nearest(self, k: int) -> str:
        """Which of the candidates are the k nearest, those that tie with the k-th by index."""
        graph, furthest = self.graph, kth(self.graph, self.D, k)
        tolerance = self.tolerance(furthest)
        nearer = graph("Less", self.D, graph("Sub", furthest, tolerance))
        further = graph("Greater", self.D, graph("Add", furthest, tolerance))
        tied = graph("Not", graph("Or", nearer, further))
        count = graph("ReduceSum", graph.cast(nearer, np.int32), np.array([1]), keepdims=1)
        among_tied = graph("CumSum", graph.cast(tied, np.int32), np.int64(1))
        beyond = graph("Greater", among_tied, graph("Sub", np.int32(k), count))
        return graph("Or", nearer, graph("And", tied, graph("Not", beyond)))

    def ranked(self, k: int) -> str:
        """Indices of the k nearest by distance, those that tie with the one before by index."""
        graph, n_train = self.graph, np.int64(len(self.Y))
        among = graph("Where", self.nearest(k), self.D, np.float64(np.inf))
        d, indices = graph("TopK", among, np.array([k]), n_outputs=2, axis=1, largest=0, sorted=1)
        ranks = np.arange(k)
        before, after = (graph("Gather", d, places, axis=1) for places in (ranks[:-1], ranks[1:]))
        further = graph("Greater", graph("Sub", after, before), self.tolerance(after))
        steps = graph("CumSum", graph.cast(further, np.int64), np.int64(1))
        steps = graph("Pad", steps, np.array([0, 1, 0, 0]))  # the first is at no step
        keys = graph("Add", graph("Mul", steps, n_train), indices)
        ordered, _ = graph("TopK", keys, np.array([k]), n_outputs=2, axis=1, largest=0, sorted=1)
        return graph("Mod", ordered, n_train)

    def sums(self, k: int) -> str:
        """Sums of the targets of the k nearest, of shape (n_queries, n_outputs)."""
        return self.graph("MatMul", self.graph.cast(self.nearest(k), np.float64), self.Y.astype(np.float64))

    def votes(self, numbers: np.ndarray) -> str:
        """Sums of 0/1 targets of as many as each of some numbers says, of shape (n_queries, n_numbers, n_labels)."""
        graph = self.graph
        if len(numbers) == 1:
            return graph("Unsqueeze", graph.cast(self.sums(int(numbers[0])), np.int64), np.array([1]))
        labels = graph("Gather", self.Y.astype(np.int64), self.ranked(int(numbers[-1])))
        return graph("Gather", graph("CumSum", labels, np.int64(1)), numbers.astype(np.int64) - 1, axis=1)


def kth(graph: Graph, D: str, k: int) -> str:
    """The k-th least of each row, of shape (n_rows, 1)."""
    least, _ = graph("TopK", D, np.array([k]), n_outputs=2, axis=1, largest=0, sorted=1)
    return graph("Gather", least, np.array([k - 1]), axis=1)


def _searched(predictor: Any) -> tuple[NeighbourSearch, np.ndarray]:
    """Search of a fitted predictor, and its dense targets.

    Raises
    ------
    ValueError
        If its metric, targets or samples have no converter.
    """
    neighbours: Neighbours = predictor._neighbours
    name = type(predictor).__name__
    if not isinstance(neighbours.search, NeighbourSearch):
        raise ValueError(f"{name} was fitted to tensors, or on a device. Fit it to numpy arrays, with device='cpu'.")
    if not neighbours.search.euclidean or neighbours.search.cosine:
        raise ValueError(
            f"metric={predictor.metric!r} has no converter, but 'euclidean' and 'sqeuclidean' have. For others put "
            "what makes samples Euclidean before it: Normalizer() for 'cosine', RAMLLinear for a Mahalanobis distance."
        )
    if neighbours.sparse_targets:
        raise ValueError(f"{name} was fitted to sparse targets, which have no converter. Fit it to y.toarray().")
    return neighbours.search, neighbours.Y
