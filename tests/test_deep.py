import os
import pickle
import signal
import subprocess
import sys
from copy import deepcopy

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy import sparse
from scipy.spatial.distance import cdist, pdist
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics.pairwise import manhattan_distances
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from torch import nn

from skrelmetric import HRAMLTransformer, RAMLLinear
from skrelmetric._hraml.objective import AlignmentInMemory
from skrelmetric.encoders import Laplacian, Tanh
from skrelmetric.relations import Jeffreys

MLP = {"encoder": "mlp", "hidden_layer_sizes": (8,), "random_state": 0}
LINEAR = {**MLP, "head": "linear", "n_components": 4}
WHOLE = {"early_stopping": False, "tol": 0.0}
SHORT = {"max_epochs": 3, "n_iter_no_change": 100}


@pytest.fixture
def samples(rng):
    X = rng.standard_normal((60, 4))
    return X, (X[:, :3] + 0.5 * rng.standard_normal((60, 3)) > 0).astype(int)


@pytest.fixture
def images(rng):
    X = rng.standard_normal((40, 1, 8, 8)).astype(np.float32)
    return X, (X[:, 0, :4].mean((1, 2)) > X[:, 0, 4:].mean((1, 2))).astype(int)


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


class Signs(nn.Module):
    """No features: whole numbers."""

    def forward(self, X):
        return (X > 0).long()


def loss_over_pairs(Z, Y, scale=1.0, offset=0.0):
    """HRAML, Eq. 5, over all n x n pairs, with the Hamming relation."""
    Y = torch.as_tensor(Y, dtype=torch.float64)
    D, G = (Z[:, None] - Z).square().sum(-1), (Y[:, None] - Y).abs().sum(-1)
    return (scale * D + offset - G).square().mean() / 2


def ridge_loss(Z, Y, alpha):
    """Least loss over all pairs of any symmetric M, penalised in units of the mean variance, and offset."""
    Y = torch.as_tensor(Y, dtype=torch.float64)
    n, p = Z.shape
    pairs = (Z[:, None] - Z).reshape(n * n, p)
    design = torch.cat([(pairs[:, :, None] * pairs[:, None]).reshape(n * n, -1), torch.ones(n * n, 1)], 1)
    G = (Y[:, None] - Y).abs().sum(-1).reshape(-1)
    penalty = alpha * Z.var(0, correction=0).mean() ** 2 * torch.eye(p * p + 1, dtype=Z.dtype)
    penalty[-1, -1] = 0
    solution = torch.linalg.solve(design.T @ design / n**2 + penalty, design.T @ G / n**2)
    return (design @ solution - G).square().mean() / 2 + solution @ penalty @ solution / 2


def neighbour_error(Z, Y, Z_val, Y_val):
    nearest = np.argsort(cdist(Z_val, Z), axis=1)[:, :10]
    return np.abs(Y_val[:, None] - Y[nearest]).sum(-1).mean()


def assert_same_distances(Z, expected, rtol=1e-5):
    """Embeddings that differ by a rotation at most."""
    np.testing.assert_allclose(pdist(Z), pdist(expected), rtol=0, atol=rtol * pdist(expected).max())


def interrupt(monkeypatch, epoch):
    run_epoch = AlignmentInMemory.run_epoch

    def interrupted(self, number, optimizer):
        if number == epoch:
            raise KeyboardInterrupt
        return run_epoch(self, number, optimizer)

    monkeypatch.setattr(AlignmentInMemory, "run_epoch", interrupted)


# Composition and optimality


@pytest.mark.parametrize(("encoder", "spec"), [("laplacian", Laplacian()), ("tanh", Tanh())])
@pytest.mark.parametrize("n_components", [None, 3])
def test_default_is_a_linear_metric_of_chosen_features(samples, encoder, spec, n_components):
    X, Y = (torch.from_numpy(array) for array in samples)
    with torch.no_grad():
        features = spec.build(X, torch.full((60,), 1 / 60, dtype=torch.float64), torch.Generator())(X).numpy()
    expected = RAMLLinear(n_components, alpha=3).fit(features, Y.numpy())
    metric = HRAMLTransformer(n_components, encoder=encoder).fit(*samples)
    assert_same_distances(metric.transform(samples[0]), expected.transform(features))
    assert metric.offset_ == pytest.approx(expected.offset_, rel=1e-5)
    assert metric.loss_curve_ == metric.validation_curve_ == []
    assert metric.n_iter_ == metric.best_epoch_ == 0
    np.testing.assert_array_equal(
        HRAMLTransformer(n_components, encoder=spec).fit(*samples).transform(samples[0]), metric.transform(samples[0])
    )


@pytest.mark.parametrize("learn_scale", [False, True])
def test_linear_head_ends_where_the_loss_over_all_pairs_is_stationary(samples, learn_scale):
    X, Y = samples[0][:30, :3], samples[1][:30, :1]
    parameters = {
        **LINEAR,
        "n_components": 2,
        "hidden_layer_sizes": (3,),
        "normalize": False,
        **WHOLE,
        "random_state": 1,
    }

    def gradient(max_epochs):
        metric = HRAMLTransformer(
            **parameters, learn_scale=learn_scale, optimizer="lbfgs", max_epochs=max_epochs, relation="hamming"
        ).fit(X, Y)
        encoder = metric.encoder_[0].requires_grad_(True)
        scale = metric.encoder_[1].weight.detach()[0, 0].square().requires_grad_(learn_scale)
        offset = torch.tensor(metric.offset_, dtype=torch.float64, requires_grad=learn_scale)
        loss = loss_over_pairs(encoder(torch.from_numpy(X)), Y, scale, offset)
        loss.backward()
        assert metric.offset_ == 0 or learn_scale
        free = [p for p in (*encoder.parameters(), scale, offset) if p.requires_grad]
        return torch.cat([p.grad.reshape(-1) for p in free]).norm(), loss.item(), metric

    first, initial_loss, _ = gradient(0)
    last, loss, metric = gradient(200)
    assert metric.n_iter_ < 200
    assert last < 1e-4 * first
    assert loss < 0.9 * initial_loss
    assert metric.loss_curve_[0] == pytest.approx(initial_loss)
    assert metric.loss_curve_[-1] == pytest.approx(loss)


def test_loss_of_the_ridge_head_is_the_least_over_all_pairs_and_falls_along_its_gradient(samples):
    X, Y = torch.from_numpy(samples[0]), samples[1]
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(4, 3), nn.Tanh()).double()
    metric = HRAMLTransformer(encoder=encoder, optimizer="sgd", learning_rate=1.0, max_epochs=1, early_stopping=False)
    metric.fit(*samples)
    expected = ridge_loss(encoder(X), Y, alpha=3)
    expected.backward()
    assert metric.loss_curve_[0] == pytest.approx(expected.item(), rel=1e-6)
    for before, after in zip(encoder.parameters(), metric.encoder_[0].parameters(), strict=True):
        np.testing.assert_allclose((before - after).detach(), before.grad, atol=1e-5 * before.grad.abs().max())


@pytest.mark.parametrize("parameters", [MLP, LINEAR])
def test_losses_fall_and_start_at_the_initial_weights(samples, parameters):
    metric = HRAMLTransformer(**parameters, early_stopping=False, max_epochs=30).fit(*samples)
    assert metric.loss_curve_[-1] < 0.97 * metric.loss_curve_[0]
    assert len(metric.loss_curve_) == metric.n_iter_ == metric.best_epoch_ == 30
    assert metric.validation_curve_ == []
    if parameters is LINEAR:
        untrained = HRAMLTransformer(**parameters, max_epochs=0).fit(*samples).transform(samples[0])
        expected = loss_over_pairs(torch.from_numpy(untrained), samples[1])
        assert metric.loss_curve_[0] == pytest.approx(expected.item())


