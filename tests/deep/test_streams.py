"""Training that goes on: warm starts, and chunk by chunk."""

import pickle

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from skrelmetric import HRAMLTransformer
from tests.deep.problems import LINEAR, MLP, SHORT, WHOLE, disc, gain, interrupt

# Warm starts


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


def test_a_failed_warm_start_leaves_the_estimator(samples, monkeypatch):
    X, Y = samples
    metric = HRAMLTransformer(**LINEAR, **WHOLE, max_epochs=3, warm_start=True).fit(X, Y)
    before = metric.transform(X)
    interrupt(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        metric.fit(X, Y)
    np.testing.assert_array_equal(metric.transform(X), before)


def test_a_learned_scale_after_a_warm_start_without(samples):
    metric = HRAMLTransformer(**LINEAR, **SHORT, **WHOLE, warm_start=True).fit(*samples)
    assert metric.offset_ == 0
    assert metric.set_params(learn_scale=True).fit(*samples).offset_ != 0


# Chunks


@pytest.mark.parametrize("parameters", [{}, {"encoder": "tanh", "n_components": 3}])
def test_chunks_of_untrained_encoders(samples, parameters, rng):
    X, Y = samples
    whole, stream = HRAMLTransformer(**parameters).fit(X, Y), HRAMLTransformer(**parameters).partial_fit(X, Y)
    rank = whole.transform(X).shape[1]
    np.testing.assert_allclose(stream.transform(X)[:, :rank], whole.transform(X), atol=1e-14)
    assert not stream.transform(X)[:, rank:].any()
    shape = stream.transform(X).shape
    np.testing.assert_allclose(stream.partial_fit(X, Y).transform(X)[:, :rank], whole.transform(X), atol=1e-9)
    assert stream.transform(X).shape == shape
    before = pdist(stream.transform(X))
    stream.partial_fit(rng.standard_normal((30, 4)), Y[:30])
    assert np.abs(pdist(stream.transform(X)) - before).max() > 1e-6
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


def test_lbfgs_goes_on_after_a_pickle(samples):
    metric = HRAMLTransformer(**LINEAR, optimizer="lbfgs", max_epochs=1).fit(*samples)
    copy = pickle.loads(pickle.dumps(metric)).partial_fit(*samples)
    np.testing.assert_array_equal(copy.transform(samples[0]), metric.partial_fit(*samples).transform(samples[0]))
    assert copy.loss_curve_ == metric.loss_curve_
    assert copy.loss_curve_[1] < copy.loss_curve_[0]


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


@pytest.mark.parametrize("begin", ["fit", "partial_fit"])
def test_every_chunk_has_the_outputs_of_the_first(begin, samples):
    X, Y = samples
    metric = getattr(HRAMLTransformer(), begin)(X, Y)
    for y in (Y[:, :2], Y[:, 0], np.column_stack([Y, Y])):
        with pytest.raises(ValueError, match="but 3 in what was learned from before. Pass a column"):
            metric.partial_fit(X, y)
    metric.partial_fit(X, np.where(Y == 1, 1, np.nan))
