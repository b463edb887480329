"""ModernNCA: votes of all training samples by their distance in a learned encoding (Ye et al., 2025, arXiv 2407.03257).

Of the paper are the encoder, the distance, which is not squared, the sampling of neighbours in training, and AdamW with
early stopping. Its embedding of single numbers by periodic functions is left out, so that features should come
standardised. Label sets and distributions, which the paper has not, are voted for as classes are.
"""

from collections.abc import Callable
from copy import deepcopy
from typing import NamedTuple

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Generator, Tensor, nn

_LEAST = 1e-6  # probability whose logarithm is taken for that of smaller ones
_BLOCK = 2048  # samples that are predicted at once


def cross_entropy(P: Tensor, Y: Tensor) -> Tensor:
    """Mean of -sum(y log p) for classes, as unit vectors, and distributions: both (n_samples, n_outputs)."""
    return -(Y * P.clamp(min=_LEAST).log()).sum(1).mean()


def binary_cross_entropy(P: Tensor, Y: Tensor) -> Tensor:
    """Mean log loss of labels, 0 or 1: both (n_samples, n_labels)."""
    return nn.functional.binary_cross_entropy(P.clamp(_LEAST, 1 - _LEAST), Y)


def squared_error(P: Tensor, Y: Tensor) -> Tensor:
    """Mean squared error: both (n_samples, n_outputs)."""
    return (P - Y).square().mean()


def votes(Z: Tensor, neighbors: Tensor, Y: Tensor, *, own: bool) -> Tensor:
    """Mean targets of neighbours, weighted by exp(-distance) (Eq. 4 of the paper).

    Parameters
    ----------
    Z : Tensor of shape (n_samples, n_components)
        Encoded samples.
    neighbors : Tensor of shape (n_neighbors, n_components)
        Encoded neighbours.
    Y : Tensor of shape (n_neighbors, n_outputs)
        Their targets.
    own : bool
        Whether the first neighbours are the samples themselves, which then do not vote for themselves.

    Returns
    -------
    Tensor of shape (n_samples, n_outputs)
    """
    squares = Z.square().sum(1, keepdim=True) + neighbors.square().sum(1) - 2 * Z @ neighbors.T
    distances = squares.clamp(min=1e-12).sqrt()  # of equal samples the gradient would be infinite
    if own:
        rows = torch.arange(len(Z))
        itself = torch.zeros_like(distances, dtype=torch.bool)
        itself[rows, rows] = True
        distances = distances.masked_fill(itself, torch.inf)
    return (-distances).softmax(1) @ Y


class Block(nn.Module):
    """Batch normalisation, linear map, ReLU, dropout and linear map."""

    def __init__(self, n_components: int, width: int, dropout: float):
        super().__init__()
        self.norm = nn.BatchNorm1d(n_components)
        self.widen = nn.Linear(n_components, width)
        self.narrow = nn.Linear(width, n_components)
        self.dropout = dropout

    def forward(self, Z: Tensor, generator: Generator | None) -> Tensor:
        """Encoded samples, (n, n_components); with a generator, which draws them, hidden units are dropped."""
        hidden = self.widen(self.norm(Z)).relu()
        if generator is not None:
            kept = torch.rand(hidden.shape, generator=generator) >= self.dropout
            hidden = hidden * kept / (1 - self.dropout)
        return self.narrow(hidden)


class Encoder(nn.Module):
    """Linear map, blocks, and batch normalisation where there are blocks."""

    def __init__(self, n_features: int, n_components: int, n_blocks: int, block_width: int, dropout: float):
        super().__init__()
        self.first = nn.Linear(n_features, n_components)
        self.blocks = nn.ModuleList(Block(n_components, block_width, dropout) for _ in range(n_blocks))
        self.last = nn.BatchNorm1d(n_components) if n_blocks else nn.Identity()

    def forward(self, X: Tensor, generator: Generator | None = None) -> Tensor:
        """Encoded samples, (n, n_components); with a generator, hidden units are dropped."""
        Z = self.first(X)
        for block in self.blocks:
            Z = block(Z, generator)
        return self.last(Z)


class Training(NamedTuple):
    """Settings of a training, as the parameters of the estimators."""

    learning_rate: float
    weight_decay: float
    batch_size: int
    sample_rate: float
    max_epochs: int
    patience: int


def train(
    encoder: Encoder,
    trained: tuple[Tensor, Tensor],
    held_out: tuple[Tensor, Tensor],
    loss: Callable[[Tensor, Tensor], Tensor],
    settings: Training,
    generator: Generator,
) -> list[float]:
    """Train an encoder on samples and their targets, and leave it as it was when the held-out ones had the least loss.

    Returns
    -------
    list of float
        Loss of the held-out samples after each epoch, by votes of all that are trained on.
    """
    X, Y = trained
    optimizer = torch.optim.AdamW(
        encoder.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, foreach=True
    )
    losses: list[float] = []
    best = deepcopy(encoder.state_dict())
    while len(losses) < settings.max_epochs and len(losses) - int(np.argmin(losses or [0])) <= settings.patience:
        encoder.train()
        for batch in torch.randperm(len(X), generator=generator).split(settings.batch_size):
            drawn = torch.rand(len(X), generator=generator) < settings.sample_rate
            drawn[batch] = False
            rows = torch.cat([batch, drawn.nonzero().ravel()])
            if len(rows) == 1:
                continue
            encoded = encoder(X[rows], generator)
            error = loss(votes(encoded[: len(batch)], encoded, Y[rows], own=True), Y[batch])
            optimizer.zero_grad()
            error.backward()
            optimizer.step()
        encoder.eval()
        with torch.no_grad():
            losses.append(float(loss(votes(encoder(held_out[0]), encoder(X), Y, own=False), held_out[1])))
        if losses[-1] == min(losses):
            best = deepcopy(encoder.state_dict())
    encoder.load_state_dict(best)
    return losses