def test_weight_decay_is_part_of_the_loss(samples):
    torch.manual_seed(0)
    encoder = nn.Linear(4, 3)
    plain, decayed = (
        HRAMLTransformer(encoder=encoder, head="linear", max_epochs=1, weight_decay=decay, early_stopping=False)
        .fit(*samples)
        .loss_curve_[0]
        for decay in (0.0, 0.5)
    )
    squares = encoder.weight.square().sum() + encoder.bias.square().sum()
    assert decayed - plain == pytest.approx(0.5 * squares.item(), rel=1e-5)


# Epochs and how they are judged


@pytest.mark.parametrize("n_val", [1, 25])
def test_best_weights_are_those_of_the_least_neighbour_error(rng, n_val):
    X, y = disc(rng)
    X_val, y_val = disc(rng, n_val)
    metric = HRAMLTransformer(**LINEAR, learning_rate=0.1, max_epochs=20, n_iter_no_change=20)
    metric.fit(X, y, X_val=X_val, y_val=y_val)
    curve = metric.validation_curve_
    assert len(curve) == metric.n_iter_ + 1 == len(metric.loss_curve_) + 1 == 21
    assert metric.best_epoch_ == np.argmin(curve)
    error = neighbour_error(metric.transform(X), y[:, None], metric.transform(X_val), y_val[:, None])
    assert error == pytest.approx(min(curve))
    untrained = clone(metric).set_params(max_epochs=0).fit(X, y)
    error = neighbour_error(untrained.transform(X), y[:, None], untrained.transform(X_val), y_val[:, None])
    assert error == pytest.approx(curve[0])


def test_loss_as_criterion_is_that_of_validation_samples(samples):
    X, Y = samples
    metric = HRAMLTransformer(**LINEAR, criterion="loss", max_epochs=5).fit(X[:40], Y[:40], X_val=X[40:], y_val=Y[40:])
    expected = loss_over_pairs(torch.from_numpy(metric.transform(X[40:])), Y[40:])
    assert min(metric.validation_curve_) == pytest.approx(expected.item())


def test_training_stops_where_nothing_improves(samples):
    metric = HRAMLTransformer(**MLP, n_iter_no_change=2, tol=0.9, max_epochs=50).fit(*samples)
    assert metric.n_iter_ == 2
    assert len(metric.validation_curve_) == 3
    assert HRAMLTransformer(**MLP, **WHOLE, max_epochs=4).fit(*samples).n_iter_ == 4
    with pytest.warns(UserWarning, match="The learned metric is 0"):
        assert HRAMLTransformer(**MLP, n_iter_no_change=3, tol=0.0).fit(samples[0], np.ones(60)).n_iter_ == 3


def test_validation_samples_are_a_part_of_the_training_samples(samples, monkeypatch):
    sizes = []
    judge = AlignmentInMemory.neighbour_error

    def seen(self, validation):
        sizes.append((self.part.n_samples, validation.n_samples))
        assert not np.isin(validation.places, self.part.places).any()
        return judge(self, validation)

    monkeypatch.setattr(AlignmentInMemory, "neighbour_error", seen)
    HRAMLTransformer(**LINEAR, validation_fraction=0.25, max_epochs=1).fit(*samples)
    assert sizes == [(45, 15)] * 2


def test_exact_head_is_solved_on_all_samples_in_the_end(samples):
    metric = HRAMLTransformer(**MLP, **SHORT).fit(*samples)
    again = HRAMLTransformer(encoder=metric.encoder_[0], max_epochs=0).fit(*samples)
    assert_same_distances(metric.transform(samples[0]), again.transform(samples[0]))


def test_validation_samples_change_nothing_without_training(samples):
    X, Y = samples
    metric = HRAMLTransformer().fit(X, Y, X_val=X[:9], y_val=Y[:9])
    np.testing.assert_array_equal(metric.transform(X), HRAMLTransformer().fit(X, Y).transform(X))


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
def test_validation_samples_of_other_kinds(samples, kind):
    X, Y = samples
    expected = HRAMLTransformer(**MLP, **SHORT).fit(X, Y, X_val=X[:9], y_val=Y[:9]).validation_curve_
    metric = HRAMLTransformer(**MLP, **SHORT).fit(X, kind(Y), X_val=sparse.csr_array(X[:9]), y_val=kind(Y[:9]))
    np.testing.assert_allclose(metric.validation_curve_, expected)


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        ({"X_val": np.ones((3, 4))}, "Pass both X_val and y_val"),
        ({"y_val": np.ones((3, 3))}, "Pass both X_val and y_val"),
        ({"X_val": np.ones((3, 5)), "y_val": np.ones((3, 3))}, "X has 5 features"),
        ({"X_val": np.ones((3, 4)), "y_val": np.ones((2, 3))}, "inconsistent numbers of samples"),
        ({"X_val": np.ones((3, 4)), "y_val": np.ones(3)}, r"y_val has outputs of shape \(\), but y of \(3,\)"),
    ],
)
def test_bad_validation_samples(samples, validation, message):
    with pytest.raises(ValueError, match=message):
        HRAMLTransformer(**MLP).fit(*samples, **validation)


@pytest.mark.parametrize(
    ("n", "parameters"),
    [(2, {}), (10, {"criterion": "loss"}), (20, {"validation_fraction": 0.95})],
)
def test_too_few_samples_to_validate(samples, n, parameters):
    X, Y = samples
    with pytest.raises(
        ValueError, match="Pass more samples, another fraction, X_val and y_val, or early_stopping=False"
    ):
        HRAMLTransformer(**MLP, **parameters).fit(X[:n], Y[:n])


def test_divergence_is_an_error(samples):
    X, Y = samples
    metric = HRAMLTransformer(**LINEAR, activation="identity", normalize=False, optimizer="sgd", learning_rate=1e9)
    with pytest.raises(FloatingPointError, match="Lower learning_rate"):
        metric.fit(X, Y)


# Ways to see pairs


WAYS = {
    "all": {"max_epochs": 120},
    "lbfgs": {"optimizer": "lbfgs", "learning_rate": None, "max_epochs": 5},
    "batches": {"batch_size": 50},
    "drawn": {"pairs": 3000, "batch_size": 500},
    "hard": {"optimizer": "sgd", "learning_rate": 0.1, "pairs": 3000, "batch_size": 300, "hard_fraction": 0.5},
}


@pytest.mark.parametrize(
    ("way", "head"), [(w, h) for w in WAYS for h in ("ridge", "linear") if (w, h) != ("hard", "ridge")]
)
def test_every_way_to_see_pairs_learns(way, head, rng):
    X, y = disc(rng)
    parameters = {"hidden_layer_sizes": (32,), "head": head, "normalize": way == "hard", "learning_rate": 0.03}
    parameters |= {"encoder": "mlp", "random_state": 0, "n_components": 8, "max_epochs": 30, "n_iter_no_change": 100}
    metric = HRAMLTransformer(**{**parameters, **WHOLE, **WAYS[way]}).fit(X, y)
    assert metric.n_iter_ == metric.max_epochs
    assert np.mean(metric.loss_curve_[-3:]) < 0.9 * metric.loss_curve_[0]
    assert gain(metric, X, y, *disc(rng, 500)) > 0.04


@pytest.mark.parametrize("encoder", ["laplacian", "tanh"])
def test_chosen_features_tell_what_no_direction_tells(rng, encoder):
    X, y = disc(rng)
    assert gain(HRAMLTransformer(encoder=encoder).fit(X, y), X, y, *disc(rng, 500)) > 0.1


@pytest.mark.parametrize("parameters", [MLP, LINEAR, {**LINEAR, "batch_size": 25}, {**MLP, "weight_decay": 0.1}])
@pytest.mark.parametrize("chunk_size", [7, 1000])
def test_chunks_change_nothing_but_rounding(samples, parameters, chunk_size):
    X, Y = samples
    whole = HRAMLTransformer(**parameters, **SHORT).fit(X, Y)
    chunked = HRAMLTransformer(**parameters, **SHORT, chunk_size=chunk_size).fit(X, Y)
    np.testing.assert_allclose(chunked.transform(X), whole.transform(X), atol=1e-8)
    np.testing.assert_allclose(chunked.loss_curve_, whole.loss_curve_, atol=1e-8)


