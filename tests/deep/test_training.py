"""Ways to see pairs, and what is drawn."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from torch import nn

from skrelmetric import HRAMLTransformer
from tests.deep.problems import LINEAR, MLP, SHORT, WHOLE, assert_same_distances, disc, gain

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


def test_mixed_precision_agrees_roughly(samples):
    X, Y = samples[0].astype(np.float32), samples[1]
    exact, mixed = (HRAMLTransformer(**LINEAR, **WHOLE, **SHORT, mixed_precision=m).fit(X, Y) for m in (False, True))
    assert mixed.transform(X).dtype == np.float32
    assert_same_distances(mixed.transform(X), exact.transform(X), rtol=0.05)
    assert np.abs(mixed.transform(X) - exact.transform(X)).max() > 0


def test_divergence_is_an_error(samples):
    X, Y = samples
    metric = HRAMLTransformer(**LINEAR, activation="identity", normalize=False, optimizer="sgd", learning_rate=1e9)
    with pytest.raises(FloatingPointError, match="Lower learning_rate"):
        metric.fit(X, Y)


def test_finite_losses_beyond_float32(samples):
    X = samples[0]
    one, scaled = (HRAMLTransformer(**MLP, **SHORT, relation="sqeuclidean").fit(X, X[:, 0] * c) for c in (1, 1e10))
    assert scaled.loss_curve_[0] > torch.finfo(torch.float32).max
    np.testing.assert_allclose(scaled.loss_curve_, 1e40 * np.array(one.loss_curve_), rtol=1e-6)
    assert_same_distances(scaled.transform(X) / 1e10, one.transform(X))


def test_learned_scale_of_a_frozen_encoder(samples):
    X, Y = samples
    encoder = nn.Linear(4, 3).requires_grad_(False)
    metric = HRAMLTransformer(encoder=encoder, head="linear", learn_scale=True, **SHORT, **WHOLE).fit(X, Y)
    assert metric.loss_curve_[0] > metric.loss_curve_[1] > metric.loss_curve_[2]
    assert metric.offset_ != 0
    features = encoder(torch.from_numpy(X).float()).numpy()
    ratios = pdist(metric.transform(X)) / pdist(features)
    assert abs(ratios[0] - 1) > 1e-4
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-3)  # the encoder is as it was, but for one scale


def test_what_is_frozen_does_not_decay(samples):
    X, Y = samples
    encoder = nn.Linear(4, 3).requires_grad_(False)
    common = {"encoder": encoder, "head": "linear", "learn_scale": True, "pairs": 50, "random_state": 0}
    plain, decayed = (HRAMLTransformer(**common, **SHORT, **WHOLE, weight_decay=d).fit(X, Y) for d in (0.0, 0.1))
    assert decayed.loss_curve_ == plain.loss_curve_
    np.testing.assert_array_equal(decayed.transform(X), plain.transform(X))


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
