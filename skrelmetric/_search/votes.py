"""Votes of neighbours: sums of their targets, and what follows from them; of sparse targets in memory of the entries.

Sparse targets stay a csr_array, of as many columns as they like, and nothing of the size of samples times labels is
made of them: a sum over neighbours is a product of two sparse matrices, the neighbours' graph and the targets.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.utils import gen_batches

from skrelmetric._interop.arrays import module_of
from skrelmetric._interop.labels import ROUNDING
from skrelmetric._interop.sklearn import get_chunk_n_rows

__all__ = [
    "Voted",
    "dense",
    "graph",
    "lookup",
    "most_probable",
    "probable",
    "tallies",
    "votes_of_each",
    "weighted_sum",
    "whole",
]


class Voted(NamedTuple):
    """Probabilities of labels, of which those that no neighbour has are the same in all samples.

    Attributes
    ----------
    entries : csr_array of shape (n_samples, n_labels)
        Probabilities of the labels that neighbours have.
    others : ndarray of shape (n_labels,)
        Probability of each label where no neighbour has it.
    """

    entries: sparse.csr_array
    others: np.ndarray

    @classmethod
    def of(cls, probabilities: Any) -> "Voted":
        """Probabilities that are 0 where they have no entry."""
        if isinstance(probabilities, Voted):
            return probabilities
        return cls(probabilities, np.zeros(probabilities.shape[1]))

    @property
    def rows(self) -> np.ndarray:
        """Sample of each entry."""
        return np.repeat(np.arange(self.entries.shape[0]), np.diff(self.entries.indptr))

    def candidates(self, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Samples, labels and probabilities of all entries, and of some labels in the samples without an entry."""
        rows, entries = self.rows, self.entries
        place = np.full(len(self.others), len(labels))
        place[labels] = np.arange(len(labels))
        without = np.ones((entries.shape[0], len(labels) + 1), dtype=bool)  # a last column for all other labels
        without[rows, place[entries.indices]] = False
        more, places = without[:, :-1].nonzero()
        return (
            np.append(rows, more),
            np.append(entries.indices, labels[places]),
            np.append(entries.data, self.others[labels[places]]),
        )


def graph(indices: np.ndarray, weights: np.ndarray, n_train: int) -> sparse.csr_array:
    """Weights of neighbours as a matrix of shape (n_queries, n_train); an index below 0 is none of them."""
    starts = np.arange(len(indices) + 1) * indices.shape[1]
    entries = np.where(indices < 0, 0, weights)
    return sparse.csr_array((entries.ravel(), indices.clip(0).ravel(), starts), (len(indices), n_train))


def weighted_sum(Y: Any, indices: Any, weights: Any) -> Any:
    """Sum of the targets of each query's neighbours times their weights, of shape (n_queries, n_outputs)."""
    if sparse.issparse(Y):
        return graph(indices, weights, Y.shape[0]) @ Y
    return (weights[:, None, :] @ Y[indices])[:, 0]


def votes_of_each(Y: Any, indices: Any, numbers: Sequence[int]) -> Iterator[Any]:
    """Sums of the targets of as many of the first neighbours as each of some ascending numbers says.

    Parameters
    ----------
    Y : ndarray, Tensor or csr_array of shape (n_train, ...)
        Targets; whole numbers, 0 and 1, if they are sparse and there are several numbers.
    indices : ndarray or Tensor of shape (n_queries, n_neighbors)
        Neighbours, nearest first where not all of them are asked for.
    numbers : sequence of int
        Numbers of neighbours.

    Yields
    ------
    ndarray, Tensor or csr_array of shape (n_queries, ...)
        Sparse ones all have the entries of the last, of which some are 0, and in the same order.
    """
    if not sparse.issparse(Y):
        sums: Any = 0
        for first, last in zip([0, *numbers], numbers, strict=False):
            sums = sum((Y[column] for column in indices.T[first:last]), sums)
            yield sums
        return
    k = indices.shape[1]
    for number in numbers:
        # Each of the k neighbours adds 1, so that no entry is missing, and those that count k + 1 more.
        weights = 1 + (k + 1) * (np.arange(k) < number) if number < k else np.ones(k, dtype=np.int64)
        votes = graph(indices, np.broadcast_to(weights, indices.shape), Y.shape[0]) @ Y
        votes.sort_indices()
        if number < k:
            votes.data //= k + 1
        yield votes


def tallies(votes: Any, Y: Any, n_neighbors: int) -> tuple[Any, Any]:
    """Number of samples with each number of votes for each label: of all, and of those that have the label.

    Parameters
    ----------
    votes : ndarray, Tensor or csr_array of int of shape (n_samples, n_labels)
        Number of each sample's neighbours with each label.
    Y : ndarray, Tensor or csr_array of int of shape (n_samples, n_labels)
        Label indicator of the samples, sparse if the votes are.
    n_neighbors : int
        Most votes.

    Returns
    -------
    seen, seen_with : ndarray or Tensor of int of shape (n_labels, n_neighbors + 1)
    """
    if sparse.issparse(votes):
        seen = _tally(votes, votes.shape[0], n_neighbors)
        return seen, _tally(sparse.csr_array(votes.multiply(Y)), np.asarray(Y.sum(axis=0)).ravel(), n_neighbors)
    xp, shape = module_of(votes), (Y.shape[1], n_neighbors + 1)
    cells = votes + (n_neighbors + 1) * (xp.ones_like(votes[0]).cumsum(0) - 1)  # of the table, flattened
    seen = xp.bincount(cells.reshape(-1), minlength=shape[0] * shape[1]).reshape(shape)
    return seen, xp.bincount(cells[Y == 1], minlength=shape[0] * shape[1]).reshape(shape)


