"""Leave-one-out likelihood of soft votes: each sample is predicted by all the others, the nearer the more.

The prediction for sample i is sum_j w_ij y_j with w_ij proportional to p_j exp(-|z_i - z_j|^2), j != i, for sample
weights p. With the probability of the own class this is neighbourhood components analysis (NCA) [1]_, and of batches
ModernNCA [2]_; here targets may be of any kind.

References
----------
.. [1] J. Goldberger, S. Roweis, G. Hinton and R. Salakhutdinov, "Neighbourhood components analysis", NIPS 2004.
.. [2] H.-J. Ye, H.-H. Yin, D.-C. Zhan and W.-L. Chao, "Revisiting nearest neighbor for tabular data: a deep tabular
   baseline two decades later" (ModernNCA), arXiv 2407.03257.
"""

from typing import NamedTuple, Self

import torch
from torch import Tensor

from skrelmetric._data.targets import Targets
from skrelmetric._interop.torch import as_tensor
from skrelmetric._search.soft_vote import are_distributions
from skrelmetric.relations import relation_name

__all__ = ["Ballots", "Vote", "leave_one_out", "predicted", "vote_loss"]

_FLOOR = 1e-6  # share of a vote that is for every label and against it, so that logarithms are finite
_UNHEARD = 1e-100  # share below which voters whose label is known are too far to be heard among all
_TEMPERATURES = tuple(2.0**-k for k in range(-2, 13))  # in units of the mean squared distance
_MOST_WEIGHTS = 2**20  # from which a temperature is chosen
_FEWEST_JUDGED = 256  # of these anyway
_KINDS = {"hamming": "labels", "cosine": "labels", "discrete": "classes", "l1": "numbers"}


class Ballots(NamedTuple):
    """Targets as samples vote with them, and are judged by them.

    Attributes
    ----------
    kind : {"labels", "classes", "distributions", "numbers"}
        Kind of targets.
    values : Tensor of shape (n_samples, n_outputs)
        Targets in float64, 0 where they are missing; of classes the codes, one of its own for what is
        missing; numbers less their mean, in units of their standard deviation.
    known : Tensor of shape (n_samples, n_outputs) or None
        1 where a value is known, 0 where it is missing, float64; None where all are known.
    weights : Tensor of shape (n_samples,)
        Weights of the samples, above 0, float64.
    """

    kind: str
    values: Tensor
    known: Tensor | None
    weights: Tensor

    @classmethod
    def of(cls, targets: Targets, weights: Tensor) -> Self:
        """Ballots of targets, which are of the kind that relation="auto" takes them for."""
        kind, values = _KINDS[relation_name(targets)], targets.values
        values = values if isinstance(values, Tensor) else as_tensor(values.toarray())
        values = values.to(weights.device, torch.float64)
        known = None if targets.known is None else targets.known.to(weights.device)
        if kind == "classes":
            values = values if known is None else torch.where(known, values, values.min() - 1)
            values = values.unique(return_inverse=True)[1].to(torch.float64)
        elif kind == "numbers" and known is None and are_distributions(values):
            kind = "distributions"
        elif kind == "numbers":
            values = _standardised(values, weights, known)
        return cls(kind, values, None if known is None else known.to(torch.float64), weights)

    def at(self, index: Tensor | slice) -> Self:
        """Ballots of some samples."""
        known = None if self.known is None else self.known[index]
        return self._replace(values=self.values[index], known=known, weights=self.weights[index])