def test_one_batch_of_all_is_no_batch(samples):
    X, Y = samples
    expected = HRAMLTransformer(**LINEAR, **SHORT).fit(X, Y).transform(X)
    np.testing.assert_array_equal(HRAMLTransformer(**LINEAR, **SHORT, batch_size=60).fit(X, Y).transform(X), expected)


@pytest.mark.parametrize("parameters", [{"batch_size": 2}, {"pairs": 5, "batch_size": 1}, {"pairs": 1}])
def test_the_smallest_batches(samples, parameters):
    X, Y = samples
    assert np.isfinite(HRAMLTransformer(**LINEAR, **SHORT, **parameters).fit(X, Y).transform(X)).all()


# Weights and missing labels


@pytest.mark.parametrize(
    "parameters", [{}, {"encoder": "tanh"}, {**MLP, **WHOLE, **SHORT}, {**LINEAR, **WHOLE, **SHORT}]
)
def test_weights_are_repetition_and_removal(samples, parameters):
    X, Y = samples
    times = np.arange(60) % 3
    times[0] = 1  # so that no quantile is a tie
    repeated = np.repeat(np.arange(60), times)
    weighted = HRAMLTransformer(**parameters).fit(X, Y, sample_weight=times)
    literal = HRAMLTransformer(**parameters).fit(X[repeated], Y[repeated])
    assert_same_distances(weighted.transform(X), literal.transform(X), rtol=1e-9 if "head" in parameters else 1e-3)
    some = times > 0
    removed = HRAMLTransformer(**parameters).fit(X, Y, some / 7)
    kept = HRAMLTransformer(**parameters).fit(X[some], Y[some])
    np.testing.assert_allclose(removed.transform(X), kept.transform(X), atol=1e-9)


@pytest.mark.parametrize("parameters", [{}, {**MLP, **SHORT}, {**LINEAR, **SHORT, "pairs": 100}])
def test_missing_labels(samples, parameters):
    X, Y = samples[0], samples[1].astype(float)
    Y[10:20, 0] = np.nan
    Y[:4] = np.nan
    metric = HRAMLTransformer(**parameters).fit(X, Y)
    expected = HRAMLTransformer(**parameters).fit(X[4:], Y[4:])
    np.testing.assert_allclose(metric.transform(X), expected.transform(X), atol=1e-9)
    filled = clone(metric).fit(X[4:], np.nan_to_num(Y[4:]))
    assert np.abs(pdist(filled.transform(X)) - pdist(metric.transform(X))).max() > 1e-6


# Randomness


@pytest.mark.parametrize("drawn", [{}, {"dropout": 0.5, "batch_size": 20}, {"dropout": 0.3, "pairs": 200}])
@pytest.mark.parametrize("parameters", [{**MLP, "hidden_layer_sizes": (8, 8)}, LINEAR])
def test_seeds(samples, parameters, drawn):
    X, Y = samples
    numpy_state, torch_state = np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    one, same, other = (
        HRAMLTransformer(**{**parameters, "random_state": seed}, **SHORT, **drawn).fit(X, Y) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state[1])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_state)
    np.testing.assert_array_equal(one.transform(X), same.transform(X))
    assert one.loss_curve_ == same.loss_curve_
    assert one.validation_curve_ == same.validation_curve_
    assert np.abs(pdist(one.transform(X)) - pdist(other.transform(X))).max() > 1e-3


def test_global_generators_are_not_drawn_from(samples):
    X, Y = samples
    metric = HRAMLTransformer(**LINEAR, **SHORT, dropout=0.5, batch_size=20)
    expected = metric.fit(X, Y).transform(X)
    torch.manual_seed(17)
    np.testing.assert_array_equal(metric.fit(X, Y).transform(X), expected)


# Going on


@pytest.mark.parametrize("parameters", [MLP, {**LINEAR, "learn_scale": True}])
def test_warm_start_goes_on(samples, parameters):
    X, Y = samples
    warm = HRAMLTransformer(**parameters, **WHOLE, max_epochs=4, warm_start=True, optimizer="sgd").fit(X, Y)
    curve = warm.loss_curve_ + warm.fit(X, Y).loss_curve_
    through = HRAMLTransformer(**parameters, **WHOLE, max_epochs=8, optimizer="sgd").fit(X, Y)
    np.testing.assert_allclose(curve, through.loss_curve_, rtol=1e-9)
    np.testing.assert_allclose(warm.transform(X), through.transform(X), atol=1e-9)
    cold = warm.set_params(warm_start=False).fit(X, Y)
    assert cold.loss_curve_[0] == curve[0]


@pytest.mark.parametrize("parameters", [{}, {"encoder": "tanh", "n_components": 3}])
def test_chunks_of_untrained_encoders(samples, parameters, rng):
    X, Y = samples
    whole, stream = HRAMLTransformer(**parameters).fit(X, Y), HRAMLTransformer(**parameters).partial_fit(X, Y)
    np.testing.assert_array_equal(stream.transform(X), whole.transform(X))
    np.testing.assert_allclose(stream.partial_fit(X, Y).transform(X), whole.transform(X), atol=1e-9)
    before = stream.transform(X)
    stream.partial_fit(rng.standard_normal((30, 4)), Y[:30])
    assert np.abs(stream.transform(X) - before).max() > 1e-6
    assert stream.loss_curve_ == []


def test_solutions_of_chunks_are_averaged_by_their_samples(samples):
    X, Y = samples
    stream = HRAMLTransformer().partial_fit(X[:40], Y[:40])
    first = stream.offset_
    second = HRAMLTransformer(encoder=stream.encoder_[0], max_epochs=0).fit(X[40:], Y[40:]).offset_
    assert stream.partial_fit(X[40:], Y[40:]).offset_ == pytest.approx(2 / 3 * first + 1 / 3 * second)
    assert abs(first - second) > 1e-3


@pytest.mark.parametrize("parameters", [MLP, LINEAR])
def test_chunks_in_a_loop_learn(rng, parameters):
    X, y = disc(rng)
    metric = HRAMLTransformer(**{**parameters, "hidden_layer_sizes": (32,)}, normalize=False, learning_rate=0.03)
    for _ in range(30):
        for some in (slice(0, 100), slice(100, 200)):
            metric.partial_fit(X[some], y[some])
    assert metric.n_iter_ == metric.best_epoch_ == len(metric.loss_curve_) == 60
    assert metric.loss_curve_[-1] < 0.9 * metric.loss_curve_[0]
    assert gain(metric, X, y, *disc(rng, 500)) > 0.04


@pytest.mark.parametrize("parameters", [{}, {**MLP, **SHORT}, {**LINEAR, **SHORT}])
def test_chunks_after_a_fit(samples, parameters):
    X, Y = samples
    metric = HRAMLTransformer(**parameters).fit(X, Y)
    n_epochs, copy = metric.n_iter_, pickle.loads(pickle.dumps(metric))
    metric.partial_fit(X[:30], Y[:30])
    assert metric.n_iter_ == (n_epochs + 1 if n_epochs else 0)
    np.testing.assert_array_equal(copy.partial_fit(X[:30], Y[:30]).transform(X), metric.transform(X))
    with pytest.raises(ValueError, match="X has 3 features, but HRAMLTransformer is expecting 4"):
        metric.partial_fit(X[:, :3], Y)