def _tally(votes: sparse.csr_array, n_samples: Any, n_neighbors: int) -> np.ndarray:
    """Number of samples with each number of votes; those without an entry, of so many in all, have none."""
    shape = votes.shape[1], n_neighbors + 1
    cells = votes.indices.astype(np.int64) * shape[1] + votes.data
    tally = np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape)
    tally[:, 0] += n_samples - tally.sum(1)
    return tally


def lookup(tables: Sequence[Any], votes: Iterable[Any]) -> Any:
    """Mean of what tables of shape (n_labels, n_votes + 1) say of votes, one table for each.

    Returns
    -------
    ndarray, Tensor or Voted of shape (n_queries, n_labels)
    """
    labels = module_of(tables[0]).arange(len(tables[0]))
    total: Any = 0
    for table, of_queries in zip(tables, votes, strict=True):
        latest = of_queries
        if sparse.issparse(of_queries):  # the entries, and below them all labels without votes
            where = np.append(of_queries.indices, labels), np.append(of_queries.data, np.zeros_like(labels))
        else:
            where = labels, of_queries
        total = total + table[where]
    mean = total if len(tables) == 1 else total / len(tables)
    if not sparse.issparse(latest):
        return mean
    entries = sparse.csr_array((mean[: latest.nnz], latest.indices, latest.indptr), latest.shape)
    return Voted(entries, mean[latest.nnz :])


def most_probable(probabilities: Any, n_labels: int) -> sparse.csr_matrix:
    """The most probable labels of each sample, equal ones by their index, and none of probability 0.

    Parameters
    ----------
    probabilities : ndarray, csr_array or Voted of shape (n_samples, n_classes)
        Probabilities.
    n_labels : int
        Number of labels, at most n_classes.

    Returns
    -------
    csr_matrix of shape (n_samples, n_classes)
    """
    if isinstance(probabilities, np.ndarray):
        row_bytes = 24 * probabilities.shape[1]
        batches = gen_batches(len(probabilities), get_chunk_n_rows(row_bytes, max_n_rows=len(probabilities)))
        return whole([_most_of(probabilities[rows], n_labels) for rows in batches])
    voted = Voted.of(probabilities)
    n_samples, n_classes = voted.entries.shape
    # Of the other labels a sample may have entries among the first, so that as many more may be wanted.
    n_others = min(n_classes, n_labels + int(np.diff(voted.entries.indptr).max(initial=0)))
    others = np.argsort(-voted.others, kind="stable")[:n_others]
    rows, labels, values = voted.candidates(others[voted.others[others] > 0])
    order = np.lexsort((labels, -values, rows))
    order = order[values[order] > 0]
    counts = np.bincount(rows[order], minlength=n_samples)
    rank = np.arange(len(order)) - np.repeat(counts.cumsum() - counts, counts)
    chosen = order[rank < n_labels]
    return sparse.csr_matrix((values[chosen], (rows[chosen], labels[chosen])), voted.entries.shape)


def _most_of(P: np.ndarray, n_labels: int) -> sparse.csr_matrix:
    """The most probable labels of each row of a dense array."""
    first = P.shape[1] - n_labels
    least = np.partition(P, first, axis=1)[:, [first]]
    above, tied = least < P, least == P
    places = n_labels - above.sum(1, keepdims=True)
    chosen = (above | (tied & (tied.cumsum(1, dtype=np.int32) <= places))) & (P > 0)
    starts = np.append(0, chosen.sum(1).cumsum())
    return sparse.csr_matrix((P[chosen], chosen.nonzero()[1], starts), P.shape)


def probable(probabilities: Any) -> sparse.csr_matrix:
    """Indicator of the labels of probability 1/2 or more, of an ndarray, a csr_array or Voted."""
    least = 0.5 - ROUNDING
    if isinstance(probabilities, np.ndarray):
        rows, labels = (probabilities >= least).nonzero()
        shape = probabilities.shape
    else:
        voted = Voted.of(probabilities)
        rows, labels, values = voted.candidates((voted.others >= least).nonzero()[0])
        rows, labels, shape = rows[values >= least], labels[values >= least], voted.entries.shape
    return sparse.csr_matrix((np.ones(len(rows), dtype=np.int64), (rows, labels)), shape)


def dense(probabilities: Any) -> Any:
    """Array of all of some rows, sparse or Voted ones too; an array as it is."""
    if isinstance(probabilities, Voted):
        filled = np.tile(probabilities.others, (probabilities.entries.shape[0], 1))
        filled[probabilities.rows, probabilities.entries.indices] = probabilities.entries.data
        return filled
    return probabilities.toarray() if sparse.issparse(probabilities) else probabilities


def whole(blocks: Iterable[Any]) -> Any:
    """Rows of several blocks in one: a csr_matrix of sparse ones, an array of arrays, and one array as it is."""
    blocks = list(blocks)
    if sparse.issparse(blocks[0]):
        return sparse.csr_matrix(sparse.vstack(blocks))
    return blocks[0] if len(blocks) == 1 else module_of(blocks[0]).concatenate(blocks)
