"""Soft votes: every training sample votes, with a weight that falls with its distance.

The prediction for x is sum_j w_j y_j / sum_j w_j with w_j = p_j exp(-d_j^2 / (t s)), for sample weights p, a unit s and
a temperature t. Which temperature is best is told by the training samples, each predicted by all the others.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.utils import gen_batches

from skrelmetric._interop.arrays import as_host, module_of
from skrelmetric._interop.sklearn import get_chunk_n_rows
from skrelmetric._search.host import Found
from skrelmetric._search.neighbours import Neighbours
from skrelmetric._search.votes import dense, weighted_sum

__all__ = [
    "NEAR",
    "SoftVote",
    "are_distributions",
    "ballots",
    "cross_entropy",
    "deviations",
    "log_loss",
    "squared_error",
    "tuned",
]

NEAR = 10  # number of the neighbour whose squared distance is the unit
_MOST_WEIGHTS = 2**24  # of training samples that are predicted by the others, where there are not
_FEWEST_JUDGED = 512  # of these anyway
_MOST_RANKED = 256  # training samples whose neighbours are counted
_TEMPERATURES = np.array([[64.0], [64 / 2**0.5]]) / 2.0 ** np.arange(15)  # each row is halved from left to right
_DEARER = 32  # cost of finding a neighbour relative to that of weighing one of all training samples, about
_NEGLIGIBLE = 1e-6  # share of a vote that may be left out
_ROUNDING = 1e-6  # by which the sum of a distribution may miss 1
_BYTES_OF_SUMS = 64  # of an output of a sample, where sums of sparse ballots are judged or sorted
_FLOOR = 1e-6  # probability that stands for less, whose logarithm would be infinite


class SoftVote(NamedTuple):
    """Rule of a soft vote.

    Attributes
    ----------
    neighbours : Neighbours
        Training samples.
    ballots : ndarray, Tensor or csr_array of shape (n_train, n_outputs + 1)
        Targets times sample weights, and in the last column these, float64.
    local : bool
        Whether the unit of each sample is its own squared distance to the tenth neighbour, or the last of fewer.
    unit : float, default=1.0
        Median of these over the training samples.
    temperature : float, default=1.0
        Temperature.
    n_neighbors : int, default=1
        Number of neighbours that vote: what the others weigh together is nothing, or next to nothing.
    limited : bool, default=False
        Whether no more may vote, whatever they would weigh.
    """

    neighbours: Neighbours
    ballots: Any
    local: bool
    unit: float = 1.0
    temperature: float = 1.0
    n_neighbors: int = 1
    limited: bool = False

    def __call__(self, X: Any, device: Any) -> Any:
        """Predictions for queries, of shape (n_queries, n_outputs).

        Raises
        ------
        ValueError
            If a query has no neighbour.
        """
        return module_of(self.ballots).concatenate([self.ballots[:0, :-1], *self.blocks(X, device)])

    def blocks(self, X: Any, device: Any) -> Iterator[Any]:
        """Predictions for queries, in batches of these: of sparse ballots a csr_array, or an array where all vote.

        Raises
        ------
        ValueError
            If a query has no neighbour.
        """
        by_search = self.limited or _DEARER * self.n_asked < self.n_train
        answer = self._by_nearest if by_search else self._by_all
        if sparse.issparse(self.ballots):
            batches = self.batches(X.shape[0])
        else:
            row_bytes = 8 * self.n_asked * (self.ballots.shape[1] + 4) if by_search else 1
            batches = gen_batches(X.shape[0], get_chunk_n_rows(row_bytes, max_n_rows=X.shape[0])) if X.shape[0] else ()
        for rows in batches:
            yield answer(X[rows], device)

    def batches(self, n_samples: int) -> Iterator[slice]:
        """Batches of samples for which sums of all ballots fit into memory; dense ballots are as large themselves."""
        n_rows = n_samples
        if sparse.issparse(self.ballots):
            n_rows = get_chunk_n_rows(_BYTES_OF_SUMS * self.ballots.shape[1], max_n_rows=n_samples)
        yield from gen_batches(n_samples, n_rows) if n_samples else ()

    @property
    def n_train(self) -> int:
        """Number of training samples."""
        return self.ballots.shape[0]

    @property
    def sample_weight(self) -> Any:
        """Weights of the training samples, of shape (n_train,)."""
        return _last(self.ballots)

    @property
    def n_asked(self) -> int:
        """Number of neighbours to search, such that all who vote are among them, whatever weighs nothing."""
        return min(self.n_neighbors + int((self.sample_weight == 0).sum()), self.n_train)

    def shares(self, found: Found) -> Any:
        """Share of each neighbour in the vote of all that were found."""
        masses = self.weights(self.squares(found.distances, found.indices)) * self.sample_weight[found.indices]
        return masses / masses.sum(1)[:, None]

    def squares(self, D: Any, indices: Any = None) -> Any:
        """Squared distances, infinite to what may not vote.

        Raises
        ------
        ValueError
            If all in a row are infinite.
        """
        xp, counts = module_of(D), self.sample_weight > 0
        Q = xp.asarray(D, dtype=xp.float64)
        with np.errstate(over="ignore"):
            Q = Q if self.neighbours.squared else Q * Q
        if not counts.all():
            Q = xp.where(counts if indices is None else counts[indices], Q, xp.inf)
        if self.limited:
            Q = xp.where(_kth(Q, self.n_neighbors)[:, None] < Q, xp.inf, Q)
        if not xp.isfinite(xp.amin(Q, 1)).all():
            raise ValueError(
                "A sample has no neighbour at a finite distance and of positive weight. Add neighbours to the graph, "
                "or scale the features where they are too large to square."
            )
        return Q

    def exponents(self, Q: Any) -> Any:
        """Squared distances beyond the nearest one, in units."""
        xp, unit = module_of(Q), self.unit
        if self.local:
            own = _near(Q)[:, None]
            unit = xp.where(own > 0, own, unit)
        with np.errstate(over="ignore", under="ignore"):
            return (Q - xp.amin(Q, 1)[:, None]) / unit

    def weights(self, Q: Any) -> Any:
        """Weights at squared distances, 1 for the nearest, without sample weights."""
        with np.errstate(under="ignore"):
            return module_of(Q).exp(-self.exponents(Q) / self.temperature)

    def _by_nearest(self, X: Any, device: Any) -> Any:
        found = self.neighbours.nearest(X, self.n_asked, device)
        Q = self.squares(found.distances, found.indices)
        W = self.weights(Q)
        masses = weighted_sum(self.ballots, found.indices, W)
        predictions = _shared(masses)
        if not self.limited:  # each that was not found may weigh as much as the last that was
            xp, n_left = module_of(W), self.n_train - self.n_asked
            most = n_left * xp.amin(xp.where(xp.isfinite(Q), W, 1.0), 1) * self.sample_weight.max()
            is_open = most > _NEGLIGIBLE * _last(masses)
            (open_rows,) = xp.where(is_open)
            if len(open_rows) and sparse.issparse(predictions):
                rows = np.append((~is_open).nonzero()[0], open_rows)
                by_all = sparse.csr_array(self._by_all(X[open_rows], device))
                predictions = sparse.csr_array(sparse.vstack([predictions[~is_open], by_all]))[rows.argsort()]
            elif len(open_rows):
                predictions[open_rows] = self._by_all(X[open_rows], device)
        return predictions

    def _by_all(self, X: Any, device: Any) -> Any:
        blocks = [_shared(self.weights(self.squares(D)) @ self.ballots) for _, D in self.neighbours.blocks(X, device)]
        return module_of(self.ballots).concatenate(blocks)


def tuned(
    vote: SoftVote,
    Y: Any,
    loss: Callable[[Any, Any], Any],
    *,
    temperature: float | None,
    n_neighbors: int | None,
    device: Any,
) -> tuple[SoftVote, float]:
    """Soft vote at the temperature at which the others predict each training sample best, and the mean loss there.

    Parameters
    ----------
    vote : SoftVote
        Vote without unit and temperature.
    Y : ndarray, Tensor or csr_array of shape (n_train, n_outputs)
        Targets.
    loss : callable
        ``loss(Y, predictions)`` of each sample, of some of them as arrays.
    temperature : float or None
        The temperature, if it is not to be chosen.
    n_neighbors : int or None
        Most neighbours that may vote.
    device : str or torch.device
        Where to compute distances.

    Notes
    -----
    Leave-one-out is exact over all of up to 4096 training samples, each predicted by all others. Of more, so many at
    even distances are left out that the weights are as many (2^24), but 512 at least. Weights at half a temperature are
    squares of weights, so that a block of distances takes two exponentials, and for each temperature one product with
    the targets.
    """
    n_train, weights = vote.n_train, vote.sample_weight
    (counted,) = module_of(weights).where(weights > 0)
    judged = _spread(counted, max(_FEWEST_JUDGED, _MOST_WEIGHTS // n_train))
    if n_neighbors is not None:
        vote = vote._replace(n_neighbors=n_neighbors, limited=True)
    near = [(as_host(_near(Q)), as_host(_least_positive(Q))) for _, Q in _among_others(vote, judged, device)]
    vote = vote._replace(unit=_unit(*map(np.concatenate, zip(*near, strict=True))))

    temperatures = _TEMPERATURES if temperature is None else np.array([[temperature]])
    totals = np.zeros(temperatures.size)
    for rows, Q in _among_others(vote, judged, device):
        some = judged[rows]
        for step, predictions in enumerate(_cooled(vote.exponents(Q), vote.ballots, temperatures)):
            totals[step] += float(weights[some] @ loss(dense(Y[some]), predictions))
    best = int(totals.argmin())
    vote = vote._replace(temperature=float(temperatures.flat[best]))
    if n_neighbors is None:
        reach = _reach(vote, _among_others(vote, _spread(judged, _MOST_RANKED), device))
        vote = vote._replace(n_neighbors=reach)
    return vote, float(totals[best] / float(weights[judged].sum()))


def are_distributions(Y: Any) -> bool:
    """Whether the rows of targets are label distributions: at least 0, with sum 1."""
    values = Y.data if sparse.issparse(Y) else Y
    return Y.shape[1] > 1 and bool((values >= 0).all() and (abs(Y.sum(1) - 1) <= _ROUNDING).all())


def ballots(Y: Any, weights: Any) -> Any:
    """Targets times sample weights of shape (n_train, 1), and in the last column these; sparse if the targets are."""
    if sparse.issparse(Y):
        return sparse.csr_array(sparse.hstack([Y.multiply(weights), sparse.csr_array(weights)]))
    return module_of(Y).hstack([Y * weights, weights])


def deviations(Y: Any, shares: Any) -> Any:
    """Standard deviation of each output under shares of shape (n_samples, 1) that sum to 1, or 1 where it is 0."""
    xp = module_of(Y)
    if sparse.issparse(Y):
        mean, of_entries = Y.T @ shares[:, 0], np.repeat(shares[:, 0], np.diff(Y.indptr))
        largest = abs(mean)  # so that no square overflows
        np.maximum.at(largest, Y.indices, abs(Y.data - mean[Y.indices]))
        largest = np.where(largest > 0, largest, 1.0)
        squares = of_entries * ((Y.data - mean[Y.indices]) / largest[Y.indices]) ** 2
        without = 1 - np.bincount(Y.indices, of_entries, Y.shape[1])
        variance = np.bincount(Y.indices, squares, Y.shape[1]) + without.clip(min=0) * (mean / largest) ** 2
    else:
        centred = Y - (shares * Y).sum(0)
        largest = xp.amax(xp.abs(centred), 0)  # so that no square overflows
        largest = xp.where(largest > 0, largest, 1.0)
        variance = (shares * (centred / largest) ** 2).sum(0)
    deviations = largest * variance**0.5
    return xp.where(deviations > 0, deviations, 1.0)


def log_loss(Y: Any, P: Any) -> Any:
    """Mean over labels of the negative log likelihood of each sample."""
    xp = module_of(P)
    P = xp.clip(P, _FLOOR, 1 - _FLOOR)
    return -(Y * xp.log(P) + (1 - Y) * xp.log1p(-P)).mean(1)


def cross_entropy(Y: Any, P: Any) -> Any:
    """Cross entropy of each sample's distribution and its prediction: the divergence plus what is constant."""
    xp = module_of(P)
    return -(Y * xp.log(xp.clip(P, _FLOOR, None))).sum(1)


