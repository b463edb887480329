"""Losses against proxies: learned points that stand for the labels, in each group others.

Proxies have shape (n_groups, n_labels, width): one matrix product gives the cosines with all of them, of which each
sample keeps those of its group.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy

from skrelmetric._interop.torch import unit
from skrelmetric.losses._core import Batch, check, grouped_mean, labels_of

__all__ = ["ArcFace", "CosFace", "NormalizedSoftmax", "ProxyAnchor", "ProxyNCA", "SoftTriple"]


class _Proxies(nn.Module):
    """Cosines of samples with the proxies of their group."""

    def __init__(self, proxies: Tensor):
        super().__init__()
        self.proxies = nn.Parameter(proxies)  # (n_groups, n_proxies, width)

    def cosines(self, Z: Tensor, batch: Batch) -> Tensor:
        n_groups, n_proxies, width = self.proxies.shape
        if n_groups == 1:
            return unit(Z) @ unit(self.proxies[0]).T
        everywhere = unit(Z) @ unit(self.proxies, dim=2).reshape(-1, width).T
        own = n_groups * torch.arange(len(Z), device=Z.device) + batch.groups
        return everywhere.reshape(-1, n_proxies).index_select(0, own)  # (n, n_proxies)


class _ProxySpec(ABC):
    """Specification of a loss against proxies."""

    uses: ClassVar[frozenset[str]] = frozenset({"labels"})

    def build(
        self, n_labels: int, width: int, n_groups: int, generator: Generator, dtype: torch.dtype = torch.float32
    ) -> nn.Module:
        """Loss with proxies of its own, as `LossSpec.build`.

        Parameters
        ----------
        n_labels, width, n_groups : int
            Shape of the proxies.
        generator : torch.Generator
            Source of the proxies.
        dtype : torch.dtype, default=torch.float32
            Type of the proxies.

        Returns
        -------
        torch.nn.Module

        Raises
        ------
        ValueError
            If a hyperparameter is out of range.
        """
        self._check()
        return self._module(self._proxies(n_labels, width, n_groups, generator).to(dtype))

    @abstractmethod
    def _check(self) -> None:
        """Refuse hyperparameters out of range."""

    @abstractmethod
    def _module(self, proxies: Tensor) -> nn.Module:
        """Loss with these proxies."""

    def _proxies(self, n_labels: int, width: int, n_groups: int, generator: Generator) -> Tensor:
        return torch.randn((n_groups, n_labels, width), generator=generator, dtype=torch.float64)


@dataclass(frozen=True)
class ProxyAnchor(_ProxySpec):
    r"""Proxy anchor loss: each proxy attracts the samples of its label and repels others, hard ones most.

    Parameters
    ----------
    margin : float, default=0.1
        Least cosine of a sample with its proxy; its negative is the largest with others.
    alpha : float, default=32.0
        Sharpness, above 0.

    Notes
    -----
    With cosines s, degrees p and q of belonging and not belonging, and :math:`C^+` labels that any sample has,

    .. math:: \frac{1}{C^+} \sum_c \log\Bigl(1 + \sum_x p_{xc} e^{-\alpha (s_{xc} - \delta)}\Bigr)
              + \frac{1}{C} \sum_c \log\Bigl(1 + \sum_x q_{xc} e^{\alpha (s_{xc} + \delta)}\Bigr),

    which for classes is equation 4 of S. Kim, D. Kim, M. Cho and S. Kwak, "Proxy Anchor Loss for Deep Metric
    Learning", CVPR 2020. A sample may have several labels, or labels in degrees, or unknown ones. Cost: n times all
    proxies.

    Examples
    --------
    >>> import torch
    >>> from skrelmetric.losses import Batch, ProxyAnchor
    >>> generator = torch.Generator().manual_seed(0)
    >>> loss = ProxyAnchor().build(n_labels=2, width=3, n_groups=1, generator=generator)
    >>> batch = Batch.of_classes(torch.tensor([0, 0, 1]), 2)
    >>> loss(torch.eye(3), batch, generator).item() > 0
    True
    """

    margin: float = 0.1
    alpha: float = 32.0

    def _check(self) -> None:
        check(self, None, "margin")
        check(self, 0, "alpha")

    def _proxies(self, n_labels: int, width: int, n_groups: int, generator: Generator) -> Tensor:
        return super()._proxies(n_labels, width, n_groups, generator) * math.sqrt(2 / n_labels)

    def _module(self, proxies: Tensor) -> nn.Module:
        return _ProxyAnchor(self, proxies)


class _ProxyAnchor(_Proxies):
    def __init__(self, spec: ProxyAnchor, proxies: Tensor):
        super().__init__(proxies)
        self.spec = spec

    def forward(self, Z: Tensor, batch: Batch, generator: Generator) -> Tensor:
        alpha, margin = self.spec.alpha, self.spec.margin
        positive, negative = labels_of(batch, Z)
        s = self.cosines(Z, batch)
        most = alpha * (1 + abs(margin))
        pull = _grouped_log1p_sum_exp(-alpha * (s - margin), positive, batch, most)  # (n_groups, n_labels)
        push = _grouped_log1p_sum_exp(alpha * (s + margin), negative, batch, most)
        present = (torch.zeros_like(pull).index_add(0, batch.groups, positive) > 0).sum(1).clamp(min=1)
        return (pull.sum(1) / present + push.sum(1) / push.shape[1]).sum()


def _grouped_log1p_sum_exp(x: Tensor, weights: Tensor, batch: Batch, most: float) -> Tensor:
    """log(1 + sum of weights e^x) over the samples of each group, for x up to `most`: (n_groups, x.shape[1])."""
    zeros = x.new_zeros(batch.n_groups, x.shape[1])
    if most < math.log(torch.finfo(x.dtype).max) / 2:  # nothing overflows
        return zeros.index_add(0, batch.groups, weights * x.exp()).log1p()
    x = torch.where(weights > 0, x, 0)
    index = batch.groups[:, None].expand_as(x)
    shift = zeros.scatter_reduce(0, index, x.detach(), "amax")  # at least 0, for the 1
    terms = weights * (x - shift[batch.groups]).exp()
    return shift + ((-shift).exp().index_add(0, batch.groups, terms)).log()


class _SoftmaxSpec(_ProxySpec):
    """Cross-entropy of logits that are made of cosines with proxies."""

    def _module(self, proxies: Tensor) -> nn.Module:
        return _Softmax(self, proxies)

    @abstractmethod
    def _logits(self, cosines: Tensor, has: Tensor) -> Tensor:
        """Logits of shape (n, n_labels) from cosines (n, n_proxies) and whether a sample has a label (n, n_labels)."""


class _Softmax(_Proxies):
    """Cross-entropy with the degrees of belonging, made to sum to 1; unknown labels are left out."""

    def __init__(self, spec: _SoftmaxSpec, proxies: Tensor):
        super().__init__(proxies)
        self.spec = spec

    def forward(self, Z: Tensor, batch: Batch, generator: Generator) -> Tensor:
        positive, negative = labels_of(batch, Z)
        logits = self.spec._logits(self.cosines(Z, batch), positive > 0)
        unknown = positive + negative == 0
        total = positive.sum(1)
        counts = total > 0
        # A low number rather than -inf: times a target of 0 it is 0, and a sample that knows no label has a gradient.
        logits = logits.masked_fill(unknown, torch.finfo(logits.dtype).min / 2)
        entropies = cross_entropy(logits, positive, reduction="none") / torch.where(counts, total, 1)
        return grouped_mean(entropies, counts, batch)


@dataclass(frozen=True)
class CosFace(_SoftmaxSpec):
    r"""Large margin cosine loss: softmax of scaled cosines, with a margin taken from that of a sample's own label.

    Parameters
    ----------
    margin : float, default=0.35
        Amount taken from the cosine with the proxy of a label that the sample has, at least 0.
    scale : float, default=64.0
        Factor of the cosines, above 0.

    Notes
    -----
    The mean of :math:`-\sum_c t_{xc} \log \mathrm{softmax}_c\, \sigma (s_{xc} - m [p_{xc} > 0])`, with t the degrees p
    divided by their sum, over samples with a label; unknown labels are not in the denominator. For
    classes: H. Wang et al., "CosFace: Large Margin Cosine Loss for Deep Face Recognition", CVPR 2018.

    Examples
    --------
    >>> import torch
    >>> from skrelmetric.losses import CosFace
    >>> loss = CosFace().build(n_labels=4, width=3, n_groups=2, generator=torch.Generator())
    >>> tuple(loss.proxies.shape)
    (2, 4, 3)
    """

    margin: float = 0.35
    scale: float = 64.0

    def _check(self) -> None:
        check(self, 0, "margin", inclusive=True)
        check(self, 0, "scale")

    def _logits(self, cosines: Tensor, has: Tensor) -> Tensor:
        return self.scale * cosines.sub(has.to(cosines.dtype), alpha=self.margin)


@dataclass(frozen=True)
class NormalizedSoftmax(_SoftmaxSpec):
    r"""Normalised softmax: cross-entropy of cosines divided by a temperature.

    Parameters
    ----------
    temperature : float, default=0.05
        Divisor of the cosines, above 0.

    Notes
    -----
    As `CosFace` with margin 0 and scale 1 / temperature: A. Zhai and H.-Y. Wu, "Classification is a Strong Baseline
    for Deep Metric Learning", BMVC 2019.

    Examples
    --------
    >>> from skrelmetric.losses import NormalizedSoftmax
    >>> NormalizedSoftmax()
    NormalizedSoftmax(temperature=0.05)
    """

    temperature: float = 0.05

    def _check(self) -> None:
        check(self, 0, "temperature")

    def _logits(self, cosines: Tensor, has: Tensor) -> Tensor:
        return cosines / self.temperature


@dataclass(frozen=True)
class ArcFace(_SoftmaxSpec):
    r"""Additive angular margin loss: softmax of scaled cosines, the angle with a sample's own label being enlarged.

    Parameters
    ----------
    margin : float, default=28.6
        Amount added to the angle with the proxy of a label that the sample has, in degrees from 0 to 180.
    scale : float, default=64.0
        Factor of the cosines, above 0.

    Notes
    -----
    As `CosFace` with :math:`\cos(\theta + m)` for :math:`\cos\theta - m`, and :math:`\cos\theta - m \sin m` where
    the angle would exceed 180 degrees: J. Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face
    Recognition", CVPR 2019. The gradient is finite at angles of 0 and 180 degrees.

    Examples
    --------
    >>> from skrelmetric.losses import ArcFace
    >>> ArcFace(margin=20.0)
    ArcFace(margin=20.0, scale=64.0)
    """

    margin: float = 28.6
    scale: float = 64.0

    def _check(self) -> None:
        check(self, 0, "margin", inclusive=True)
        check(self, 0, "scale")
        if self.margin > 180:
            raise ValueError(f"margin={self.margin!r} of ArcFace is in degrees and must not exceed 180.")

    def _logits(self, cosines: Tensor, has: Tensor) -> Tensor:
        margin = math.radians(self.margin)
        sines = (1 - cosines.square()).clamp(min=torch.finfo(cosines.dtype).eps).sqrt()
        enlarged = cosines * math.cos(margin) - sines * math.sin(margin)
        enlarged = torch.where(cosines >= -math.cos(margin), enlarged, cosines - margin * math.sin(margin))
        return self.scale * torch.where(has, enlarged, cosines)


@dataclass(frozen=True)
class ProxyNCA(_SoftmaxSpec):
    r"""Neighbourhood components analysis with proxies: softmax of negative squared distances.

    Parameters
    ----------
    scale : float, default=1.0
        Factor of the squared distances, above 0.

    Notes
    -----
    Cross-entropy of :math:`-\sigma d^2 = 2 \sigma s - 2 \sigma`, all labels being in the denominator: Y.
    Movshovitz-Attias et al., "No Fuss Distance Metric Learning using Proxies", ICCV 2017. With scale 9 it is the loss
    of ProxyNCA++, whose temperature is 1/9: E. W. Teh, T. DeVries and G. W. Taylor, "ProxyNCA++: Revisiting and
    Revitalizing Proxy Neighborhood Component Analysis", ECCV 2020. The softmax is then that of `NormalizedSoftmax` with
    temperature 1/18.

    Examples
    --------
    >>> from skrelmetric.losses import ProxyNCA
    >>> ProxyNCA(scale=3.0)
    ProxyNCA(scale=3.0)
    """

    scale: float = 1.0

    def _check(self) -> None:
        check(self, 0, "scale")

    def _logits(self, cosines: Tensor, has: Tensor) -> Tensor:
        return 2 * self.scale * cosines


@dataclass(frozen=True)
class SoftTriple(_SoftmaxSpec):
    r"""SoftTriple loss: softmax with several proxies for each label.

    Parameters
    ----------
    centers : int, default=10
        Proxies of each label, at least 1.
    la : float, default=20.0
        Factor of the similarities, above 0.
    gamma : float, default=0.1
        Temperature of the choice among the proxies of a label, above 0.
    margin : float, default=0.01
        Amount taken from the similarity with a label that the sample has, at least 0.

    Notes
    -----
    As `CosFace`, the cosine with a label being the mean of those with its proxies, weighted by their softmax with
    temperature `gamma`: Q. Qian et al., "SoftTriple Loss: Deep Metric Learning Without Triplet Sampling", ICCV 2019,
    without its regulariser.

    Examples
    --------
    >>> import torch
    >>> from skrelmetric.losses import SoftTriple
    >>> loss = SoftTriple(centers=2).build(
    ...     n_labels=4, width=3, n_groups=1, generator=torch.Generator()
    ... )
    >>> tuple(loss.proxies.shape)
    (1, 8, 3)
    """

    centers: int = 10
    la: float = 20.0
    gamma: float = 0.1
    margin: float = 0.01

    def _check(self) -> None:
        check(self, 0, "centers", whole=True)
        check(self, 0, "la", "gamma")
        check(self, 0, "margin", inclusive=True)

    def _proxies(self, n_labels: int, width: int, n_groups: int, generator: Generator) -> Tensor:
        shape = (n_groups, n_labels * self.centers, width)
        uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
        return (2 * uniform - 1) / math.sqrt(n_labels * self.centers)

    def _logits(self, cosines: Tensor, has: Tensor) -> Tensor:
        of_label = cosines.reshape(*has.shape, self.centers)
        similarity = ((of_label / self.gamma).softmax(2) * of_label).sum(2)
        return self.la * (similarity - self.margin * has.to(cosines.dtype))
