"""Retrieval on tensors, where they live: where the samples of a query's own class come in its ranking.

No ranking is sorted out in full. Of a query with R samples of its class, only the R nearest others matter to the
precision at R and the average precision there, and a count of the others before its nearest one to the recall.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from skrelmetric._sklearn import get_chunk_n_rows

__all__ = ["Retrieved", "retrieve"]


class Retrieved(NamedTuple):
    """What each query retrieves; all are tensors of shape (n_queries,). A query without positives has 0 in all."""

    n_positives: Tensor  # number R of references of its class
    first: Tensor  # rank of the nearest of them, from 1
    r_precision: Tensor  # share of them among the R nearest references
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
    centre = found.median(0).values
    x, y = queries[order] - centre, found[found_order] - centre
    x_squares, y_squares = x.square().sum(1), y.square().sum(1)

    labels, counts = classes.unique_consecutive(return_counts=True)
    ends = counts.cumsum(0)
    starts = (ends - counts).tolist()
    first_positives = torch.searchsorted(found_classes, labels).tolist()
    last_positives = torch.searchsorted(found_classes, labels, right=True).tolist()
    pieces = list(zip(starts, ends.tolist(), first_positives, last_positives, strict=True))

    ranks = torch.zeros(2, len(x), dtype=torch.int64, device=x.device)
    scores = torch.zeros(2, len(x), dtype=x.dtype, device=x.device)
    step = get_chunk_n_rows(4 * x.element_size() * len(y), max_n_rows=max(1, len(x)))
    piece = 0
    for start in range(0, len(x), step):
        stop = min(start + step, len(x))
        D = torch.addmm(y_squares, x[start:stop], y.T, alpha=-2)  # (stop - start, n_references)
        D.add_(x_squares[start:stop, None]).clamp_(min=0)
        if leave_one_out:
            D.diagonal(start).fill_(torch.inf)
        while piece < len(pieces) and pieces[piece][0] < stop:
            begin, end, a, b = pieces[piece]
            rows = slice(max(begin, start), min(end, stop))
            n_positives = b - a - leave_one_out
            if n_positives:
                own = D[rows.start - start : rows.stop - start]
                first, precision, average = _piece(own, a, b, n_positives, x_squares[rows, None], x.shape[1])
                ranks[0, rows], ranks[1, rows] = n_positives, first
                scores[0, rows], scores[1, rows] = precision, average
            if end > stop:
                break
            piece += 1
    back = order.argsort()
    return Retrieved(*ranks[:, back], *scores[:, back])


def _piece(D: Tensor, a: int, b: int, n_positives: int, squares: Tensor, n_features: int):
    """First rank, precision at R and average precision at R of queries of one class; overwrites their `D`."""
    positives = D[:, a:b].sort(1).values[:, :n_positives]  # a query's own distance is infinite and last
    D[:, a:b] = torch.inf
    n_kept = min(n_positives, D.shape[1] - (b - a))
    negatives = D.topk(n_kept, largest=False).values
    limits = positives + _rounding(squares, positives, n_features)
    before = torch.searchsorted(negatives, limits, right=True)  # (n_queries, R), no more than n_kept
    nth = torch.arange(1, n_positives + 1, device=D.device)
    hits = nth + before <= n_positives
    precisions = torch.where(hits, nth.to(D.dtype) / (nth + before), 0)
    return 1 + torch.count_nonzero(limits[:, :1] >= D, 1), hits.to(D.dtype).mean(1), precisions.mean(1)


def _rounding(squares: Tensor, D: Tensor, n_features: int) -> Tensor:
    """Difference that rounding makes between equal distances.

    It is that of random errors, which grow with the root of n_features. The bound that no errors exceed would be
    wide enough in single precision to call many ranks of different distances ties, and so to lower every score.
    """
    eps = torch.finfo(D.dtype).eps  # a sample at squared distance d^2 from x has |y|^2 <= 2 |x|^2 + 2 d^2
    return (8 + n_features**0.5) * eps * (squares + D)