def squared_error(Y: Any, P: Any) -> Any:
    """Mean over outputs of the squared error of each sample."""
    return ((Y - P) ** 2).mean(1)


def _among_others(vote: SoftVote, some: Any, device: Any) -> Iterator[tuple[slice, Any]]:
    """Squared distances of some training samples to the others, infinite to those that may not vote."""
    for block, D in vote.neighbours.blocks(None, device, some):
        Q = vote.squares(D)
        for rows in vote.batches(len(Q)):
            yield slice(block.start + rows.start, block.start + rows.stop), Q[rows]


def _cooled(exponents: Any, ballots: Any, temperatures: np.ndarray) -> Iterator[Any]:
    """Predictions at each temperature."""
    with np.errstate(under="ignore"):
        for chain in temperatures:
            W = module_of(exponents).exp(-exponents / float(chain[0]))
            for _ in chain:
                yield _shared(W @ ballots)
                W = W * W


def _shared(masses: Any) -> Any:
    """Sums of ballots as shares in the sum of their weights."""
    if not sparse.issparse(masses):
        return masses[:, :-1] / masses[:, -1:]
    shares = masses[:, :-1]
    shares.data /= np.repeat(_last(masses), np.diff(shares.indptr))
    return shares


def _last(columns: Any) -> Any:
    """The last column, of one dimension."""
    return dense(columns[:, [-1]])[:, 0] if sparse.issparse(columns) else columns[:, -1]


