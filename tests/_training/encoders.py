"""Encoders and subsets of samples that tests of training share."""

import re

import pytest
import torch
from scipy import sparse
from torch import nn

from skrelmetric._data.subset import Subset
from skrelmetric._interop.torch import as_tensor

WIDTH = 3


class Encoder(nn.Module):
    """Two layers with dropout between, which remembers the samples that it was trained on and what it dropped."""

    def __init__(self, n_inputs=4, dropout=0.0):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first, self.second = nn.Linear(n_inputs, 6).double(), nn.Linear(6, WIDTH).double()
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.5, generator=generator)
        self.dropout, self.seen = dropout, []

    def forward(self, x):
        mask = nn.functional.dropout(torch.ones(len(x), 6, dtype=x.dtype), self.dropout, self.training)
        if self.training:
            self.seen.append((x, mask))
        return self.features(x, mask)

    def features(self, x, mask):
        return self.second(self.first(x).tanh() * mask)


def uniform(n):
    return torch.full((n,), 1 / n, dtype=torch.float64)


def subset_of(X, p=None):
    X = X if sparse.issparse(X) else as_tensor(X)
    return Subset(X, None, uniform(X.shape[0]) if p is None else torch.as_tensor(p), None)


class Returning(nn.Module):
    """An encoder whose features are made something else."""

    def __init__(self, change):
        super().__init__()
        self.layer, self.change = nn.Linear(4, WIDTH).double(), change

    def forward(self, x):
        return self.change(self.layer(x))


WRONG = {
    "shape (9,) and torch.float64": lambda z: z[:, 0],
    "shape (9, 1, 3) and torch.float64": lambda z: z[:, None],
    "shape (4, 3) and torch.float64": lambda z: z[:4],
    "shape (18, 3) and torch.float64": lambda z: torch.cat([z, z]),
    "shape (9, 3) and torch.int64": lambda z: z.long(),
}


def wrong(what):
    expected = re.escape(f"The encoder returned {what} for 9 samples. It must return features of shape (9, width)")
    return pytest.raises(ValueError, match=expected)