@pytest.mark.parametrize("parameters", [{}, {**MLP, **SHORT, "batch_size": 20, "chunk_size": 6}])
def test_memory_maps(samples, parameters, tmp_path):
    X, Y = samples
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    expected = HRAMLTransformer(**parameters).fit(X, Y).transform(X)
    metric = HRAMLTransformer(**parameters).fit(mapped, Y)
    np.testing.assert_array_equal(metric.transform(mapped), expected)
    stream = HRAMLTransformer(**parameters).partial_fit(mapped[:30], Y[:30]).partial_fit(mapped[30:], Y[30:])
    literal = HRAMLTransformer(**parameters).partial_fit(X[:30], Y[:30]).partial_fit(X[30:], Y[30:])
    np.testing.assert_array_equal(stream.transform(mapped), literal.transform(X))


# Checkpoints

RESUMED = {
    "ridge": MLP,
    "linear": {**LINEAR, "learn_scale": True},
    "dropout": {**LINEAR, "dropout": 0.3, "batch_size": 20},
    "drawn": {**MLP, "pairs": 100, "optimizer": "sgd"},
    "lbfgs": {**LINEAR, "optimizer": "lbfgs"},
    "unseeded": {**MLP, "random_state": None},
}


@pytest.mark.parametrize("stopping", [True, False])
@pytest.mark.parametrize("name", RESUMED)
def test_interrupted_fits_resume_to_the_same_end(samples, tmp_path, name, stopping):
    X, Y = samples
    parameters = {**RESUMED[name], "max_epochs": 4, "n_iter_no_change": 4, "early_stopping": stopping}
    ends = []
    for folder, epoch in ((tmp_path / "through", None), (tmp_path / "interrupted", 2)):
        folder.mkdir()
        metric = HRAMLTransformer(**parameters, checkpoint=folder)
        with pytest.MonkeyPatch.context() as monkeypatch:
            if epoch is not None:
                interrupt(monkeypatch, epoch)
                with pytest.raises(KeyboardInterrupt):
                    metric.fit(X, Y)
        ends.append(clone(metric).fit(X, Y))
        assert len(list(folder.iterdir())) == 1
    through, resumed = ends
    np.testing.assert_array_equal(resumed.transform(X), through.transform(X))
    for curve in ("loss_curve_", "validation_curve_", "best_epoch_"):
        assert getattr(resumed, curve) == getattr(through, curve)
    if name != "unseeded":
        plain = HRAMLTransformer(**parameters).fit(X, Y)
        np.testing.assert_array_equal(resumed.transform(X), plain.transform(X))


def test_a_finished_fit_is_taken_from_its_file(samples, tmp_path, monkeypatch):
    X, Y = samples
    metric = HRAMLTransformer(**LINEAR, checkpoint=tmp_path, **SHORT).fit(X, Y)
    interrupt(monkeypatch, 0)
    again = HRAMLTransformer(**LINEAR, checkpoint=str(tmp_path), **SHORT).fit(X, Y)
    np.testing.assert_array_equal(again.transform(X), metric.transform(X))
    assert again.loss_curve_ == metric.loss_curve_
    for other in (clone(metric), clone(metric).set_params(max_epochs=2)):
        with pytest.raises(KeyboardInterrupt):
            other.fit(X[:50], Y[:50])
    with pytest.raises(KeyboardInterrupt):  # another number of epochs is another fit
        clone(metric).set_params(max_epochs=2).fit(X, Y)


def test_unlike_fits_have_unlike_checkpoints(samples, tmp_path):
    X, Y = samples

    def n_files(encoder, sample_weight=None):
        HRAMLTransformer(encoder=encoder, **SHORT, checkpoint=tmp_path, random_state=0).fit(X, Y, sample_weight)
        return len(list(tmp_path.glob("*.pt")))

    frozen = nn.Sequential(nn.Linear(4, 3))
    assert n_files(frozen) == n_files(deepcopy(frozen)) == 1
    frozen[0].bias.requires_grad_(False)
    assert n_files(frozen) == 2
    same_targets = [i for i in range(len(Y)) if (Y[i] == Y[0]).all()][:2]
    for count, left_out in zip((3, 4), same_targets, strict=True):
        assert n_files(frozen, np.where(np.arange(len(X)) == left_out, 0.0, 1.0)) == count


def test_functions_without_a_name_have_no_checkpoint(samples, tmp_path):
    X, Y = samples
    metric = HRAMLTransformer(relation=lambda a, b: np.abs(a[:, None] - b).sum(-1), checkpoint=tmp_path)
    with pytest.raises(ValueError, match="relation is .*<lambda>, of which a checkpoint cannot tell"):
        metric.fit(X, Y)


def test_checkpoint_folders(samples, tmp_path):
    X, Y = samples
    HRAMLTransformer(**LINEAR, **SHORT, checkpoint=tmp_path / "new" / "folder").fit(X, Y)
    assert len(list((tmp_path / "new" / "folder").iterdir())) == 1
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="file' cannot be a folder"):
        HRAMLTransformer(**LINEAR, **SHORT, checkpoint=tmp_path / "file").fit(X, Y)


def test_fits_share_a_folder(samples, tmp_path):
    X, Y = samples
    metrics = [
        HRAMLTransformer(**LINEAR, **SHORT, checkpoint=tmp_path, learning_rate=rate).fit(X, Y) for rate in (0.01, 0.02)
    ]
    metrics.append(HRAMLTransformer(**LINEAR, **SHORT, checkpoint=tmp_path, learning_rate=0.01).fit(X[::-1], Y[::-1]))
    assert len(list(tmp_path.iterdir())) == 3
    for metric, (features, labels) in zip(metrics, [(X, Y), (X, Y), (X[::-1], Y[::-1])], strict=True):
        expected = clone(metric).set_params(checkpoint=None).fit(features, labels)
        np.testing.assert_array_equal(metric.transform(X), expected.transform(X))


