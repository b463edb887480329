"""Features and gradients across processes, each of which encodes the samples of its shard."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from skrelmetric._data.partitions import Partitions
from skrelmetric._data.subset import Subset
from skrelmetric.distributed import Ranks

__all__ = ["agreed", "features_at", "own_places", "set_gradients", "sum_gradients", "trained_parameters"]


M = TypeVar("M", bound=nn.Module)


class _FromShards(torch.autograd.Function):
    """Rows that all processes have together, each of which passes its own; gradients go back to their process."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, here: Tensor, ranks: Ranks) -> Tensor:
        ctx.here = here
        rows = own.new_zeros((len(here), own.shape[1]))
        rows[here] = own
        return ranks.total([rows])[0].to(own.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0][ctx.here], None, None


def features_at(
    partitions: Partitions, places: Tensor, encode: Callable[[Tensor], Tensor], width: int, dtype: torch.dtype
) -> Tensor:
    """Features of the samples at some places, of shape (n_places, width), from the processes that have them.

    Each process has a Subset in memory, of which ``encode(index)`` gives features. The result is the same in all of
    them, and gradients reach the encoder of the process that has the sample.
    """
    (own,) = partitions.local
    if partitions.only is not None:
        return encode(places)
    here = _are_own(own, places)
    z = encode(places[here] - own.start) if here.any() else torch.zeros((0, width), dtype=dtype, device=places.device)
    return _FromShards.apply(z, here, partitions.ranks)


def own_places(partitions: Partitions, places: Tensor) -> Tensor:
    """Those of some places that are of this process, counted from its first: what `features_at` has encoded here."""
    (own,) = partitions.local
    return places if partitions.only is not None else places[_are_own(own, places)] - own.start


def _are_own(own: Subset, places: Tensor) -> Tensor:
    return (places >= own.start) & (places < own.start + own.n_samples)


def agreed(module: M, ranks: Ranks, device: torch.device) -> M:
    """Module of the first process, for all of them."""
    return module if ranks.size == 1 else ranks.agreed(module.cpu()).to(device)


def trained_parameters(module: nn.Module) -> list[nn.Parameter]:
    """Parameters that are not frozen."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def sum_gradients(module: nn.Module, ranks: Ranks) -> None:
    """Give every process the sum of the gradients that all have."""
    if ranks.size > 1:
        of_own = (torch.zeros_like(p) if p.grad is None else p.grad for p in trained_parameters(module))
        set_gradients(module, ranks.total(list(of_own)))


def set_gradients(module: nn.Module, gradients: list[Tensor]) -> None:
    """Give the parameters that are not frozen their gradients."""
    for parameter, gradient in zip(trained_parameters(module), gradients, strict=True):
        parameter.grad = gradient.to(parameter.dtype)
