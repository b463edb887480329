"""Heads, which turn features into an embedding whose squared distances are aligned with a relation."""

from abc import ABC, abstractmethod

import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor, nn

from skrelmetric._alignment.loss import PairLoss
from skrelmetric._alignment.problem import Problem
from skrelmetric._alignment.ridge import ridge
from skrelmetric._interop.sklearn import warn_caller
from skrelmetric.mahalanobis import psd_factor, with_positive_sign

__all__ = ["Head", "LinearHead", "RidgeHead", "warn_of"]

_MAX_ITER, _TOL = 1000, 1e-4

_PENALTY = 5.0  # of the regression whose predictions have a part in the embedding, in units of the mean variance


class Head(nn.Module, ABC):
    """Distance of features, (z - z')' M (z - z') + offset.

    Attributes
    ----------
    M : Tensor of shape (width, width)
        Symmetric matrix of the distance, float64.
    offset : Tensor
        Offset between distance and relation, a scalar.
    exact : bool
        Whether `solve` finds the best distance; otherwise it is fixed, or learned by gradients.
    """

    exact = False
    M: Tensor
    offset: Tensor

    def solve(self, problem: Problem) -> None:
        """Take the best distance of the features of a problem, where there is an exact one."""

    def backward(self, loss: PairLoss) -> None:
        """Take the gradient of what is learned by gradients from a loss over all pairs."""

    def average(self, other: "Head", fraction: float) -> None:
        """Take a mean with another head that counts for a fraction of it, where both were solved for."""

    def penalty(self, variance: float) -> tuple[float, float]:
        """Penalty of the matrix in the loss of features of a total variance, and its pull at them.

        The derivative by the features of sample i is the pull times p_i times their deviation from the mean.
        """
        return 0.0, 0.0

    @abstractmethod
    def factor(self, n_components: int | None) -> Tensor:
        """Factor L of the metric L' L that the embedding has, of shape (n_components, width), float64.

        None keeps every direction in which the metric is positive, at least one.
        """

    def layer(self, n_components: int | None, dtype: torch.dtype) -> nn.Linear:
        """Embedding of features."""
        weight = self.factor(n_components)
        shape = weight.shape[1], weight.shape[0]
        layer = nn.utils.skip_init(nn.Linear, *shape, bias=False, device=weight.device, dtype=dtype)
        with torch.no_grad():
            layer.weight.copy_(weight)
        return layer


class RidgeHead(Head):
    """Exact solution of the alignment as the last layer: variable projection.

    For given features the best symmetric M and offset are those of :func:`skrelmetric._alignment.ridge.ridge`, over all
    pairs. By the envelope theorem the gradient of the loss by the features is that at fixed M and offset, so
    features are trained under signed distances; the embedding takes the positive semi-definite part of M, and the
    distance of predictions (see :meth:`~skrelmetric._alignment.ridge.AlignedMetric.with_predictions`).

    Parameters
    ----------
    alpha : float
        Weight of the penalty alpha/2 |M|^2, for features in units of their root mean variance, at least 0.
    prediction_weight : float, default=0.0
        Share of ridge-regression predictions in the squared distances of the embedding, in [0, 1].

    Attributes
    ----------
    M : Tensor of shape (width, width)
        Matrix of the distance, float64.
    metric : Tensor of shape (width, width)
        Matrix of the distances of the embedding, positive semi-definite, float64.
    offset : Tensor
        Offset between distance and relation, a scalar.
    residual : float
        Relative residual at which the solver stopped.
    """

    exact = True

    def __init__(self, alpha: float, prediction_weight: float = 0.0):
        super().__init__()
        self.alpha, self.prediction_weight = alpha, prediction_weight

    def solve(self, problem: Problem) -> None:
        aligned = ridge(problem, self.alpha, max_iter=_MAX_ITER, tol=_TOL)
        coordinates = aligned.coordinates
        axes = coordinates.in_features(torch.eye(len(aligned.M), dtype=torch.float64, device=problem.mean.device))
        self.M = axes.T @ aligned.M @ axes
        self.metric = axes.T @ aligned.with_predictions(self.prediction_weight, _PENALTY) @ axes
        self.offset, self.residual = aligned.offset, aligned.residual
        self._penalty = self.alpha / 2 * float(aligned.M.square().sum())
        self._variance = coordinates.scale**2 * float(coordinates.variances.sum())

    def average(self, other: Head, fraction: float) -> None:
        if not isinstance(other, RidgeHead) or not fraction:
            return
        self.M = fraction * other.M + (1 - fraction) * self.M
        self.metric = fraction * other.metric + (1 - fraction) * self.metric
        self.offset = fraction * other.offset + (1 - fraction) * self.offset

    @property
    def converged(self) -> bool:
        """Whether the solver reached its tolerance."""
        return self.residual <= _TOL

    def penalty(self, variance: float) -> tuple[float, float]:
        # The penalty holds M in units of the mean variance of the features, and so grows with the square of that.
        if not self._variance:
            return 0.0, 0.0
        ratio = variance / self._variance
        return self._penalty * ratio**2, 4 * self._penalty * ratio / self._variance

    def factor(self, n_components: int | None) -> Tensor:
        strongest = with_positive_sign(psd_factor(self.metric)[:n_components])
        factor = self.M.new_zeros((n_components or max(1, len(strongest)), len(self.M)))  # zeros beyond the rank
        factor[: len(strongest)] = strongest
        return factor


class LinearHead(Head):
    """Squared distances of the features themselves, as HRAML has them, or a multiple of them plus an offset.

    Parameters
    ----------
    width : int
        Number of features.
    learn_scale : bool
        Whether a scale and an offset between distance and relation are learned; otherwise they are 1 and 0.
    device : torch.device
        Where to compute.
    dtype : torch.dtype
        Dtype of what is learned, that of the encoder: L-BFGS keeps all in one.
    """

    def __init__(self, width: int, learn_scale: bool, device: torch.device, dtype: torch.dtype = torch.float64):
        super().__init__()
        self.learn_scale = learn_scale
        self._identity: Tensor
        self.register_buffer("_identity", torch.eye(width, dtype=torch.float64, device=device), persistent=False)
        self.log_scale = nn.Parameter(torch.zeros((), dtype=dtype, device=device), requires_grad=learn_scale)
        self.shift = nn.Parameter(torch.zeros((), dtype=dtype, device=device), requires_grad=learn_scale)

    @property
    def M(self) -> Tensor:  # type: ignore[override]
        return self.log_scale.to(torch.float64).exp() * self._identity

    @property
    def offset(self) -> Tensor:  # type: ignore[override]
        return self.shift.to(torch.float64)

    def backward(self, loss: PairLoss) -> None:
        if self.learn_scale:
            self.log_scale.grad = torch.full_like(self.log_scale, loss.by_scale)
            self.shift.grad = torch.full_like(self.shift, loss.by_offset)

    def factor(self, n_components: int | None) -> Tensor:
        return (self.log_scale.detach().to(torch.float64) / 2).exp() * self._identity


def warn_of(head: Head) -> None:
    """Warn of an exact head that did not converge, or of which nothing is left."""
    if not isinstance(head, RidgeHead):
        return
    if not head.converged:
        residual = f"{head.residual:.1e}"
        warn_caller(f"The ridge head stopped at a relative residual of {residual}. Raise alpha.", ConvergenceWarning)
    if not head.factor(1).any():
        warn_caller(
            "The learned metric is 0: no direction of the features goes along with differences of the targets. "
            "All distances will be 0.",
            UserWarning,
        )