def test_unreadable_checkpoints_are_said(samples, tmp_path):
    HRAMLTransformer(**LINEAR, **SHORT, checkpoint=tmp_path).fit(*samples)
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"torn")
    with pytest.raises(ValueError, match="cannot be read .*Delete it to start anew"):
        HRAMLTransformer(**LINEAR, **SHORT, checkpoint=tmp_path).fit(*samples)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_killed_fits_resume(tmp_path):
    script = """
import os, signal, sys
import numpy as np
from skrelmetric import HRAMLTransformer
from skrelmetric._hraml.objective import AlignmentInMemory

run_epoch = AlignmentInMemory.run_epoch

def killed(self, number, optimizer):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return run_epoch(self, number, optimizer)

AlignmentInMemory.run_epoch = killed
X = np.sin(np.arange(120.0)).reshape(40, 3)
HRAMLTransformer(encoder="mlp", max_epochs=6, n_iter_no_change=6, checkpoint=sys.argv[1]).fit(X, X[:, 0] > 0)
"""
    killed = subprocess.run([sys.executable, "-c", script, tmp_path], env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert killed.returncode == -signal.SIGKILL
    (file,) = tmp_path.iterdir()
    assert len(torch.load(file, weights_only=True)["history"]["losses"]) == 3
    X = np.sin(np.arange(120.0)).reshape(40, 3)
    metric = HRAMLTransformer(encoder="mlp", max_epochs=6, n_iter_no_change=6, checkpoint=tmp_path).fit(X, X[:, 0] > 0)
    (tmp_path / "other").mkdir()
    through = clone(metric).set_params(checkpoint=tmp_path / "other").fit(X, X[:, 0] > 0)
    np.testing.assert_allclose(metric.transform(X), through.transform(X), atol=1e-9)  # threads may differ
    assert file.exists()


# Callbacks


def spread(metric, X, y):
    return float(np.var(metric.transform(X)))


@pytest.mark.parametrize("parameters", [MLP, LINEAR])
def test_scoring_monitor_sees_every_epoch(samples, parameters):
    callback = pytest.importorskip("sklearn.callback")
    X, Y = samples
    monitor = callback.ScoringMonitor(scoring={"spread": spread})
    metric = HRAMLTransformer(**parameters, **WHOLE, max_epochs=3)
    expected = [spread(clone(metric).set_params(max_epochs=n).fit(X, Y), X, Y) for n in (1, 2, 3)]
    metric.set_callbacks(monitor).fit(X, Y)
    log = monitor.get_logs().data
    np.testing.assert_allclose([entry["spread"] for entry in log if entry["task_name"] == "epoch"], expected)
    assert [entry["spread"] for entry in log if entry["task_name"] == "fit"] == [pytest.approx(expected[-1])]
    assert spread(metric, X, Y) == pytest.approx(expected[-1])


def test_callbacks_after_early_stopping_and_in_a_search(samples, capsys):
    callback = pytest.importorskip("sklearn.callback")
    X, Y = samples
    monitor, bar = callback.ScoringMonitor(scoring={"spread": spread}), callback.ProgressBar()
    metric = HRAMLTransformer(**MLP, n_iter_no_change=2, tol=0.9).set_callbacks(monitor, bar).fit(X, Y)
    assert metric.n_iter_ == 2
    assert sum(entry["task_name"] == "epoch" for entry in monitor.get_logs().data) == 2
    assert "HRAMLTransformer - fit" in capsys.readouterr().out
    copy = pickle.loads(pickle.dumps(metric))
    np.testing.assert_array_equal(copy.transform(X), metric.transform(X))
    monitor = callback.ScoringMonitor(scoring={"spread": spread})
    model = HRAMLTransformer(**MLP, **SHORT).set_callbacks(monitor)
    search = GridSearchCV(model, {"alpha": [1.0, 3.0]}, scoring=spread, cv=2, error_score="raise")
    search.set_callbacks(callback.ProgressBar()).fit(X, Y)
    assert sum(entry["task_name"] == "epoch" for entry in monitor.get_logs().data) == 5 * 3
    expected = HRAMLTransformer(**MLP, **SHORT, alpha=search.best_params_["alpha"]).fit(X, Y)
    np.testing.assert_array_equal(search.best_estimator_.transform(X), expected.transform(X))


@pytest.mark.parametrize("parameters", [{}, {**LINEAR, **SHORT}])
def test_callbacks_see_a_fitted_estimator(samples, parameters):
    callback = pytest.importorskip("sklearn.callback")
    X, Y = samples

    def names(metric, X, y):
        return len(metric.get_feature_names_out()) - metric.transform(X).shape[1] + 0 * metric.offset_

    tensors = torch.from_numpy(X), torch.from_numpy(Y)
    for data, output, dispatch in (((X, Y), "default", False), ((X, Y), "pandas", False), (tensors, "default", True)):
        monitor = callback.ScoringMonitor(scoring={"names": names})
        with config_context(array_api_dispatch=dispatch):
            HRAMLTransformer(**parameters).set_output(transform=output).set_callbacks(monitor).fit(*data)
        assert [entry["names"] for entry in monitor.get_logs().data] == [0.0] * (4 if parameters else 1)


def test_a_callback_stops_training(samples):
    pytest.importorskip("sklearn.callback")

    class AfterTwo:
        def setup(self, estimator, context):
            self.down = 0

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context):
            return context.task_name == "epoch" and context.task_id == 1

        def teardown(self, estimator, context):
            self.down += 1

    callback = AfterTwo()
    assert HRAMLTransformer(**MLP, max_epochs=9).set_callbacks(callback).fit(*samples).n_iter_ == 2
    assert callback.down == 1
    with pytest.raises(ValueError, match="y_val"):
        HRAMLTransformer(**MLP, max_epochs=9).set_callbacks(callback).fit(*samples, X_val=samples[0])


def test_verbose_shows_epochs(samples, capsys, monkeypatch):
    metric = HRAMLTransformer(**MLP, **SHORT, verbose=True).fit(*samples)
    shown = capsys.readouterr().out
    assert f"Epoch 3, loss {metric.loss_curve_[-1]:.4g}" in shown
    assert "criterion" in shown
    HRAMLTransformer(**MLP, **SHORT).fit(*samples)
    assert capsys.readouterr().out == ""
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    with pytest.raises(ImportError, match=r"skrelmetric\[progress\]"):
        metric.fit(*samples)


# Torch modules


@pytest.mark.parametrize("head", ["ridge", "linear"])
def test_images(images, head):
    X, y = images
    encoder = convolution()
    before = deepcopy(encoder.state_dict())
    metric = HRAMLTransformer(encoder=encoder, head=head, **SHORT, **WHOLE, random_state=0).fit(X, y)
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


def test_sequences(rng):
    X = rng.integers(0, 20, (60, 7))
    y = (X < 10).sum(1)
    metric = HRAMLTransformer(encoder=Words(), **SHORT, random_state=0)
    embedding = metric.fit(X, y).transform(X)
    assert embedding.shape == (60, 6)
    assert metric.n_iter_ == 3
    for dtype in (np.int32, np.int16):
        np.testing.assert_array_equal(clone(metric).fit(X.astype(dtype), y).transform(X.astype(dtype)), embedding)


def test_sparse_samples_of_a_module(samples):
    X, Y = samples
    X = X * (X > 0)
    metric = HRAMLTransformer(encoder=nn.Linear(4, 3), **SHORT, random_state=0)
    expected = metric.fit(X, Y).transform(X)
    np.testing.assert_array_equal(metric.fit(sparse.csr_array(X), Y).transform(sparse.csr_array(X)), expected)


@pytest.mark.parametrize("encoder", [nn.Flatten(0), nn.Sequential(nn.Linear(4, 3), nn.Unflatten(1, (3, 1))), Signs()])
def test_modules_that_return_no_features(samples, encoder):
    with pytest.raises(ValueError, match=r"must return features of shape \(2, width\), as floats"):
        HRAMLTransformer(encoder=encoder).fit(*samples)


def test_a_module_without_parameters_is_the_linear_metric(samples):
    X, Y = samples[0].astype(np.float32), samples[1]
    metric = HRAMLTransformer(encoder=nn.Identity(), alpha=1.0).fit(X, Y)
    assert_same_distances(metric.transform(X), RAMLLinear().fit(X, Y).transform(X))
    assert metric.n_iter_ == 0


def test_copies_of_modules(images):
    X, y = images
    metric = HRAMLTransformer(encoder=convolution(), **SHORT, random_state=0)
    for copy in (clone(metric), deepcopy(metric), pickle.loads(pickle.dumps(metric))):
        assert copy.encoder is not metric.encoder
        np.testing.assert_array_equal(copy.fit(X, y).transform(X), metric.fit(X, y).transform(X))
    fitted = deepcopy(metric)
    fitted.partial_fit(X, y)
    assert np.abs(fitted.transform(X) - metric.transform(X)).max() > 0  # copies do not share weights
    np.testing.assert_array_equal(metric.transform(X), clone(metric).fit(X, y).transform(X))


def test_a_grid_search_over_encoders(samples):
    X, y = samples[0], samples[1][:, 0]
    torch.manual_seed(0)
    encoders = ["laplacian", Tanh(width=8), nn.Linear(4, 3), nn.Sequential(nn.Linear(4, 3), nn.Tanh())]
    model = make_pipeline(HRAMLTransformer(**SHORT, random_state=0), KNeighborsClassifier())
    search = GridSearchCV(model, {"hramltransformer__encoder": encoders}, n_jobs=2, cv=2, error_score="raise")
    search.fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    best = search.best_estimator_[0]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(best)).transform(X), best.transform(X))
    np.testing.assert_array_equal(deepcopy(search).best_estimator_[0].transform(X), best.transform(X))


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
@pytest.mark.parametrize("parameters", [{}, {**MLP, **SHORT}, {**LINEAR, **SHORT, "learn_scale": True}])
def test_states_of_a_gpu_are_read_without_one(samples, parameters, monkeypatch):
    X, Y = samples
    metric = HRAMLTransformer(**parameters).fit(X, Y)
    with monkeypatch.context() as patched:
        patched.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        state = pickle.dumps(metric)
    assert b"cuda:0" in state
    read = pickle.loads(state)
    np.testing.assert_array_equal(read.transform(X), metric.transform(X))
    np.testing.assert_array_equal(read.partial_fit(X, Y).transform(X), metric.partial_fit(X, Y).transform(X))


