"""Retrieval on tensors, where they live: where the samples of a query's own class come in its ranking.

No ranking is sorted out in full. Of a query with R samples of its class, only the R nearest others matter to the
precision at R and the average precision there, and a count of the others before its nearest one to the recall.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from skrelmetric._interop.sklearn import get_chunk_n_rows

__all__ = ["Retrieved", "retrieve"]

_MAX_ROWS = 512  # queries of a block, whose distances should still be near when they are read again
_N_CENTRED = 1000  # references that tell where the centre is


class Retrieved(NamedTuple):
    """Results of each query; all are tensors of shape (n_queries,). A query without positives has 0 in all."""

    n_positives: Tensor  # number R of references of its class
    first: Tensor  # rank of the nearest of them, from 1
    r_precision: Tensor  # fraction of them among the R nearest references
    average_precision: Tensor  # mean over ranks up to R of the precision at the rank, where that is a positive's


def retrieve(queries: Tensor, classes: Tensor, references: tuple[Tensor, Tensor] | None = None) -> Retrieved:
    """Rank the references of each query by Euclidean distance and look where those of its class are.

    Distances that differ by no more than rounding are ties, and references of other classes come first among them.

    Parameters
    ----------
    queries : Tensor of shape (n_queries, n_features)
        Embedded queries.
    classes : Tensor of shape (n_queries,)
        Class of each query, an integer.
    references : (Tensor of shape (n_references, n_features), Tensor of shape (n_references,)), default=None
        Embedded references and their classes. None searches each query among all the others.

    Returns
    -------
    Retrieved
        Results in the order of the queries.

    Notes
    -----
    One product of (n_queries, n_features) and (n_features, n_references), in blocks of queries whose distances fit
    into scikit-learn's ``working_memory``, and O(n_references) for each query.
    """
    leave_one_out = references is None
    found, found_classes = (queries, classes) if references is None else references
    # By class, the queries and the references of one class are both in one piece.
    order, found_order = classes.argsort(stable=True), found_classes.argsort(stable=True)
    classes, found_classes = classes[order], found_classes[found_order]
    # A centre amid the references keeps digits that the expanded form of |x - y|^2 would lose.
    centre = found[:: 1 + len(found) // _N_CENTRED].median(0).values
    x, y = queries[order] - centre, found[found_order] - centre
    x_squares, y_squares = x.square().sum(1), y.square().sum(1)
    y *= -2

    labels, counts = classes.unique_consecutive(return_counts=True)
    ends = counts.cumsum(0)
    starts = (ends - counts).tolist()
    first_positives = torch.searchsorted(found_classes, labels).tolist()
    last_positives = torch.searchsorted(found_classes, labels, right=True).tolist()
    pieces = list(zip(starts, ends.tolist(), first_positives, last_positives, strict=True))
    n_positives = torch.tensor([b - a - leave_one_out for _, _, a, b in pieces], dtype=torch.int64, device=x.device)
    n_positives = n_positives.repeat_interleave(counts)

    blocks = []
    step = get_chunk_n_rows(4 * x.element_size() * len(y), max_n_rows=_MAX_ROWS)
    piece = 0
    for start in range(0, len(x), step):
        stop = min(start + step, len(x))
        D = (x[start:stop] @ y.T).add_(y_squares)  # (stop - start, n_references): |y|^2 - 2 x'y ranks as |x - y|^2 does
        if leave_one_out:
            D.diagonal(start).fill_(torch.inf)
        inside = []
        while piece < len(pieces) and pieces[piece][0] < stop:
            begin, end, a, b = pieces[piece]
            inside.append((slice(max(begin, start) - start, min(end, stop) - start), a, b))
            if end > stop:
                break
            piece += 1
        positives = D.new_full((len(D), max(b - a for _, a, b in inside)), torch.inf)
        for rows, a, b in inside:
            positives[rows, : b - a] = D[rows, a:b]
            D[rows, a:b] = torch.inf
        blocks.append(_ranked(positives, D, n_positives[start:stop, None], x_squares[start:stop, None], x.shape[1]))
    found = (torch.cat(results) for results in zip(*blocks, strict=True)) if blocks else (x_squares.new_zeros(0),) * 3
    back = order.argsort()
    return Retrieved(*(each[back] for each in (n_positives, *found)))


def _ranked(positives: Tensor, negatives: Tensor, n_positives: Tensor, squares: Tensor, n_features: int):
    """First rank, precision at R and average precision at R of queries; overwrites the distances.

    Those are squared, without the queries' own `squares`, and infinite in columns that do not count.
    """
    most = int(n_positives.max())
    positives = positives.sort(1).values[:, :most]
    limits = positives + _rounding(squares, (positives + squares).clamp(min=0), n_features)
    before = torch.searchsorted(_smallest(negatives, most), limits, right=True)  # (n_queries, most), up to `most`
    nth = torch.arange(1, most + 1, device=positives.device)
    hits = nth + before <= n_positives
    precisions = torch.where(hits, nth.to(positives.dtype) / (nth + before), 0)
    first = torch.zeros_like(n_positives[:, 0])
    if most:
        nearer = before[:, 0]
        uncounted = (nearer == most).nonzero()[:, 0]  # negatives beyond those that were sorted are nearer as well
        nearer[uncounted] = torch.count_nonzero(limits[uncounted, :1] >= negatives[uncounted], 1)
        first = torch.where(n_positives[:, 0] > 0, 1 + nearer, 0)
    counts = n_positives[:, 0].clamp(min=1)
    return first, hits.sum(1) / counts.to(positives.dtype), precisions.sum(1) / counts


def _smallest(D: Tensor, k: int) -> Tensor:
    """The k least of each row, ascending; may put the rows of `D` in another order.

    numpy partitions a row in a third of the time that torch takes to find its least, and several rows at once.
    """
    if D.device.type != "cpu" or k in (0, D.shape[1]):
        return D.topk(k, largest=False).values
    n_threads = torch.get_num_threads()
    pieces = [piece for piece in np.array_split(D.numpy(), n_threads) if len(piece)]
    if len(pieces) == 1:
        pieces[0].partition(k - 1, axis=1)
    else:
        with ThreadPoolExecutor(len(pieces)) as threads:
            list(threads.map(lambda piece: piece.partition(k - 1, axis=1), pieces))
    return D[:, :k].sort(1).values


def _rounding(squares: Tensor, D: Tensor, n_features: int) -> Tensor:
    """Difference that rounding makes between equal distances.

    It is that of random errors, which grow with the root of n_features. The bound that no errors exceed would be
    wide enough in single precision to call many ranks of different distances ties, and so to lower every score.
    """
    eps = torch.finfo(D.dtype).eps  # a sample at squared distance d^2 from x has |y|^2 <= 2 |x|^2 + 2 d^2
    return (8 + n_features**0.5) * eps * (squares + D)