class Vote(NamedTuple):
    """Soft vote of some of the samples of a training.

    Attributes
    ----------
    factor : Tensor of shape (n_components, width)
        Map from features to an embedding whose squared distances are in units of the temperature.
    ballots : Ballots
        Of all samples.
    places : Tensor of shape (n_voters,)
        Places of those that vote and are judged.
    """

    factor: Tensor
    ballots: Ballots
    places: Tensor

    @classmethod
    def tuned(cls, features: Tensor, factor: Tensor, ballots: Ballots, places: Tensor, size: int) -> Self:
        """Vote at the temperature, of some, at which those at some places are predicted best by so many of them.

        That is solved for, as an exact head is: a scale that gradients learn would take hundreds of steps for a factor
        of two, features of unit norm have none, and the best one depends on the number of voters.
        """
        voters = places[_spread(len(places), size, places.device)]
        some = _spread(len(voters), max(_FEWEST_JUDGED, _MOST_WEIGHTS // len(voters)), places.device)
        Z, voting = features[voters].to(torch.float64) @ factor.T, ballots.at(voters)
        D = squares(Z[some], Z)
        unit = float(D.mean()) or 1.0
        D[torch.arange(len(some), device=D.device), some] = torch.inf
        losses = [float(vote_loss(D / (t * unit), voting.at(some), voting)) for t in _TEMPERATURES]
        best = _TEMPERATURES[losses.index(min(losses))]
        return cls(factor / (best * unit) ** 0.5, ballots, places)

    def loss(self, features: Tensor, places: Tensor) -> Tensor:
        """Loss of samples, by their features and places, each predicted by the others of them."""
        return leave_one_out(features.to(torch.float64) @ self.factor.T, self.ballots.at(places))


def squares(Z: Tensor, others: Tensor) -> Tensor:
    """Squared distances, of shape (n_samples, n_others)."""
    mean = others.detach().mean(0)
    Z, others = Z - mean, others - mean
    return (Z.square().sum(1)[:, None] + others.square().sum(1) - 2 * Z @ others.T).clamp(min=0)


def leave_one_out(Z: Tensor, ballots: Ballots) -> Tensor:
    """Mean loss of samples, at least two, each predicted by all the others.

    Parameters
    ----------
    Z : Tensor of shape (n_samples, n_components)
        Embeddings, whose squared distances are in units of the temperature.
    ballots : Ballots
        Of these samples.

    Returns
    -------
    Tensor
        Scalar, as :func:`vote_loss` has it.
    """
    own = torch.eye(len(Z), dtype=torch.bool, device=Z.device)
    return vote_loss(squares(Z, Z).masked_fill(own, torch.inf), ballots, ballots)


def vote_loss(D: Tensor, judged: Ballots, voters: Ballots) -> Tensor:
    """Weighted mean loss of samples that others predict.

    It is the negative log likelihood of a label, for label sets, or of a class; the cross entropy of distributions; the
    squared error of a number in units of the variance of its output. What is missing does not count, nor what no voter
    within reach knows.

    Parameters
    ----------
    D : Tensor of shape (n_judged, n_voters)
        Squared distances in units of the temperature, infinite to who has no vote.
    judged, voters : Ballots
        Of those who are predicted, and of those who predict.

    Returns
    -------
    Tensor
        Scalar, 0 if nothing counts.
    """
    P, heard = predicted(D, judged, voters)
    losses = _LOSSES[judged.kind](judged.values, P)
    counts = judged.weights[:, None].expand_as(losses)
    for mask in (judged.known, heard):
        counts = counts if mask is None else counts * mask
    total = counts.sum()
    return (counts * losses).sum() / torch.where(total > 0, total, 1.0)


def predicted(D: Tensor, judged: Ballots, voters: Ballots) -> tuple[Tensor, Tensor | None]:
    """Predictions, of shape (n_judged, n_outputs), and mask of those that there are; None where all are.

    Of classes it is the probability of the own class. Squared distances as for :func:`vote_loss`.
    """
    W = (voters.weights.log() - D).softmax(1)
    if judged.kind == "classes":
        columns = zip(judged.values.T, voters.values.T, strict=True)
        votes = torch.stack([(W * (own[:, None] == others)).sum(1) for own, others in columns], 1)
    else:
        votes = W @ voters.values
    if voters.known is None:
        return votes, None
    shares = W @ voters.known
    heard = shares > _UNHEARD
    return votes / torch.where(heard, shares, 1.0), heard


def _log_loss(Y: Tensor, P: Tensor) -> Tensor:
    return -Y * _floored(P).log() - (1 - Y) * _floored(1 - P).log()


def _class_loss(codes: Tensor, P: Tensor) -> Tensor:
    return -_floored(P).log()


def _cross_entropy(Y: Tensor, P: Tensor) -> Tensor:
    return -(Y * _floored(P).log()).sum(1, keepdim=True)


def _squared_error(Y: Tensor, P: Tensor) -> Tensor:
    return (Y - P).square()


_LOSSES = {
    "labels": _log_loss,
    "classes": _class_loss,
    "distributions": _cross_entropy,
    "numbers": _squared_error,
}


def _floored(P: Tensor) -> Tensor:
    """Probabilities of which a small share is for everything."""
    return _FLOOR + (1 - 2 * _FLOOR) * P


def _standardised(values: Tensor, weights: Tensor, known: Tensor | None) -> Tensor:
    """Known numbers less the mean of their output, in units of its standard deviation; 0 for the others."""
    counts = weights[:, None] if known is None else weights[:, None] * known
    total = counts.expand_as(values).sum(0)
    deviations = values - (counts * values).sum(0) / total.clamp(min=torch.finfo(total.dtype).tiny)
    if known is not None:
        deviations = deviations * known
    variances = (counts * deviations.square()).sum(0) / total.clamp(min=torch.finfo(total.dtype).tiny)
    return deviations / torch.where(variances > 0, variances, 1.0).sqrt()


def _spread(n: int, most: int, device: torch.device) -> Tensor:
    """At most so many of some places, at even distances."""
    most = min(n, most)
    return torch.arange(most, device=device) * n // most