# ONNX

EXPORTED = {
    "laplacian": ({}, np.float32),
    "tanh": ({"encoder": "tanh"}, np.float32),
    "ridge": ({**MLP, **SHORT}, np.float64),
    "linear": ({**LINEAR, **SHORT, "learn_scale": True, "dropout": 0.5}, np.float32),
    "images": ({"encoder": convolution(), **SHORT}, np.float32),
}


@pytest.mark.parametrize("name", EXPORTED)
def test_exported_graphs_give_the_same_embedding(name, samples, images, tmp_path, rng):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    parameters, dtype = EXPORTED[name]
    X, y = images if name == "images" else (np.tile(samples[0], 6) + 0.1 * rng.standard_normal((60, 24)), samples[1])
    X = X.astype(dtype)
    metric = HRAMLTransformer(**parameters).fit(X, y)
    expected = metric.transform(X)
    metric.export_onnx(tmp_path / "metric.onnx")
    assert [file.name for file in tmp_path.iterdir()] == ["metric.onnx"]
    session = runtime.InferenceSession(tmp_path / "metric.onnx")
    rtol = 1e-4 if dtype == np.float32 else 1e-9
    for n in (1, 2, 7):
        (embedding,) = session.run(["Z"], {"X": X[:n]})
        assert embedding.dtype == dtype
        np.testing.assert_allclose(embedding, expected[:n], atol=rtol * np.abs(expected).max())
    np.testing.assert_array_equal(metric.transform(X), expected)


def test_export_without_onnxscript(samples, tmp_path, monkeypatch):
    with pytest.raises(NotFittedError):
        HRAMLTransformer().export_onnx(tmp_path / "metric.onnx")
    metric = HRAMLTransformer().fit(*samples)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r"pip install 'skrelmetric\[onnx\]'"):
        metric.export_onnx(tmp_path / "metric.onnx")
    assert list(tmp_path.iterdir()) == []


# Kinds of samples and targets

KINDS = {"default": {}, "tanh": {"encoder": "tanh"}, "ridge": {**MLP, **SHORT}, "linear": {**LINEAR, **SHORT}}


@pytest.mark.parametrize("name", KINDS)
def test_float32_stays_float32_and_agrees(samples, name):
    X, Y = samples
    wide, single = (HRAMLTransformer(**KINDS[name]).fit(X.astype(t), Y) for t in (np.float64, np.float32))
    assert single.transform(X.astype(np.float32)).dtype == single.components_.dtype == np.float32
    assert wide.transform(X.astype(np.float32)).dtype == np.float32
    assert wide.transform(X).dtype == single.transform(X).dtype == wide.components_.dtype == np.float64
    assert_same_distances(single.transform(X.astype(np.float32)), wide.transform(X), rtol=1e-4)


@pytest.mark.parametrize("kind", [sparse.csr_array, sparse.csr_matrix, sparse.coo_array])
@pytest.mark.parametrize("name", KINDS)
def test_sparse_samples(samples, name, kind):
    X, Y = samples[0] * (samples[0] > 0), samples[1]
    metric = HRAMLTransformer(**KINDS[name])
    expected = metric.fit(X, Y).transform(X)
    embedding = metric.fit(kind(X), kind(Y)).transform(kind(X))
    assert isinstance(embedding, np.ndarray)
    np.testing.assert_allclose(embedding, expected, atol=1e-9)
    assert metric.fit(kind(X.astype(np.float32)), Y).transform(kind(X.astype(np.float32))).dtype == np.float32


@pytest.mark.parametrize(("make", "output"), [(pd.DataFrame, "pandas"), (pl.DataFrame, "polars")])
def test_data_frames_in_and_out(samples, make, output):
    X, Y = samples
    frame = make({f"x{i}": X[:, i] for i in range(4)})
    metric = HRAMLTransformer(2).set_output(transform=output).fit(frame, make({f"y{i}": Y[:, i] for i in range(3)}))
    transformed = metric.transform(frame)
    assert isinstance(transformed, make)
    assert (
        list(transformed.columns) == list(metric.get_feature_names_out()) == ["hramltransformer0", "hramltransformer1"]
    )
    np.testing.assert_array_equal(transformed.to_numpy(), HRAMLTransformer(2).fit(X, Y).transform(X))


@pytest.mark.parametrize("name", KINDS)
def test_tensors_under_dispatch(samples, name):
    X, Y = map(torch.from_numpy, samples)
    expected = HRAMLTransformer(**KINDS[name]).fit(*samples).transform(samples[0])
    with config_context(array_api_dispatch=True):
        metric = HRAMLTransformer(**KINDS[name]).fit(X, Y)
        embedding = metric.transform(X)
        assert isinstance(embedding, torch.Tensor)
        assert isinstance(metric.components_, torch.Tensor)
        assert torch.equal(pickle.loads(pickle.dumps(metric)).transform(X), embedding)
        with pytest.raises(ValueError, match="same namespace"):
            metric.transform(samples[0])
    np.testing.assert_array_equal(embedding, expected)
    assert isinstance(HRAMLTransformer(**KINDS[name]).fit(X, Y).transform(X), np.ndarray)


@pytest.mark.parametrize("name", KINDS)
def test_transform_of_one_sample_and_layouts(samples, name):
    X, Y = samples
    metric = HRAMLTransformer(**KINDS[name]).fit(X, Y)
    expected = metric.transform(X)
    np.testing.assert_allclose(metric.transform(X[:1]), expected[:1], atol=1e-12)
    read_only = X.copy()
    read_only.flags.writeable = False
    for layout in (np.asfortranarray(X), np.ascontiguousarray(X[::-1])[::-1], read_only, X.tolist()):
        np.testing.assert_allclose(metric.transform(layout), expected, atol=1e-12)
        refitted = clone(metric).fit(layout, Y)
        np.testing.assert_allclose(refitted.transform(X), expected, atol=1e-9)
    with pytest.raises(ValueError, match="X has 3 features, but HRAMLTransformer is expecting 4"):
        metric.transform(X[:, :3])


def test_input_is_left_alone(samples):
    X, Y = samples
    before = X.copy(), Y.copy()
    for parameters in KINDS.values():
        HRAMLTransformer(**parameters).fit(X, Y).partial_fit(X, Y).transform(X)
    np.testing.assert_array_equal(X, before[0])
    np.testing.assert_array_equal(Y, before[1])


def test_targets_of_any_kind(samples):
    X, y = samples[0], samples[1][:, 0]
    expected = HRAMLTransformer().fit(X, y).transform(X)
    for classes in (np.where(y, "yes", "no"), np.where(y, "yes", "no").tolist(), y.astype(bool)):
        np.testing.assert_allclose(HRAMLTransformer().fit(X, classes).transform(X), expected, atol=1e-12)
    words = np.where(y, "yes", "no")
    metric = HRAMLTransformer(**MLP, **SHORT).fit(X, words, X_val=X[:9], y_val=words[:9])
    assert len(metric.validation_curve_) == 4
    numbers = HRAMLTransformer(relation="l1").fit(X, X[:, 0])
    np.testing.assert_array_equal(HRAMLTransformer().fit(X, X[:, 0]).transform(X), numbers.transform(X))


@pytest.mark.parametrize("parameters", [{}, {**MLP, **SHORT}, {**LINEAR, **SHORT, "pairs": 100}])
def test_relations(samples, parameters):
    X = samples[0]
    D = np.exp(X) / np.exp(X).sum(1, keepdims=True)
    by_name, by_function = (
        HRAMLTransformer(**parameters, relation=relation).fit(X, D) for relation in ("l1", manhattan_distances)
    )
    np.testing.assert_allclose(by_function.transform(X), by_name.transform(X), atol=1e-6)
    by_name, by_object = (
        HRAMLTransformer(**parameters, relation=relation).fit(X, D) for relation in ("jeffreys", Jeffreys())
    )
    np.testing.assert_allclose(by_object.transform(X), by_name.transform(X), atol=1e-9)


