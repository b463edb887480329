"""Relational ensemble of DRML: several features of a sample, and an embedding inferred from their relations.

For trunk features y of width D, branches k = 1..K of width d and E = K d components, with ⊣ for a stopped gradient,

    nodes          g_k = G_k y + c_k                                        (DRML, section 3.1)
    meta-features  a_k = A_k ⊣y + ..., b_k = B_k ⊣y + ...                   (section 3.2)
    relations      R_ji = a_j - b_i                                         (Eq. 5)
    messages       M_i = sum_j r_ji g_j,  r_ji = s(R_ji) / sum_j s(R_ji)    (Eqs. 6, 7)
    embedding      z = concat_i U [g_i; M_i]                                (Eq. 8)
    decoders       p_k(⊣g_k), with the error |p_k - ⊣y| of each branch      (Eq. 2).

One score w.R + beta serves all pairs of branches and is linear before its activation, so that it is a difference of
two numbers a branch, w.a_j - w.b_i, each a linear functional of y: neither R nor a and b are ever formed.
"""

from math import sqrt
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from skrelmetric._interop.torch import largest_eigenpairs, unit

__all__ = ["ASSIGNMENTS", "RECONSTRUCTIONS", "SCORES", "Ensemble", "ParallelLinear", "PlainHead", "RelationalEnsemble"]

_N_SWEEPS = 10  # over the branches, when prices are sought; the total error is then the least to four digits
_TINY = 1e-12  # below which a sum of scores counts as none, as in the authors' code

SCORES = {
    "relu": lambda scores: functional.normalize(scores.relu(), p=1, dim=1, eps=_TINY),
    "softmax": lambda scores: scores.softmax(1),
}
"""Weights r of shape (B, K, K), sender by receiver, from scores; each receiver's sum to 1, or are 0 under "relu"."""

RECONSTRUCTIONS = {
    "l2": lambda residuals: residuals.norm(dim=2),
    "mse": lambda residuals: residuals.square().mean(2),
}
"""Errors of shape (B, K) from residuals of shape (B, K, n)."""


def _argmin(errors: Tensor) -> Tensor:
    return functional.one_hot(errors.argmin(1), errors.shape[1]).bool()


def _balanced(errors: Tensor) -> Tensor:
    """Nearly the least total error among the assignments that give no branch more than its share, rounded up.

    Prices are sought at which every branch is the cheapest for its share of samples. Where that leaves some without
    room, those go first who would lose most by their second choice.
    """
    n_samples, n_branches = errors.shape
    if n_samples <= 1 or n_branches == 1:
        return _argmin(errors)
    last = (n_samples - 1) // n_branches, n_samples // n_branches  # of a branch's share, and the first beyond it
    costs = errors.to("cpu", torch.float64, copy=True).numpy()
    for _ in range(_N_SWEEPS):
        for k in range(n_branches):
            dearer = costs[:, k] - np.delete(costs, k, axis=1).min(1)
            costs[:, k] -= np.partition(dearer, last)[[*last]].mean()
    best, second = np.partition(costs, 1, axis=1)[:, :2].T
    choices, left = costs.argsort(1).tolist(), [1 + last[0]] * n_branches
    chosen = torch.empty(n_samples, dtype=torch.int64)
    for i in (best - second).argsort(kind="stable").tolist():
        chosen[i] = k = next(k for k in choices[i] if left[k])
        left[k] -= 1
    return functional.one_hot(chosen, n_branches).bool().to(errors.device)


ASSIGNMENTS = {
    "argmin": _argmin,
    "balanced": _balanced,
    "all": lambda errors: torch.ones_like(errors, dtype=torch.bool),
}
"""Masks of the branches that each sample trains, of shape (B, K), from errors of that shape."""


class Ensemble(NamedTuple):
    """Features and embedding that the ensemble makes of a batch.

    Attributes
    ----------
    nodes : Tensor of shape (B, K, d)
        Individual features g.
    weights : Tensor of shape (B, K, K)
        Weights r of the messages, sender by receiver.
    messages : Tensor of shape (B, K, d)
        Messages M.
    embedding : Tensor of shape (B, K d)
        Relation-aware embedding z.
    """

    nodes: Tensor
    weights: Tensor
    messages: Tensor
    embedding: Tensor


