"""What training ends at: the least loss over all pairs of samples."""

import numpy as np
import pytest
import torch
from torch import nn

from skrelmetric import HRAMLTransformer, RAMLLinear
from skrelmetric.encoders import Laplacian, Tanh
from tests.deep.problems import LINEAR, MLP, SHORT, WHOLE, assert_same_distances, disc, gain, loss_over_pairs


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


@pytest.mark.parametrize(("encoder", "spec"), [("laplacian", Laplacian()), ("tanh", Tanh())])
@pytest.mark.parametrize("n_components", [None, 3])
def test_default_is_a_linear_metric_of_chosen_features(samples, encoder, spec, n_components, monkeypatch):
    monkeypatch.setattr("skrelmetric._alignment.linear._PENALTY", 5.0)
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


def test_a_module_without_parameters_is_the_linear_metric(samples, monkeypatch):
    monkeypatch.setattr("skrelmetric._alignment.linear._PENALTY", 5.0)
    X, Y = samples[0].astype(np.float32), samples[1]
    metric = HRAMLTransformer(encoder=nn.Identity(), alpha=1.0).fit(X, Y)
    assert_same_distances(metric.transform(X), RAMLLinear().fit(X, Y).transform(X))
    assert metric.n_iter_ == 0


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


def test_loss_of_the_ridge_head_is_the_least_over_all_pairs_and_falls_along_its_gradient(samples, monkeypatch):
    monkeypatch.setattr("skrelmetric._hraml.heads._TOL", 1e-6)
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


def test_exact_head_is_solved_on_all_samples_in_the_end(samples):
    metric = HRAMLTransformer(**MLP, **SHORT).fit(*samples)
    again = HRAMLTransformer(encoder=metric.encoder_[0], max_epochs=0).fit(*samples)
    assert_same_distances(metric.transform(samples[0]), again.transform(samples[0]))


@pytest.mark.parametrize("encoder", ["laplacian", "tanh"])
def test_chosen_features_tell_what_no_direction_tells(rng, encoder):
    X, y = disc(rng)
    assert gain(HRAMLTransformer(encoder=encoder).fit(X, y), X, y, *disc(rng, 500)) > 0.1


# Nothing to learn


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


def test_constant_samples(samples):
    for X in (np.full((30, 3), 0.1), np.full((30, 1), 0.1)):
        for metric in (HRAMLTransformer(), HRAMLTransformer(encoder="tanh"), RAMLLinear()):
            with pytest.warns(UserWarning, match="The learned metric is 0"):
                metric.fit(X, [0, 1, 0] * 10)
            assert not metric.transform(X).any()