def test_mixed_precision_agrees_roughly(samples):
    X, Y = samples[0].astype(np.float32), samples[1]
    exact, mixed = (HRAMLTransformer(**LINEAR, **WHOLE, **SHORT, mixed_precision=m).fit(X, Y) for m in (False, True))
    assert mixed.transform(X).dtype == np.float32
    assert_same_distances(mixed.transform(X), exact.transform(X), rtol=0.05)
    assert np.abs(mixed.transform(X) - exact.transform(X)).max() > 0


# What is refused


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"encoder": "laplace"}, "'encoder' parameter of HRAMLTransformer must be"),
        ({"encoder": 3}, "an object implementing 'build'"),
        ({"encoder": Laplacian(width=0)}, "width=0 of Laplacian must be a whole number above 0"),
        ({"encoder": Laplacian(gamma=-1.0)}, "gamma=-1.0 of Laplacian must be a number above 0"),
        ({"n_components": 0}, "'n_components' parameter of HRAMLTransformer must be"),
        ({"n_components": 61}, "n_components=61, but the encoder has .* Pass at most that, or None"),
        ({"n_components": 3, "encoder": nn.Linear(4, 2), "head": "linear"}, "Pass that number, or None"),
        ({"relation": "haming"}, "Did you mean 'hamming'"),
        ({"head": "exact"}, "'head' parameter"),
        ({"alpha": -1.0}, "'alpha' parameter"),
        ({"dropout": 1.0}, "'dropout' parameter"),
        ({"encoder": "mlp", "dropout": 0.1}, r"hidden_layer_sizes=\(128,\) has none under head='ridge'"),
        ({"encoder": Laplacian}, r"encoder=Laplacian is a class. Pass an object, Laplacian\(...\)"),
        ({"hard_fraction": 0.5, "pairs": 10}, "hard_fraction=0.5 is for head='linear'"),
        ({"activation": "swish"}, "'activation' parameter"),
        ({"pairs": 0}, "'pairs' parameter"),
        ({"hard_fraction": 0.0}, "'hard_fraction' parameter"),
        ({"max_epochs": -1}, "'max_epochs' parameter"),
        ({"learning_rate": 0.0}, "'learning_rate' parameter"),
        ({"tol": 1.5}, "'tol' parameter"),
        ({"validation_fraction": 1.0}, "'validation_fraction' parameter"),
        ({"criterion": "accuracy"}, "'criterion' parameter"),
        ({"optimizer": "rmsprop"}, "'optimizer' parameter"),
        (
            {"warm_start": True, "checkpoint": "."},
            "warm_start=True starts from the last fit and checkpoint from a file",
        ),
        ({"hard_fraction": 0.5}, "hard_fraction=0.5 chooses among drawn pairs, but pairs='all'"),
        ({"batch_size": 1}, "a batch of samples needs two to have a pair"),
        ({"optimizer": "lbfgs", "pairs": 100}, "optimizer='lbfgs' needs the same loss at every step"),
        ({"optimizer": "lbfgs", "batch_size": 10}, "optimizer='lbfgs' needs the same loss at every step"),
        (
            {"optimizer": "lbfgs", "encoder": "mlp", "dropout": 0.1},
            "optimizer='lbfgs' needs the same loss at every step",
        ),
        ({"learn_scale": True}, "learn_scale=True is for head='linear'"),
        ({"hidden_layer_sizes": (8, 0)}, "must hold whole numbers above 0"),
        ({"hidden_layer_sizes": (8.0,)}, "must hold whole numbers above 0"),
        ({"encoder": "mlp", "hidden_layer_sizes": ()}, "leaves encoder='mlp' no features"),
        ({"device": "bogus"}, "device='bogus' cannot be used here"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_bad_parameters(samples, parameters, message, method):
    with pytest.raises(ValueError, match=message):
        getattr(HRAMLTransformer(**parameters), method)(*samples)


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        ([[0.0, np.nan], [1, 2]], [0, 1], "contains NaN"),
        ([[0.0, np.inf], [1, 2]], [0, 1], "contains infinity"),
        ([0.0, 1.0], [0, 1], "Expected 2D array"),
        (np.zeros((3, 2, 2)), [0, 1, 1], "dim 3"),
        ([[0.0, 1], [1, 2]], None, "HRAMLTransformer requires y to be passed, but the target y is None"),
        ([[0.0, 1], [1, 2]], [0, 1, 1], "inconsistent numbers of samples"),
        ([[0.0, 1], [1, 2]], [0.5, np.inf], "contains infinity"),
        ([[0.0, 1], [1, 2]], [0.5, np.nan], "1 of 2 samples have a positive weight and a known target"),
        ([[0.0, 1]], [0], "minimum of 2 is required"),
        ([[0.0, 1], [1, 2]], [[1], [2, 3]], "MultiLabelBinarizer"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_bad_input(X, y, message, method):
    with pytest.raises(ValueError, match=message):
        getattr(HRAMLTransformer(), method)(X, y)


def test_unfitted(samples):
    with pytest.raises(NotFittedError):
        HRAMLTransformer().transform(samples[0])


# Small and degenerate samples


@pytest.mark.parametrize(
    "parameters", [{}, {"encoder": "tanh"}, {**MLP, **SHORT, **WHOLE}, {**LINEAR, **SHORT, **WHOLE}]
)
@pytest.mark.parametrize(
    "X",
    [
        [[0.0, 1.0], [1.0, 5.0]],  # two samples
        [[0.0], [1.0], [3.0]],  # one feature
        np.eye(3, 10),  # more features than samples
        [[0.0, 7.0], [1.0, 7.0], [2.0, 7.0]],  # a constant feature
        [[0.0, 0.1], [1.0, 0.1], [2.0, 0.1], [4.0, 0.1]],  # one whose mean is rounded
        [[0.0, 1.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]],  # duplicates
        [[0.0, 1e-9], [1e9, 0.0], [-1e9, 2e-9], [1e9, 1e-9]],  # of many scales
    ],
)
def test_small_and_degenerate_samples_have_finite_embeddings(X, parameters):
    X = np.asarray(X)
    metric = HRAMLTransformer(**parameters).fit(X, X[:, 0] > X[:, 0].mean())
    assert np.isfinite(metric.transform(X)).all()
    assert np.isfinite(metric.transform(X + 1)).all()
    assert np.isfinite(metric.offset_)


@pytest.mark.parametrize("parameters", [{}, {"encoder": "tanh"}, {**MLP, **SHORT}])
@pytest.mark.parametrize("y", [np.ones(60), np.ones((60, 2), dtype=int), ["a"] * 60])
def test_nothing_to_learn_gives_the_zero_metric_and_a_warning(samples, parameters, y):
    with pytest.warns(UserWarning, match="The learned metric is 0"):
        metric = HRAMLTransformer(**parameters).fit(samples[0], y)
    assert not metric.transform(samples[0]).any()
    assert metric.offset_ == pytest.approx(0, abs=1e-12)


def test_nothing_to_learn_of_the_linear_head(samples):
    metric = HRAMLTransformer(**LINEAR, **SHORT).fit(samples[0], np.ones(60))
    assert np.isfinite(metric.transform(samples[0])).all()


@pytest.mark.parametrize("c", [1e-100, 1e-3, 1e3, 1e100])
@pytest.mark.parametrize("encoder", ["laplacian", "tanh"])
def test_chosen_features_are_free_of_scale(samples, encoder, c):
    X, Y = samples
    one, scaled = HRAMLTransformer(encoder=encoder).fit(X, Y), HRAMLTransformer(encoder=encoder).fit(c * X, Y)
    assert_same_distances(scaled.transform(c * X), one.transform(X))


# What once went wrong


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, list, torch.from_numpy])
def test_module_takes_floats_in_any_container(samples, make):
    X, Y = samples
    metric = HRAMLTransformer(encoder=nn.Linear(4, 3), **SHORT, random_state=0)
    expected = metric.fit(X, Y).transform(X)
    container = X.tolist() if make is list else make(X)
    np.testing.assert_allclose(metric.fit(container, Y).transform(container), expected, atol=1e-12)


