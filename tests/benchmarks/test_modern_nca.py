import numpy as np
import pytest
import torch
from sklearn.base import clone

from benchmarks.rivals.modern_nca import (
    Encoder,
    ModernNCAClassifier,
    ModernNCADistributions,
    ModernNCARegressor,
    binary_cross_entropy,
    cross_entropy,
    squared_error,
    votes,
)


@pytest.fixture
def samples(rng):
    """Two informative features among eighteen of noise, and distributions by them."""
    X = rng.normal(size=(300, 20))
    scores = np.exp(2 * np.column_stack([X[:, 0], X[:, 1], 0 * X[:, 0]]))
    return X, scores / scores.sum(axis=1, keepdims=True)


def slow_votes(Z, neighbors, Y, own):
    voted = np.zeros((len(Z), Y.shape[1]))
    for i, z in enumerate(Z):
        weights = [0 if own and i == j else np.exp(-np.linalg.norm(z - other)) for j, other in enumerate(neighbors)]
        voted[i] = sum(weight * y for weight, y in zip(weights, Y, strict=True)) / sum(weights)
    return voted


@pytest.mark.parametrize("own", [True, False])
def test_votes_agree_with_a_loop(rng, own):
    neighbors, Y = rng.normal(size=(7, 3)), rng.random((7, 2))
    Z = neighbors[:4] if own else rng.normal(size=(4, 3))
    arrays = (torch.from_numpy(each) for each in (Z, neighbors, Y))
    np.testing.assert_allclose(votes(*arrays, own=own).numpy(), slow_votes(Z, neighbors, Y, own))


def test_own_targets_have_no_vote(rng):
    Z, Y = torch.from_numpy(rng.normal(size=(5, 2))), torch.eye(5, dtype=torch.float64)
    assert votes(Z, Z, Y, own=True).diagonal().tolist() == [0] * 5
    assert votes(Z, Z, Y, own=False).diagonal().min() > 0.2


def test_equal_samples_have_a_gradient():
    Z = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)
    votes(Z, Z, torch.eye(3, dtype=torch.float64), own=True)[0, 1].backward()
    assert torch.isfinite(Z.grad).all()


def test_votes_have_the_gradient_of_differences(rng):
    Z = torch.from_numpy(rng.normal(size=(5, 2))).requires_grad_()
    Y = torch.from_numpy(rng.random((5, 2)))
    assert torch.autograd.gradcheck(lambda Z: votes(Z[:3], Z, Y, own=True), Z)


def test_losses_by_hand():
    P, Y = torch.tensor([[0.25, 0.75], [1.0, 0.0]]), torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    assert cross_entropy(P, Y).item() == pytest.approx(-np.log(0.75) / 2)
    assert binary_cross_entropy(P, Y).item() == pytest.approx(-np.log(0.75) / 2, abs=1e-5)
    assert squared_error(P, Y).item() == pytest.approx((0.25**2 + 0.25**2) / 4)
    assert np.isfinite(binary_cross_entropy(1 - Y, Y).item())
    assert np.isfinite(cross_entropy(1 - Y, Y).item())


def test_units_are_dropped_by_the_generator_alone():
    encoder = Encoder(3, 4, n_blocks=1, block_width=1000, dropout=0.3).eval()
    X = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    state = torch.get_rng_state()
    one, again, other = (encoder(X, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(encoder(X), encoder(X))
    assert torch.equal(torch.get_rng_state(), state)
    means = torch.stack([encoder(X, torch.Generator().manual_seed(seed)) for seed in range(300)]).mean(0)
    torch.testing.assert_close(means, encoder(X), atol=0.03, rtol=0)


def test_what_it_learns(samples):
    X, D = samples
    classes = np.array(["a", "b", "c"])[D.argmax(axis=1)]
    labels = (X[:, :3] > 0).astype(int)
    numbers = X[:, :2] * [1, 1000] + 5
    model = ModernNCAClassifier(random_state=0).fit(X[:200], classes[:200])
    assert (model.predict(X[200:]) == classes[200:]).mean() > 0.75
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1, rtol=1e-5)
    model = ModernNCAClassifier(random_state=0).fit(X[:200], labels[:200])
    assert (model.predict(X[200:]) == labels[200:]).mean() > 0.75
    np.testing.assert_array_equal(model.predict(X), model.predict_proba(X) > 0.5)
    for y in (numbers, numbers[:, 0]):
        predicted = ModernNCARegressor(random_state=0).fit(X[:200], y[:200]).predict(X[200:])
        assert predicted.shape == y[200:].shape
        assert (((predicted - y[200:]) / y.std(axis=0)) ** 2).mean() < 0.5
    predicted = ModernNCADistributions(random_state=0).fit(X[:200], D[:200]).predict(X[200:])
    np.testing.assert_allclose(predicted.sum(axis=1), 1, rtol=1e-5)
    assert np.abs(predicted - D[200:]).mean() < 0.6 * np.abs(D[200:] - D[:200].mean(axis=0)).mean()


def test_the_seed_is_all_the_randomness(samples):
    X, D = samples
    model = ModernNCADistributions(max_epochs=3, batch_size=64, random_state=0)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    one, again, other = (clone(model).set_params(random_state=s).fit(X, D).predict(X) for s in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002


def test_training_ends_at_the_best_epoch(samples):
    X, _ = samples
    noise = np.random.default_rng(1).normal(size=300)
    model = ModernNCARegressor(patience=3, random_state=0).fit(X, noise)
    assert len(model.losses_) == int(np.argmin(model.losses_)) + 1 + 3
    shorter = ModernNCARegressor(patience=3, max_epochs=int(np.argmin(model.losses_)) + 1, random_state=0)
    np.testing.assert_array_equal(shorter.fit(X, noise).predict(X), model.predict(X))


@pytest.mark.parametrize("n_blocks", [0, 2])
@pytest.mark.parametrize("n_samples", [4, 257])
def test_few_samples_and_a_batch_of_one(rng, n_samples, n_blocks):
    X, y = rng.normal(size=(n_samples, 2)), rng.normal(size=n_samples)
    model = ModernNCARegressor(n_blocks=n_blocks, batch_size=205, sample_rate=0.0, max_epochs=2, random_state=0)
    assert np.isfinite(model.fit(X, y).predict(X)).all()
    assert np.isfinite(model.fit(X, np.ones(n_samples)).predict(X)).all()


@pytest.mark.parametrize(("sample_rate", "n_neighbors"), [(0.0, {40}), (1.0, {80})])
def test_batches_are_among_their_neighbours_once(samples, monkeypatch, sample_rate, n_neighbors):
    seen = set()

    def looking(Z, neighbors, Y, *, own):
        if own:
            assert torch.equal(neighbors[: len(Z)], Z)
            seen.add(len(neighbors))
        return votes(Z, neighbors, Y, own=own)

    monkeypatch.setattr("benchmarks.rivals.modern_nca.votes", looking)
    model = ModernNCADistributions(sample_rate=sample_rate, batch_size=40, max_epochs=2, random_state=0)
    model.fit(samples[0][:100], samples[1][:100])
    assert seen == n_neighbors
