"""Torch modules as encoders."""

import pickle
from copy import deepcopy

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from torch import nn

from skrelmetric import HRAMLTransformer
from skrelmetric.encoders import Tanh
from tests.deep.problems import SHORT, WHOLE, Words, convolution


class Signs(nn.Module):
    """No features: whole numbers."""

    def forward(self, X):
        return (X > 0).long()


class Built:
    def __init__(self, module):
        self.module = module

    def build(self, X, weights, generator):
        return self.module


# Images and sequences


@pytest.mark.parametrize("head", ["ridge", "linear"])
def test_images(images, head):
    X, y = images
    encoder = convolution()
    before = deepcopy(encoder.state_dict())
    metric = HRAMLTransformer(5, encoder=encoder, head=head, **SHORT, **WHOLE, random_state=0).fit(X, y)
    assert metric.transform(X).shape == (40, 5)
    assert metric.transform(X).dtype == np.float32
    assert metric.n_iter_ == 3
    for name, weight in encoder.state_dict().items():
        assert torch.equal(weight, before[name])
    assert encoder.training
    assert all(weight.grad is None for weight in encoder.parameters())
    assert any(not torch.equal(w, before[name]) for name, w in metric.encoder_[0].state_dict().items())
    frozen = HRAMLTransformer(encoder=convolution().requires_grad_(False)).fit(X, y)
    assert frozen.n_iter_ == 0


@pytest.mark.parametrize("head", ["ridge", "linear"])
def test_images_are_learned(rng, head):
    X = rng.standard_normal((160, 1, 8, 8)).astype(np.float32)
    y = (X[:, 0, :4, :4].mean((1, 2)) > 0).astype(int)
    flat = X.reshape(160, -1)
    raw = KNeighborsClassifier().fit(flat[:80], y[:80]).score(flat[80:], y[80:])
    metric = HRAMLTransformer(encoder=convolution(), head=head, **WHOLE, max_epochs=40, learning_rate=0.03)
    embedding = metric.fit(X[:80], y[:80]).transform(X)
    assert KNeighborsClassifier().fit(embedding[:80], y[:80]).score(embedding[80:], y[80:]) > raw + 0.05


def test_images_of_bytes(rng):
    X = rng.integers(0, 255, (40, 1, 8, 8)).astype(np.uint8)
    y = X[:, 0].mean((1, 2)) > 127
    metric = HRAMLTransformer(encoder=convolution(), **SHORT, random_state=0)
    expected = metric.fit(X.astype(np.float32), y).transform(X.astype(np.float32))
    np.testing.assert_array_equal(metric.fit(X, y).transform(X), expected)


def test_sequences(rng):
    X = rng.integers(0, 20, (60, 7))
    y = (X < 10).sum(1)
    metric = HRAMLTransformer(encoder=Words(), **SHORT, random_state=0)
    embedding = metric.fit(X, y).transform(X)
    assert embedding.shape == (60, 6)
    assert metric.n_iter_ == 3
    for dtype in (np.int32, np.int16):
        np.testing.assert_array_equal(clone(metric).fit(X.astype(dtype), y).transform(X.astype(dtype)), embedding)


def test_integer_tensors_under_dispatch(rng):
    X = rng.integers(0, 20, (60, 7))
    y = (X < 10).sum(1)
    metric = HRAMLTransformer(encoder=Words(), **SHORT, random_state=0)
    expected = metric.fit(X, y).transform(X)
    with config_context(array_api_dispatch=True):
        np.testing.assert_allclose(
            metric.fit(torch.from_numpy(X), torch.from_numpy(y)).transform(torch.from_numpy(X)), expected
        )


# Rows of features


def test_sparse_samples_of_a_module(samples):
    X, Y = samples
    X = X * (X > 0)
    metric = HRAMLTransformer(encoder=nn.Linear(4, 3), **SHORT, random_state=0)
    expected = metric.fit(X, Y).transform(X)
    np.testing.assert_array_equal(metric.fit(sparse.csr_array(X), Y).transform(sparse.csr_array(X)), expected)


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, list, torch.from_numpy])
def test_module_takes_floats_in_any_container(samples, make):
    X, Y = samples
    metric = HRAMLTransformer(encoder=nn.Linear(4, 3), **SHORT, random_state=0)
    expected = metric.fit(X, Y).transform(X)
    container = X.tolist() if make is list else make(X)
    np.testing.assert_allclose(metric.fit(container, Y).transform(container), expected, atol=1e-12)


def test_encoders_that_write_into_their_input(samples):
    X, Y = samples
    before = X.copy()
    module = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 3)).double()
    metric = HRAMLTransformer(encoder=module, **SHORT, random_state=0).fit(X, Y)
    first = metric.transform(X)
    np.testing.assert_array_equal(X, before)
    np.testing.assert_array_equal(metric.transform(X), first)
    with pytest.raises(ValueError, match="The encoder writes into its input"):
        HRAMLTransformer(encoder=Built(module)).fit(X, Y)
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize("encoder", [nn.Flatten(0), nn.Sequential(nn.Linear(4, 3), nn.Unflatten(1, (3, 1))), Signs()])
def test_modules_that_return_no_features(samples, encoder):
    with pytest.raises(ValueError, match=r"must return features of shape \(2, width\), as floats"):
        HRAMLTransformer(encoder=encoder).fit(*samples)


def test_modules_that_return_tuples(samples):
    with pytest.raises(ValueError, match="must return features"):
        HRAMLTransformer(encoder=nn.LSTM(4, 3)).fit(*samples)


def test_a_grid_search_over_encoders(samples):
    X, y = samples[0], samples[1][:, 0]
    torch.manual_seed(0)
    encoders = ["laplacian", Tanh(width=8), nn.Linear(4, 3), nn.Sequential(nn.Linear(4, 3), nn.Tanh())]
    model = make_pipeline(HRAMLTransformer(**SHORT, random_state=0), KNeighborsClassifier())
    search = GridSearchCV(model, {"hramltransformer__encoder": encoders}, cv=2, error_score="raise")
    search.fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    best = search.best_estimator_[0]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(best)).transform(X), best.transform(X))
    np.testing.assert_array_equal(deepcopy(search).best_estimator_[0].transform(X), best.transform(X))