def test_integer_tensors_under_dispatch(rng):
    X = rng.integers(0, 20, (60, 7))
    y = (X < 10).sum(1)
    metric = HRAMLTransformer(encoder=Words(), **SHORT, random_state=0)
    expected = metric.fit(X, y).transform(X)
    with config_context(array_api_dispatch=True):
        np.testing.assert_allclose(
            metric.fit(torch.from_numpy(X), torch.from_numpy(y)).transform(torch.from_numpy(X)), expected
        )


class Scaled(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.linear, self.factor = nn.Linear(4, 3), factor
        nn.init.ones_(self.linear.weight), nn.init.zeros_(self.linear.bias)

    def forward(self, X):
        return (self.factor * self.linear(X)).tanh()


def test_fingerprints_tell_modules_and_relations_apart(samples):
    assert HRAMLTransformer(encoder=Scaled(1.0))._fingerprint(*samples) != HRAMLTransformer(
        encoder=Scaled(3.0)
    )._fingerprint(*samples)


def test_constant_samples(samples):
    for X in (np.full((30, 3), 0.1), np.full((30, 1), 0.1)):
        for metric in (HRAMLTransformer(), HRAMLTransformer(encoder="tanh"), RAMLLinear()):
            with pytest.warns(UserWarning, match="The learned metric is 0"):
                metric.fit(X, [0, 1, 0] * 10)
            assert not metric.transform(X).any()


def test_finite_losses_beyond_float32(samples):
    X = samples[0]
    HRAMLTransformer(**MLP, **SHORT, relation="sqeuclidean").fit(X, X[:, 0] * 1e10)


def test_learned_scale_of_a_frozen_encoder(samples):
    encoder = nn.Linear(4, 3).requires_grad_(False)
    HRAMLTransformer(encoder=encoder, head="linear", learn_scale=True, **SHORT).fit(*samples)


def test_decay_of_a_frozen_encoder(samples):
    encoder = nn.Linear(4, 3).requires_grad_(False)
    HRAMLTransformer(encoder=encoder, head="linear", learn_scale=True, **SHORT, weight_decay=0.1, pairs=50).fit(
        *samples
    )


def test_lbfgs_goes_on_after_a_pickle(samples):
    metric = HRAMLTransformer(**LINEAR, optimizer="lbfgs", max_epochs=1).fit(*samples)
    pickle.loads(pickle.dumps(metric)).partial_fit(*samples)


def test_lbfgs_of_two_dtypes_resumes(samples, tmp_path):
    X, Y = samples[0].astype(np.float32), samples[1]
    metric = HRAMLTransformer(**LINEAR, learn_scale=True, optimizer="lbfgs", checkpoint=tmp_path, **SHORT)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(HRAMLTransformer, "_fingerprint", lambda *args: "0" * 32)
        metric.fit(X, Y)
        metric.set_params(max_epochs=6).fit(X, Y)


def test_warnings_point_to_the_caller(samples):
    with pytest.warns(UserWarning, match="The learned metric is 0") as caught:
        HRAMLTransformer().fit(samples[0], np.ones(60))
    assert caught[0].filename == __file__


def test_checkpoint_folder_is_made(samples, tmp_path):
    HRAMLTransformer(**MLP, **SHORT, checkpoint=tmp_path / "new").fit(*samples)


def test_export_of_an_embedding(rng, tmp_path):
    import onnxruntime

    X = rng.integers(0, 20, (60, 7))
    metric = HRAMLTransformer(encoder=Words(), **SHORT).fit(X, (X < 10).sum(1))
    metric.export_onnx(tmp_path / "m.onnx")
    onnxruntime.InferenceSession(tmp_path / "m.onnx")


def test_export_of_a_module_fitted_to_float64(images, tmp_path):
    X, y = images
    HRAMLTransformer(encoder=convolution(), **SHORT).fit(X.astype(np.float64), y).export_onnx(tmp_path / "m.onnx")


def test_gradient_of_drawn_pairs_is_that_of_all(samples):
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(4, 3), nn.Tanh()).double()

    def gradient(**pairs):
        metric = HRAMLTransformer(
            encoder=encoder,
            optimizer="sgd",
            learning_rate=1.0,
            max_epochs=1,
            **pairs,
            early_stopping=False,
            random_state=0,
        ).fit(*samples)
        return torch.cat(
            [(a - b).flatten() for a, b in zip(encoder.parameters(), metric.encoder_[0].parameters(), strict=True)]
        )

    assert torch.cosine_similarity(gradient(), gradient(pairs=2_000_000), 0) > 0.999


def test_a_failed_warm_start_leaves_the_estimator(samples, monkeypatch):
    X, Y = samples
    metric = HRAMLTransformer(**LINEAR, **WHOLE, max_epochs=3, warm_start=True).fit(X, Y)
    before = metric.transform(X)
    interrupt(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        metric.fit(X, Y)
    np.testing.assert_array_equal(metric.transform(X), before)


def test_modules_that_return_tuples(samples):
    with pytest.raises(ValueError, match="must return features"):
        HRAMLTransformer(encoder=nn.LSTM(4, 3)).fit(*samples)


def test_repetition_where_quantiles_tie(samples):
    X, Y = samples
    times = np.arange(60) % 3
    weighted, literal = (
        HRAMLTransformer(encoder="tanh").fit(X, Y, times),
        HRAMLTransformer(encoder="tanh").fit(np.repeat(X, times, 0), np.repeat(Y, times, 0)),
    )
    assert_same_distances(weighted.transform(X), literal.transform(X), rtol=1e-3)


def test_names_after_set_params(samples):
    metric = HRAMLTransformer(8).fit(*samples).set_params(n_components=3)
    assert len(metric.get_feature_names_out()) == metric.transform(samples[0]).shape[1]


def test_a_learned_scale_after_a_warm_start_without(samples):
    metric = (
        HRAMLTransformer(**LINEAR, **SHORT, warm_start=True).fit(*samples).set_params(learn_scale=True).fit(*samples)
    )
    assert metric._state.head.learn_scale


def test_images_of_bytes(rng):
    X = rng.integers(0, 255, (40, 1, 8, 8)).astype(np.uint8)
    try:
        HRAMLTransformer(encoder=convolution(), **SHORT).fit(X, X[:, 0].mean((1, 2)) > 127)
    except RuntimeError as error:
        pytest.fail(f"no word of what to do: {error}")


def test_tanh_of_huge_samples_says_so(samples):
    X, Y = samples
    with pytest.raises(ValueError, match="Scale the features"):
        HRAMLTransformer(encoder="tanh").fit(X * 1e200, Y)


def test_specs_are_instances(samples):
    with pytest.raises(ValueError, match="encoder"):
        HRAMLTransformer(encoder=Laplacian).fit(*samples)


def test_memory_maps_have_the_key_of_their_samples(samples, tmp_path):
    X, _ = samples
    np.save(tmp_path / "X.npy", X)
    assert HRAMLTransformer()._fingerprint(
        np.load(tmp_path / "X.npy", mmap_mode="r")
    ) == HRAMLTransformer()._fingerprint(X)


class Built:
    def __init__(self, module):
        self.module = module

    def build(self, X, weights, generator):
        return self.module


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


def test_a_failed_fit_is_no_fit(samples):
    X, _ = samples
    metric = HRAMLTransformer(relation="jeffreys")
    with pytest.raises(ValueError, match="jeffreys"):
        metric.fit(X, X)
    with pytest.raises(NotFittedError):
        metric.transform(X)
