"""Encoders: nonlinear features of samples, as torch modules that are built for the samples at hand.

An encoder is trained, or left as it is built: the exact ridge head on top of well-chosen features needs no
gradient. `Laplacian` and `Tanh` choose their features from the samples; `MLP` draws them at random, as HRAML does.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from numbers import Integral, Real
from typing import Protocol
from warnings import catch_warnings

import numpy as np
import torch
from torch import Generator, Tensor, nn

from skrelmetric._interop.randomness import Dropout
from skrelmetric._interop.torch import largest_eigenpairs

__all__ = ["MLP", "Laplacian", "Tanh"]

with suppress(ImportError), catch_warnings():  # torch would load it in the middle of a fit, and it sets a filter
    import_module("sympy")


class _GELU(nn.GELU):
    """x Phi(x); in exported graphs of double precision, for which runtimes have no erf, Phi is a quadrature.

    Phi(x) is 1/2 + x / sqrt(2 pi) times the mean of exp(-(t x)^2 / 2) over t in [0, 1]; 24 nodes make it exact.
    """

    def forward(self, X: Tensor) -> Tensor:
        if X.dtype != torch.float64 or not torch.compiler.is_exporting():
            return super().forward(X)
        nodes, weights = np.polynomial.legendre.leggauss(24)  # on [-1, 1]
        # Graphs keep numbers in single precision, unless they are in tensors.
        nodes, weights = X.new_tensor((nodes + 1) / 8**0.5), X.new_tensor(weights / (8 * np.pi) ** 0.5)
        x = X.clamp(-8.5, 8.5)  # beyond which Phi is 0 or 1 but for rounding
        return X * (0.5 + x * ((-(x[..., None] * nodes).square()).exp() @ weights))


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "gelu": _GELU,
    "logistic": nn.Sigmoid,
    "identity": nn.Identity,
}

_N_QUANTILES = 5

_ROUNDING = 16 * torch.finfo(torch.float64).eps  # of an entry of a matrix of second moments

# Features whose absolute differences are added at once where an exported graph has no operator for the l1 distance.
_EXPORTED_BLOCK = 16

# Distances from so many landmarks are products of matrices, and their features in single precision, where that rounds
# away no more than this part of the mean distance: the choice of the landmarks makes more of a difference.
_MANY_LANDMARKS, _LOST = 2000, 1e-5

# Knots cut a feature into bins of about as many values each: the more features, the fewer bins are enough.
_BINS_OF_ALL, _FEWEST_BINS = 320, 4


class EncoderSpec(Protocol):
    """Specification of an encoder, which builds it; pass your own to choose features by the samples."""

    def build(self, X: Tensor, weights: Tensor, generator: Generator) -> nn.Module:
        """Encoder for samples like these.

        Parameters
        ----------
        X : Tensor of shape (n_samples, n_features)
            All samples, or some thousand of many.
        weights : Tensor of shape (n_samples,)
            Their weights, of sum 1.
        generator : torch.Generator
            Source of randomness, on the CPU. What layers of torch draw, which take none, goes by its seed.

        Returns
        -------
        torch.nn.Module
            Maps samples of shape (n, n_features) to features of shape (n, width), in the dtype of its parameters.
        """
        ...


@dataclass(frozen=True)
class Laplacian:
    """Principal features of the Laplacian kernel, ``exp(-gamma |x - x'|_1 / s)``, ``s`` the mean of ``|x - x'|_1``.

    Parameters
    ----------
    width : int, default=256
        Number of features, at least 1; fewer where the samples have fewer directions.
    gamma : float, default=0.5
        Decay of the kernel in units of the mean distance of two samples, above 0.

    Notes
    -----
    The features are those of kernel principal component analysis: inner products of full width equal the centred
    kernel among the landmarks, which are all samples of a small set and two thousand of a large one (the Nystrom
    method). Near a sample the kernel falls linearly in each feature, which suits features of many scales and with
    outliers.

    Distances from fewer than 2,000 landmarks are exact. From as many they are interpolated: knots cut each feature into
    at least four bins, and 320 over the number of features, with about as many values in each, and the distance in a
    feature is exact unless both samples are between the same two knots; few values, 0 and 1 say, are all knots. Such
    distances are products of matrices, features of new samples then cost 2 n m (320 + width) operations or somewhat
    more for m landmarks, and all that is in single precision, unless this rounds away what samples differ in.

    Trained, landmarks, the bandwidth of each feature and the projection are free.

    Examples
    --------
    >>> from skrelmetric.encoders import Laplacian
    >>> Laplacian(gamma=1.0)
    Laplacian(width=256, gamma=1.0)
    """

    width: int = 256
    gamma: float = 0.5

    def build(self, X: Tensor, weights: Tensor, generator: Generator) -> nn.Module:
        """Encoder with the samples for landmarks.

        Parameters
        ----------
        X : Tensor of shape (n_samples, n_features)
            Landmarks.
        weights : Tensor of shape (n_samples,)
            Their weights, of sum 1.
        generator : torch.Generator
            Not used: nothing is drawn.

        Returns
        -------
        torch.nn.Module

        Raises
        ------
        ValueError
            If `width` or `gamma` is not positive.
        """
        _check_positive(self, "width", "gamma")
        many = len(X) >= _MANY_LANDMARKS
        kernel = _BinnedLaplacianKernel(X) if many else _LaplacianKernel(X)
        with torch.no_grad():
            distances = kernel.distances(X).to(torch.float64)
            mean_distance = float(weights @ distances @ weights)
            rate = self.gamma / mean_distance if mean_distance > 0 else 1.0
            kernel.rates.fill_(rate)
        values = (-rate * distances).exp()
        mean = values @ weights
        centred = values - mean - mean[:, None] + weights @ mean
        root = weights.sqrt()
        rounding = max(torch.finfo(X.dtype).eps, _ROUNDING)
        variances, directions = _largest(root[:, None] * centred * root, self.width, rounding)
        # Axes are combinations of the landmarks' features of sum 0, which leaves out what centring adds to all alike.
        axes = (root[:, None] * directions / variances.sqrt()).T
        varies = variances[0] > len(X) * rounding  # else the kernel is 1 everywhere, and what is left of it is rounding
        axes = axes * _outward(centred @ axes.T)[:, None] * varies
        lost = (X.to(torch.float32) - X).abs().sum(1).to(torch.float64)
        single = (
            many
            and weights @ lost <= _LOST * mean_distance
            and variances[-1] > len(X) * torch.finfo(torch.float32).eps * variances[0]
        )
        dtype = torch.float32 if single else X.dtype
        return nn.Sequential(kernel.to(dtype), _affine(axes, -(axes @ mean), dtype))


class _LaplacianKernel(nn.Module):
    """exp(-sum_k rate_k |x_k - landmark_k|) for each landmark."""

    def __init__(self, landmarks: Tensor):
        super().__init__()
        self.landmarks = nn.Parameter(landmarks.clone())
        self.rates = nn.Parameter(torch.ones_like(landmarks[0]))

    def forward(self, X: Tensor) -> Tensor:
        return (-self.distances(X)).exp()

    def distances(self, X: Tensor) -> Tensor:
        """Distances of samples from each landmark, of shape (n_samples, n_landmarks)."""
        x, landmarks = X * self.rates, self.landmarks * self.rates
        if not torch.compiler.is_exporting():
            return torch.cdist(x, landmarks, p=1)
        blocks = zip(x.split(_EXPORTED_BLOCK, 1), landmarks.split(_EXPORTED_BLOCK, 1), strict=True)
        return torch.stack([(a[:, None] - b).abs().sum(-1) for a, b in blocks]).sum(0)


class _BinnedLaplacianKernel(_LaplacianKernel):
    """The same with distances by one matrix product, interpolated between knots.

    |x - l| is |x - c| + |l - c| less twice what the ways from a centre c to x and to l have in common. Knots, of which
    c is one, cut the axis of a feature into bins. Of a bin of width w each way goes through some length, u and v, and
    what they have in common is u v / w, unless both end in that bin. There this is linear interpolation between knots,
    and the distance comes out too large by up to half a bin.
    """

    centre: Tensor  # of each feature
    feature: Tensor  # of each bin
    bins: Tensor  # low and high ends less the centre

    def __init__(self, landmarks: Tensor):
        super().__init__(landmarks)
        knots = _knots(landmarks, max(_FEWEST_BINS, -(-_BINS_OF_ALL // landmarks.shape[1])))
        middle = (knots - landmarks.median(0).values).abs().argmin(0, keepdim=True)
        self.register_buffer("centre", knots.gather(0, middle)[0])
        lows, highs = (knots - self.centre).T.unfold(1, 2, 1).unbind(-1)
        self.register_buffer("feature", (lows < highs).nonzero()[:, 0])
        self.register_buffer("bins", torch.stack([lows, highs])[:, lows < highs])

    def forward(self, X: Tensor) -> Tensor:
        return self.distances(X).neg_().exp_()

    def distances(self, X: Tensor) -> Tensor:
        rates, (low, high) = self.rates.abs(), self.bins
        (x, parts), (landmarks, parts_of_landmarks) = self._ways(X.to(rates.dtype)), self._ways(self.landmarks)
        # Knots that rounding tells apart in double precision may be one in single: nothing is in a bin without width.
        widths = (high - low).clamp(min=torch.finfo(low.dtype).tiny)
        shared = parts_of_landmarks.div_(widths).mul_(rates[self.feature]).T
        return torch.addmm(landmarks @ rates, parts, shared, alpha=-2).add_((x @ rates)[:, None])

    def _ways(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Lengths of the ways from the centre along each feature, and their parts in each bin, negative below it."""
        low, high = self.bins
        x = X - self.centre
        return x.abs(), x[:, self.feature].clamp_(low, high).sub_(torch.where(low < 0, high, low))


def _knots(X: Tensor, n_bins: int) -> Tensor:
    """Evenly spaced quantiles of the distinct values of each feature, of shape (n_bins + 1, n_features)."""
    values = X.sort(0).values
    repeated = torch.zeros_like(values, dtype=torch.bool)
    repeated[1:] = values[1:] == values[:-1]
    distinct = values.masked_fill(repeated, torch.inf).sort(0).values
    last = (~repeated).sum(0) - 1
    levels = torch.arange(n_bins + 1, device=X.device)[:, None]
    return distinct.gather(0, (2 * levels * last + n_bins) // (2 * n_bins))  # the nearest places


@dataclass(frozen=True)
class Tanh:
    """Principal features of several tanh units for each input, placed at its quantiles.

    Parameters
    ----------
    width : int, default=256
        Number of features, at least 1; fewer where the samples have fewer directions.

    Notes
    -----
    An additive map: tanh((x_k - t_kl) / s_k) for five quantiles t_kl of input k and its standard deviation s_k, and the
    principal components of them all. Trained, quantiles, slopes and the projection are free.

    Examples
    --------
    >>> from skrelmetric.encoders import Tanh
    >>> Tanh(width=64)
    Tanh(width=64)
    """

    width: int = 256

    def build(self, X: Tensor, weights: Tensor, generator: Generator) -> nn.Module:
        """Encoder with units at the quantiles of the samples.

        Parameters
        ----------
        X : Tensor of shape (n_samples, n_features)
            Samples.
        weights : Tensor of shape (n_samples,)
            Their weights, of sum 1.
        generator : torch.Generator
            Not used: nothing is drawn.

        Returns
        -------
        torch.nn.Module

        Raises
        ------
        ValueError
            If `width` is not positive, or the variance of the samples overflows.
        """
        _check_positive(self, "width")
        deviation = (weights @ (X - weights @ X.to(torch.float64)).square()).sqrt()
        if not deviation.isfinite().all():
            raise ValueError("The samples are too large to square without overflow. Scale the features first.")
        varies = (X[0] != X).any(0)  # where nothing does, rounding leaves a deviation
        if bool((varies & (deviation == 0)).any()):
            raise ValueError("A feature is too small to square without underflow. Scale the features first.")
        steps = _TanhSteps(_quantiles(X, weights), (1 / torch.where(varies, deviation, 1.0)).to(X.dtype))
        with torch.no_grad():
            return nn.Sequential(steps, _principal(steps(X), weights, self.width))


class _TanhSteps(nn.Module):
    """tanh(slope_k (x_k - threshold_kl)) of every input k and threshold l, flattened."""

    def __init__(self, thresholds: Tensor, slopes: Tensor):
        super().__init__()
        self.thresholds = nn.Parameter(thresholds.clone())
        self.slopes = nn.Parameter(slopes[:, None].repeat(1, thresholds.shape[1]))

    def forward(self, X: Tensor) -> Tensor:
        return ((X[:, :, None] - self.thresholds) * self.slopes).tanh().flatten(1)


@dataclass(frozen=True)
class MLP:
    """Multilayer perceptron as in HRAML, section 5.1, with dropout between its layers.

    Parameters
    ----------
    widths : tuple of int
        Units of each layer, the last one's being the features.
    activation : {"tanh", "relu", "gelu", "logistic", "identity"}, default="tanh"
        Function that follows each layer.
    normalize : bool, default=True
        Whether features are divided by their norm (HRAML, Eq. 10); squared distances are then at most 4.
    dropout : float, default=0.0
        Fraction of the units of each hidden layer that is left out in a training step, at least 0 and below 1.

    Notes
    -----
    Weights are drawn from U[-0.2, 0.2] and biases are 0, as published.

    Examples
    --------
    >>> from skrelmetric.encoders import MLP
    >>> MLP((128, 32)).activation
    'tanh'
    """

    widths: Sequence[int]
    activation: str = "tanh"
    normalize: bool = True
    dropout: float = 0.0

    def build(self, X: Tensor, weights: Tensor, generator: Generator) -> nn.Module:
        """Perceptron for samples of as many features.

        Parameters
        ----------
        X : Tensor of shape (n_samples, n_features)
            Samples, of which only the shape and the dtype matter.
        weights : Tensor of shape (n_samples,)
            Not used.
        generator : torch.Generator
            Source of the weights.

        Returns
        -------
        torch.nn.Module

        Raises
        ------
        ValueError
            If the activation is unknown, or `dropout` is no fraction below 1.
        """
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation={self.activation!r} is not known. Choose one of {list(ACTIVATIONS)}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout!r} of MLP must be a number of at least 0 and below 1.")
        layers: list[nn.Module] = []
        for n_inputs, n_units in zip([X.shape[1], *self.widths], self.widths, strict=False):
            if layers and self.dropout:
                layers.append(Dropout(self.dropout))
            drawn = torch.rand((n_units, n_inputs), generator=generator, dtype=torch.float64) * 0.4 - 0.2
            layers += [_affine(drawn, drawn.new_zeros(n_units), X.dtype), ACTIVATIONS[self.activation]()]
        return nn.Sequential(*layers, *[_UnitNorm()] * self.normalize).to(X.device)


class _UnitNorm(nn.Module):
    """Rows divided by their norm (HRAML, Eq. 10); a row of zeros stays one."""

    def forward(self, X: Tensor) -> Tensor:
        return nn.functional.normalize(X, dim=1)


def _principal(features: Tensor, weights: Tensor, width: int) -> nn.Linear:
    """Projection of features on their principal axes."""
    dtype, features = features.dtype, features.to(torch.float64)
    mean = weights @ features
    centred = features - mean
    weighted = weights.sqrt()[:, None] * centred
    if len(weighted) < weighted.shape[1]:
        variances, directions = _largest(weighted @ weighted.T, width, _ROUNDING)
        axes = (weighted.T @ (directions / variances.sqrt())).T
    else:
        axes = _largest(weighted.T @ weighted, width, _ROUNDING)[1].T
    axes = axes * _outward(centred @ axes.T)[:, None]
    return _affine(axes, -(axes @ mean), dtype)


def _largest(matrix: Tensor, width: int, rounding: float) -> tuple[Tensor, Tensor]:
    """Largest eigenvalues of a positive semi-definite matrix above rounding, at least one, and their eigenvectors."""
    eigenvalues, eigenvectors = largest_eigenpairs(matrix, min(width, len(matrix)))
    kept = max(1, int((eigenvalues > len(matrix) * rounding * eigenvalues[-1]).sum()))
    tiny = torch.finfo(matrix.dtype).tiny
    return eigenvalues[-kept:].flip(0).clamp(min=tiny), eigenvectors[:, -kept:].flip(1)


def _outward(values: Tensor) -> Tensor:
    """Sign for each column that makes its farthest value positive, and 0 for columns of zeros.

    The sign of an axis is then the same however often each sample is there.
    """
    return values.gather(0, values.abs().max(0, keepdim=True).indices)[0].sign()


def _quantiles(X: Tensor, weights: Tensor) -> Tensor:
    """Evenly spaced weighted quantiles of each feature, of shape (n_features, _N_QUANTILES)."""
    values, order = X.sort(0)
    fractions = weights[order].cumsum(0).T.contiguous()
    levels = (torch.arange(_N_QUANTILES, dtype=fractions.dtype, device=fractions.device) + 0.5) / _N_QUANTILES
    # A fraction that reaches a level but for rounding reaches it.
    places = torch.searchsorted(fractions, levels.repeat(len(fractions), 1) - 1e-9).clamp(max=len(X) - 1)
    return values.T.gather(1, places)


def _affine(weight: Tensor, bias: Tensor, dtype: torch.dtype) -> nn.Linear:
    layer = nn.utils.skip_init(nn.Linear, weight.shape[1], weight.shape[0], device=weight.device, dtype=dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


def _check_positive(spec: object, *names: str) -> None:
    for name in names:
        value, kind = getattr(spec, name), Integral if name == "width" else Real
        if not isinstance(value, kind) or not float(value) > 0:
            what = "a whole number" if name == "width" else "a number"
            raise ValueError(f"{name}={value!r} of {type(spec).__name__} must be {what} above 0.")
