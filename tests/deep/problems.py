"""Settings, problems and modules that the tests of HRAMLTransformer share."""

import numpy as np
import torch
from scipy.spatial.distance import pdist
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from skrelmetric._hraml.objective import Objective

MLP = {"encoder": "mlp", "hidden_layer_sizes": (8,), "random_state": 0}
LINEAR = {**MLP, "head": "linear", "n_components": 4}
WHOLE = {"early_stopping": False, "tol": 0.0}
SHORT = {"max_epochs": 3, "n_iter_no_change": 100}
KINDS = {"default": {}, "tanh": {"encoder": "tanh"}, "ridge": {**MLP, **SHORT}, "linear": {**LINEAR, **SHORT}}


def disc(rng, n=200):
    """Classes that no direction of the samples tells apart: within a circle of two features of four, or outside."""
    X = rng.standard_normal((n, 4)) * [1, 1, 2, 2]
    return X, (X[:, 0] ** 2 + X[:, 1] ** 2 > 1.4).astype(int)


def gain(metric, X, y, fresh, y_fresh):
    """What nearest neighbours win over the samples as they are."""
    raw = KNeighborsClassifier().fit(X, y).score(fresh, y_fresh)
    return KNeighborsClassifier().fit(metric.transform(X), y).score(metric.transform(fresh), y_fresh) - raw


def convolution():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 5))


class Words(nn.Module):
    """Mean of the vectors of some words, a sequence of whole numbers."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.vectors = nn.Embedding(20, 6)

    def forward(self, words):
        return self.vectors(words).mean(1)


def loss_over_pairs(Z, Y, scale=1.0, offset=0.0):
    """HRAML, Eq. 5, over all n x n pairs, with the Hamming relation."""
    Y = torch.as_tensor(Y, dtype=torch.float64)
    D, G = (Z[:, None] - Z).square().sum(-1), (Y[:, None] - Y).abs().sum(-1)
    return (scale * D + offset - G).square().mean() / 2


def assert_same_distances(Z, expected, rtol=1e-5):
    """Embeddings that differ by a rotation at most."""
    np.testing.assert_allclose(pdist(Z), pdist(expected), rtol=0, atol=rtol * pdist(expected).max())


def keyboard_interrupt():
    raise KeyboardInterrupt


def interrupt(monkeypatch, epoch, how=keyboard_interrupt):
    """Let every fit end before an epoch."""
    run_epoch = Objective.run_epoch

    def interrupted(self, number, optimizer):
        if number == epoch:
            how()
        return run_epoch(self, number, optimizer)

    monkeypatch.setattr(Objective, "run_epoch", interrupted)
