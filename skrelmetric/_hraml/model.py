"""Encoder and head of HRAML, as the parameters of the estimator ask for them."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from skrelmetric._data.subset import Subset
from skrelmetric._hraml.heads import Head, LinearHead, RidgeHead
from skrelmetric._interop.randomness import drawing
from skrelmetric._training.encode import copied_module, dtype_of, width_of
from skrelmetric.encoders import MLP, EncoderSpec, Laplacian, Tanh

__all__ = ["Architecture", "Model"]

_N_COMPONENTS = 64


class Model(NamedTuple):
    """Encoder and head, and what a later training goes on from.

    Attributes
    ----------
    encoder : nn.Module
        Maps samples to features.
    head : Head
        Distance of features.
    width : int
        Number of features.
    example : Tensor
        Two samples, of zeros.
    relation : object
        Relation of the targets, "auto" resolved.
    optimizer : (str, dict) or None, default=None
        Name and state of the optimiser.
    n_averaged : int, default=0
        Number of samples on which an exact head was solved.
    n_outputs : int or None, default=None
        Number of outputs of the targets, which those of later chunks have too.
    """

    encoder: nn.Module
    head: Head
    width: int
    example: Tensor
    relation: Any
    optimizer: tuple[str, dict] | None = None
    n_averaged: int = 0
    n_outputs: int | None = None


class Architecture(NamedTuple):
    """Encoder and head that are asked for; the attributes are parameters of :class:`~skrelmetric.HRAMLTransformer`."""

    encoder: str | nn.Module | EncoderSpec
    hidden_layer_sizes: Sequence[int]
    activation: str
    normalize: bool
    dropout: float
    head: str
    alpha: float
    prediction_weight: float
    learn_scale: bool
    n_components: int | None

    @property
    def exact(self) -> bool:
        """Whether the head is solved for, rather than learned or fixed."""
        return self.head == "ridge"

    @property
    def chosen(self) -> bool:
        """Whether the encoder is chosen from the samples, so that it needs no training under an exact head."""
        return self.exact and not isinstance(self.encoder, nn.Module | MLP) and self.encoder != "mlp"

    @property
    def draws(self) -> bool:
        """Whether the encoder draws in training."""
        return self.encoder == "mlp" and self.dropout > 0

    def check(self) -> None:
        """Refuse parameters that exclude one another.

        Raises
        ------
        ValueError
            If there are such.
        """
        if isinstance(self.encoder, type):
            raise ValueError(
                f"encoder={self.encoder.__name__} is a class. Pass an object, {self.encoder.__name__}(...)."
            )
        if self.learn_scale and self.exact:
            raise ValueError(
                "learn_scale=True is for head='linear': head='ridge' always solves for scale and offset. "
                "Pass learn_scale=False."
            )
        if self.exact and self.draws and len(self.hidden_layer_sizes) == 1:
            raise ValueError(
                f"dropout={self.dropout} is for layers before the features, but hidden_layer_sizes="
                f"{self.hidden_layer_sizes!r} has none under head='ridge'. Name two layers, or pass dropout=0."
            )
        if self.exact and self.encoder == "mlp" and not self.hidden_layer_sizes:
            raise ValueError(
                "hidden_layer_sizes=() leaves encoder='mlp' no features for head='ridge'. Name one layer at least."
            )

    def build(self, samples: Subset, generator: torch.Generator, relation: Any) -> Model:
        """New encoder and head, chosen from samples: all, or some thousand of many.

        Raises
        ------
        ValueError
            If the encoder has not as many features as components are asked for.
        """
        device, example = samples.weights.device, samples.example()
        if isinstance(self.encoder, nn.Module):
            encoder = copied_module(self.encoder, "encoder").to(device)
        else:
            spec = self._spec(self.encoder) if isinstance(self.encoder, str) else self.encoder
            x = samples.read(slice(None), samples.float_dtype)
            with drawing(spec, generator.initial_seed(), device):  # layers of torch know no generator
                encoder = spec.build(x, samples.weights, generator)
        width = self._width(encoder, samples)
        return Model(encoder, self.new_head(encoder, width, device), width, example, relation)

    def rebuild(self, model: Model, samples: Subset, relation: Any) -> Model:
        """Copies of an encoder, and of a head as far as it serves: what was fitted stays if the fit is interrupted."""
        device = samples.weights.device
        encoder = deepcopy(model.encoder).to(device)
        width = self._width(encoder, samples)
        head = self.new_head(encoder, width, device)
        if self.keeps(model.head):
            head.load_state_dict(model.head.state_dict())
        return model._replace(encoder=encoder, head=head, width=width, relation=relation, optimizer=None)

    def new_head(self, encoder: nn.Module, width: int, device: torch.device) -> Head:
        """Head that has learned nothing."""
        return (
            RidgeHead(self.alpha, self.prediction_weight)
            if self.exact
            else LinearHead(width, self.learn_scale, device, dtype_of(encoder))
        )

    def head_of(self, model: Model) -> Head:
        """Head of a model as far as it serves, or a new one."""
        return model.head if self.keeps(model.head) else self.new_head(model.encoder, model.width, model.example.device)

    def keeps(self, head: Head) -> bool:
        """Whether what a head has learned is what is asked for; an exact head has learned nothing."""
        return isinstance(head, LinearHead) and not self.exact and head.learn_scale == self.learn_scale

    def rank(self, width: int) -> int | None:
        """Dimension of the embedding of a number of features; None is the rank of the metric."""
        return self.n_components if self.exact else width

    def _spec(self, name: str) -> EncoderSpec:
        n_features = self.n_components or _N_COMPONENTS
        if name == "mlp":
            widths = (*self.hidden_layer_sizes, *([] if self.exact else [n_features]))
            return MLP(widths, self.activation, self.normalize, self.dropout)
        kind = {"laplacian": Laplacian, "tanh": Tanh}[name]
        return kind() if self.exact else kind(n_features)

    def _width(self, encoder: nn.Module, samples: Subset) -> int:
        """Number of features of the encoder, of which the embedding can have no more."""
        width = width_of(encoder, samples, dtype_of(encoder))
        if self.n_components is not None and (self.n_components > width if self.exact else self.n_components != width):
            raise ValueError(
                f"n_components={self.n_components}, but the encoder has {width} features. Pass "
                + ("at most that, or None." if self.exact else "that number, or None, for head='linear'.")
            )
        return width