class ParallelLinear(nn.Module):
    """K affine maps side by side.

    Parameters
    ----------
    n_maps : int
        Number K of maps.
    n_inputs, n_outputs : int
        Width of what each takes and gives.
    generator : torch.Generator
        Source of the weights, drawn by the rule of He et al. for the fan out; biases are 0.
    dtype : torch.dtype
        Their dtype.
    """

    def __init__(self, n_maps: int, n_inputs: int, n_outputs: int, generator: Generator, dtype: torch.dtype):
        super().__init__()
        self.weight = nn.Parameter(_drawn((n_maps, n_outputs, n_inputs), sqrt(2 / n_outputs), generator, dtype))
        self.bias = nn.Parameter(torch.zeros((n_maps, n_outputs), dtype=dtype))

    @torch.no_grad()
    def start_at_principal_components(self, y: Tensor) -> None:
        """Become the principal components of inputs (B, n_inputs), or of those of each map (B, K, n_inputs).

        Maps of the same inputs share the components out in turn, so that none has but the last ones. Where a map has
        more outputs than components are left, it takes those of others too, and then its own once more. The weights
        are as large together as they were. Inputs that are all alike have no components, and nothing changes.
        """
        n_maps, n_outputs, _ = self.weight.shape
        shared = y.ndim == 2
        found = (
            [_principal(y, n_maps * n_outputs)] * n_maps if shared else [_principal(x, n_outputs) for x in y.unbind(1)]
        )
        size = self.weight.norm()
        for k, (directions, mean) in enumerate(found):
            if not len(directions):
                continue
            places = torch.arange(len(directions))
            turn = (places - k).remainder(n_maps).argsort(stable=True) if shared else places
            self.weight[k] = directions[turn.repeat(-(-n_outputs // len(turn)))[:n_outputs]]
            self.bias[k] = -self.weight[k] @ mean
        scale = size / self.weight.norm()
        self.weight.mul_(scale)
        self.bias.mul_(scale)

    def forward(self, y: Tensor) -> Tensor:
        """Outputs (B, K, n_outputs) of one input (B, n_inputs) for all maps, or of one each (B, K, n_inputs)."""
        return _parallel(y, self.weight, self.bias)

    def along(self, direction: Tensor, y: Tensor) -> Tensor:
        """Products of the outputs with a direction, of shape (B, K), at the cost of one output."""
        # (K, 1, n_inputs): the functional of y that stands for direction . (weight y + bias).
        functionals = (direction @ self.weight)[:, None]
        return _parallel(y, functionals, (self.bias @ direction)[:, None])[..., 0]


class RelationalEnsemble(nn.Module):
    """Ensemble of features, their decoders, and the embedding inferred from their relations.

    Parameters
    ----------
    n_inputs : int
        Width D of the trunk features.
    n_components : int
        Width E of the embedding.
    n_branches : int
        Number K of branches, which divides E.
    generator : torch.Generator
        Source of the weights.
    dtype : torch.dtype
        Dtype of the weights.
    split_features : bool, default=False
        Whether each branch sees and decodes a chunk of D / K trunk features, as in the authors' code, and not all.
    stop_gradient : bool, default=True
        Whether the gradient of the embedding stops at the nodes (DRML, section 3.3).
    normalize_nodes : bool, default=True
        Whether nodes are divided by their norm, as in the authors' code.
    reconstruction : {"l2", "mse"}, default="l2"
        Error of a decoder: the norm of its residual (Eq. 2), or the mean square of the authors' code.
    score : {"relu", "softmax"}, default="relu"
        What makes weights of scores.

    Raises
    ------
    ValueError
        If K does not divide E, or D where features are split.

    Notes
    -----
    The updater starts as U = [I | 0], so that the embedding starts as the concatenation of the nodes.
    """

    def __init__(
        self,
        n_inputs: int,
        n_components: int,
        n_branches: int,
        generator: Generator,
        dtype: torch.dtype = torch.float32,
        *,
        split_features: bool = False,
        stop_gradient: bool = True,
        normalize_nodes: bool = True,
        reconstruction: str = "l2",
        score: str = "relu",
    ):
        super().__init__()
        for name, total, applies in (("components", n_components, True), ("inputs", n_inputs, split_features)):
            if applies and total % n_branches:
                raise ValueError(
                    f"{total} {name} cannot be shared out among {n_branches} branches. Pass a multiple of {n_branches}."
                )
        self.split_features = split_features
        self.read_as(stop_gradient, normalize_nodes, reconstruction, score)
        width = n_components // n_branches
        seen = n_inputs // n_branches if split_features else n_inputs
        self.n_branches, self.width = n_branches, width
        self.nodes = ParallelLinear(n_branches, seen, width, generator, dtype)
        self.senders = ParallelLinear(n_branches, seen, width, generator, dtype)
        self.receivers = ParallelLinear(n_branches, seen, width, generator, dtype)
        self.decoders = ParallelLinear(n_branches, width, seen, generator, dtype)
        self.direction = nn.Parameter(_drawn((width,), sqrt(2), generator, dtype))
        self.offset = nn.Parameter(torch.zeros((), dtype=dtype))
        self.update = nn.utils.skip_init(nn.Linear, 2 * width, width, dtype=dtype)
        with torch.no_grad():
            self.update.weight.copy_(torch.eye(width, 2 * width))
            self.update.bias.zero_()

    @property
    def layout(self) -> tuple[bool, bool, int, int]:
        """Whether there are relations, whether trunk features are split, and the numbers of branches and components."""
        return True, self.split_features, *self.nodes.bias.shape

    def start_at_principal_components(self, y: Tensor) -> None:
        """Let the nodes be principal components of trunk features of shape (B, D)."""
        self.nodes.start_at_principal_components(self._seen(y))

    def embed(self, y: Tensor, output: str) -> Tensor:
        """Embedding of trunk features of shape (B, D), or with the output "nodes" the nodes side by side."""
        ensemble = self(y)
        return ensemble.embedding if output == "embedding" else ensemble.nodes.flatten(1)

    def read_as(self, stop_gradient: bool, normalize_nodes: bool, reconstruction: str, score: str) -> None:
        """Read the method in another way; the weights stay."""
        self.stop_gradient, self.normalize_nodes = stop_gradient, normalize_nodes
        self.reconstruction, self.score = reconstruction, score

    def forward(self, y: Tensor) -> Ensemble:
        """Nodes and embedding of trunk features of shape (B, D)."""
        seen = self._seen(y)
        nodes = self.nodes(seen)
        if self.normalize_nodes:
            nodes = unit(nodes, dim=2)
        # (B, K, 1) - (B, 1, K): a number for each sender and receiver.
        blocked = seen.detach()
        sent, received = self.senders.along(self.direction, blocked), self.receivers.along(self.direction, blocked)
        weights = SCORES[self.score](sent[:, :, None] - received[:, None, :] + self.offset)
        g = nodes.detach() if self.stop_gradient else nodes
        messages = weights.transpose(1, 2) @ g  # (B, K, d): the sum over senders
        of_nodes, of_messages = self.update.weight.split(self.width, dim=1)
        updated = functional.linear(g, of_nodes, self.update.bias) + functional.linear(messages, of_messages)
        embedding = updated.flatten(1)
        return Ensemble(nodes, weights, messages, embedding)

    def errors(self, y: Tensor, nodes: Tensor) -> Tensor:
        """Error of each decoder for each sample, of shape (B, K); it depends on the decoders alone."""
        target = self._seen(y).detach()
        decoded = self.decoders(nodes.detach())
        residuals = decoded - (target if self.split_features else target[:, None])
        return RECONSTRUCTIONS[self.reconstruction](residuals)

    def _seen(self, y: Tensor) -> Tensor:
        """Trunk features as the branches see them: (B, D) for all, or (B, K, D / K)."""
        return y.unflatten(1, (self.n_branches, -1)) if self.split_features else y


class PlainHead(nn.Module):
    """Nodes without relations: one affine map of the trunk features, drawn as the nodes of an ensemble are.

    Parameters
    ----------
    n_inputs, n_components, n_branches, generator, dtype
        As :class:`RelationalEnsemble` has them.
    """

    def __init__(self, n_inputs: int, n_components: int, n_branches: int, generator: Generator, dtype: torch.dtype):
        super().__init__()
        self.nodes = ParallelLinear(n_branches, n_inputs, n_components // n_branches, generator, dtype)

    @property
    def layout(self) -> tuple[bool, bool, int, int]:
        """Layout of the weights, as that of :class:`RelationalEnsemble`."""
        return False, False, *self.nodes.bias.shape

    def read_as(self, **reading: Any) -> None:
        """Read the method in another way, of which nodes without relations have but one."""

    def start_at_principal_components(self, y: Tensor) -> None:
        """Let the nodes be principal components of trunk features of shape (B, D)."""
        self.nodes.start_at_principal_components(y)

    def embed(self, y: Tensor, output: str) -> Tensor:
        """Nodes side by side, of shape (B, E), for trunk features of shape (B, D), whatever output is asked for."""
        return self.nodes(y).flatten(1)


def _parallel(y: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Maps of shape (K, n_outputs, n_inputs) of one input (B, n_inputs), or of one input each (B, K, n_inputs)."""
    if y.ndim == 2:
        return functional.linear(y, weight.flatten(0, 1), bias.flatten()).unflatten(1, bias.shape)
    return torch.baddbmm(bias[:, None], y.transpose(0, 1), weight.transpose(1, 2)).transpose(0, 1)


def _principal(y: Tensor, n_components: int) -> tuple[Tensor, Tensor]:
    """Directions of the largest variance of inputs (B, n_inputs), unit rows, without those of none; and their mean."""
    deviations, k = y.to(torch.float64, copy=True), min(n_components, *y.shape)
    mean = deviations.mean(0)
    deviations -= mean  # in place, since there may be many features
    deviations.masked_fill_((y == y[0]).all(0), 0)  # where those of the mean's last digit would count as variance
    few = y.shape[0] < y.shape[1]
    variances, directions = largest_eigenpairs(deviations @ deviations.T if few else deviations.T @ deviations, k)
    varying = variances > max(y.shape) * torch.finfo(torch.float64).eps * variances[-1]
    directions = directions[:, varying].T.flip(0)
    if few:
        directions = directions @ deviations
        directions *= directions.norm(dim=1, keepdim=True).reciprocal()  # small as they may be
    return directions.to(y.dtype), mean.to(y.dtype)


def _drawn(shape: tuple[int, ...], deviation: float, generator: Generator, dtype: torch.dtype) -> Tensor:
    return (deviation * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)