class _ModernNCA(BaseEstimator):
    """Encoder trained by votes, and the votes."""

    def __init__(
        self,
        n_components=128,
        *,
        n_blocks=1,
        block_width=256,
        dropout=0.1,
        sample_rate=0.5,
        learning_rate=3e-3,
        weight_decay=1e-4,
        batch_size=256,
        max_epochs=200,
        patience=16,
        validation_fraction=0.2,
        random_state=None,
    ):
        self.n_components = n_components
        self.n_blocks = n_blocks
        self.block_width = block_width
        self.dropout = dropout
        self.sample_rate = sample_rate
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    def _fit(self, X, Y, loss):
        X, Y = (torch.from_numpy(np.array(each, dtype=np.float32)) for each in (X, Y))
        seed = int(check_random_state(self.random_state).randint(2**31))
        generator = Generator().manual_seed(seed)
        with torch.random.fork_rng([]):  # layers draw their weights from the global generator
            torch.default_generator.manual_seed(seed)
            encoder = Encoder(X.shape[1], self.n_components, self.n_blocks, self.block_width, self.dropout)
        settings = Training(**{name: getattr(self, name) for name in Training._fields})
        rows = torch.randperm(len(X), generator=generator)
        n_held_out = max(1, round(self.validation_fraction * len(X)))
        held_out, trained = rows[:n_held_out], rows[n_held_out:]
        self.losses_ = train(encoder, (X[trained], Y[trained]), (X[held_out], Y[held_out]), loss, settings, generator)
        self.encoder_, self.targets_ = encoder, Y
        with torch.no_grad():
            self.neighbors_ = encoder(X)

    def _votes(self, X) -> np.ndarray:
        check_is_fitted(self)
        blocks = torch.from_numpy(np.array(X, dtype=np.float32)).split(_BLOCK)
        with torch.no_grad():
            voted = [votes(self.encoder_(block), self.neighbors_, self.targets_, own=False) for block in blocks]
        return torch.cat(voted).double().numpy()


class ModernNCAClassifier(ClassifierMixin, _ModernNCA):
    """Votes for classes, trained by their log loss, or for label sets, by the mean log loss of the labels.

    Parameters
    ----------
    n_components : int, default=128
        Features of the encoding.
    n_blocks : int, default=1
        Nonlinear blocks of the encoder; 0 makes it linear.
    block_width : int, default=256
        Hidden units of a block.
    dropout : float, default=0.1
        Share of hidden units that are dropped in training, in [0, 1).
    sample_rate : float, default=0.5
        Share of the samples, beside those of the batch, that are drawn as neighbours of a batch.
    learning_rate, weight_decay : float, default=3e-3, 1e-4
        Of AdamW.
    batch_size : int, default=256
        Samples of a step.
    max_epochs : int, default=200
        Most passes over the samples.
    patience : int, default=16
        Passes without a lower loss of the held-out samples, after which training ends.
    validation_fraction : float, default=0.2
        Share of the samples that is held out from training; they vote like all others in the end.
    random_state : int, RandomState or None, default=None
        Seed; global generators stay as they are.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Classes, or the numbers of the labels.
    encoder_ : torch.nn.Module
    losses_ : list of float
        Loss of the held-out samples after each epoch.
    """

    def fit(self, X, y):
        """Fit to classes of shape (n_samples,), or to label sets, 0 or 1, of shape (n_samples, n_labels)."""
        self.of_labels_ = np.ndim(y) == 2
        if self.of_labels_:
            self.classes_ = np.arange(y.shape[1])
            self._fit(X, y, binary_cross_entropy)
        else:
            self.classes_, codes = np.unique(y, return_inverse=True)
            self._fit(X, np.eye(len(self.classes_))[codes], cross_entropy)
        return self

    def predict_proba(self, X):
        """Votes for the classes or labels."""
        return self._votes(X)

    def predict(self, X):
        """Class of the most votes, or all labels with more than half of them."""
        voted = self._votes(X)
        return (voted > 0.5).astype(int) if self.of_labels_ else self.classes_[voted.argmax(axis=1)]


class ModernNCARegressor(RegressorMixin, _ModernNCA):
    """Votes for numbers, trained by the squared error in units of their standard deviation.

    Parameters and attributes are those of :class:`ModernNCAClassifier`.
    """

    def fit(self, X, y):
        """Fit to numbers of shape (n_samples,) or (n_samples, n_outputs)."""
        Y = np.reshape(y, (len(y), -1))
        self.outputs_ = np.shape(y)[1:]
        deviations = Y.std(axis=0)
        self.mean_, self.scale_ = Y.mean(axis=0), np.where(deviations > 0, deviations, 1.0)
        self._fit(X, (Y - self.mean_) / self.scale_, squared_error)
        return self

    def predict(self, X):
        """Predicted numbers."""
        return (self._votes(X) * self.scale_ + self.mean_).reshape(-1, *self.outputs_)


class ModernNCADistributions(RegressorMixin, _ModernNCA):
    """Votes for label distributions, trained by their divergence from the true ones.

    Parameters and attributes are those of :class:`ModernNCAClassifier`.
    """

    def fit(self, X, y):
        """Fit to distributions of shape (n_samples, n_labels)."""
        self._fit(X, y, cross_entropy)
        return self

    def predict(self, X):
        """Predicted distributions."""
        return self._votes(X)
