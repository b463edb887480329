"""Encoder of DRML, trunk and head, as the parameters of the estimator ask for it."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from skrelmetric._data.subset import Subset
from skrelmetric._drml.ensemble import PlainHead, RelationalEnsemble
from skrelmetric._training.encode import copied_module, dtype_of, width_of
from skrelmetric.encoders import MLP

__all__ = ["Architecture", "Encoder"]


class Encoder(nn.Module):
    """Samples to embeddings.

    Parameters
    ----------
    trunk : nn.Module
        Samples to features of shape (n, D).
    head : RelationalEnsemble or PlainHead
        Features to nodes and their embedding.
    output : {"embedding", "nodes"}
        Which of them is returned, the nodes side by side.
    normalize : bool
        Whether it is divided by its norm.
    """

    def __init__(self, trunk: nn.Module, head: RelationalEnsemble | PlainHead, output: str, normalize: bool):
        super().__init__()
        self.trunk, self.head, self.output, self.normalize = trunk, head, output, normalize

    def forward(self, X: Tensor) -> Tensor:
        """Embeddings, of shape (n, n_components)."""
        Z = self.head.embed(self.trunk(X).to(dtype_of(self.head)), self.output)
        return functional.normalize(Z, dim=1) if self.normalize else Z

    @property
    def n_components(self) -> int:
        """Width of the embedding."""
        return self.head.nodes.bias.numel()


class Architecture(NamedTuple):
    """Encoder that is asked for; the attributes are parameters of :class:`~skrelmetric.DRMLTransformer`."""

    n_components: int
    n_branches: int
    hidden_layer_sizes: Sequence[int]
    activation: str
    trunk: nn.Module | None
    relational: bool
    split_features: bool
    stop_gradient: bool
    normalize_nodes: bool
    reconstruction: str
    score_activation: str
    output: str
    normalize: bool

    @property
    def branches(self) -> int:
        """Number of branches, of which components are no fewer."""
        n_branches = min(self.n_branches, self.n_components)
        # Without relations branches are but how the weights are drawn, as those of the same seed with relations.
        return n_branches if self.relational or self.n_components % n_branches == 0 else 1

    def check(self) -> None:
        """Refuse components that cannot be shared out.

        Raises
        ------
        ValueError
            If they cannot.
        """
        if self.n_components % self.branches:
            raise ValueError(
                f"n_components={self.n_components} cannot be shared out among n_branches={self.n_branches}. "
                f"Pass a multiple of {self.n_branches}."
            )

    def build(self, samples: Subset, generator: Generator) -> tuple[Encoder, int]:
        """New encoder for samples like some, and the width of its trunk."""
        device, example = samples.weights.device, samples.example()
        if self.trunk is not None:
            trunk = copied_module(self.trunk, "trunk").to(device)
        else:
            spec = MLP(tuple(self.hidden_layer_sizes), self.activation, normalize=False)
            trunk = spec.build(example.cpu(), torch.ones(len(example)), generator).to(device)
        dtype = dtype_of(trunk, samples.float_dtype)
        width = width_of(trunk, samples, dtype)
        shape = width, self.n_components, self.branches, generator, dtype
        head = (
            RelationalEnsemble(*shape, split_features=self.split_features, **self._reading)
            if self.relational
            else PlainHead(*shape)
        )
        return Encoder(trunk, head.to(device), self.output, self.normalize), width

    def rebuild(self, encoder: Encoder, samples: Subset) -> tuple[Encoder, int]:
        """Copy of an encoder that was fitted, read as is asked for now, and the width of its trunk.

        Raises
        ------
        ValueError
            If its weights are of other shapes.
        """
        branches, split = self.branches, self.relational and self.split_features
        if encoder.head.layout != (self.relational, split, branches, self.n_components // branches):
            raise ValueError(
                "warm_start=True, but relational, split_features, n_branches or n_components has changed since the "
                "last fit. Pass warm_start=False to begin anew."
            )
        encoder = deepcopy(encoder).to(samples.weights.device)
        encoder.output, encoder.normalize = self.output, self.normalize
        encoder.head.read_as(**self._reading)
        return encoder, width_of(encoder.trunk, samples, dtype_of(encoder.trunk, samples.float_dtype))

    @property
    def _reading(self) -> dict[str, Any]:
        """Reading of the method, where that does not change what weights there are."""
        return {
            "stop_gradient": self.stop_gradient,
            "normalize_nodes": self.normalize_nodes,
            "reconstruction": self.reconstruction,
            "score": self.score_activation,
        }