def _reach(vote: SoftVote, blocks: Iterator[tuple[slice, Any]]) -> int:
    """Number of neighbours beyond which all others weigh next to nothing in the votes on some training samples."""
    reach, n_train, weights = NEAR if vote.local else 1, vote.n_train, vote.sample_weight
    n_left = int((weights > 0).sum()) - 1 - np.arange(n_train)
    for _, Q in blocks:
        W = vote.weights(Q)
        masses = as_host(W @ weights[:, None])
        beyond = n_left * np.sort(as_host(W), axis=1)[:, ::-1] * float(weights.max())
        reach = max(reach, 1 + int((beyond > _NEGLIGIBLE * masses).sum(1).max()))
    return min(reach, n_train)


def _spread(some: Any, most: int) -> Any:
    """At most so many of some samples, at even distances."""
    return some[:: -(-len(some) // most)]


def _unit(near: np.ndarray, least: np.ndarray) -> float:
    """Median of the positive squared distances to tenth neighbours, or to the nearest elsewhere, 1 without any."""
    for squares in (near, least):
        positive = squares[(squares > 0) & np.isfinite(squares)]
        if len(positive):
            return float(np.median(positive))
    return 1.0


def _near(Q: Any) -> Any:
    """The tenth least of each row, or the largest that is finite if there are fewer."""
    xp, tenth = module_of(Q), _kth(Q, NEAR)
    if xp.isfinite(tenth).all():
        return tenth
    return xp.where(xp.isfinite(tenth), tenth, xp.amax(xp.where(xp.isfinite(Q), Q, 0.0), 1))


def _least_positive(Q: Any) -> Any:
    xp = module_of(Q)
    return xp.amin(xp.where(Q > 0, Q, xp.inf), 1)


def _kth(Q: Any, k: int) -> Any:
    """The k-th least of each row, or the largest if there are fewer."""
    k = min(k, Q.shape[1])
    return np.partition(Q, k - 1, axis=1)[:, k - 1] if isinstance(Q, np.ndarray) else Q.kthvalue(k, 1).values
