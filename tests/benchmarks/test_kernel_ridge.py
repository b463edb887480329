import numpy as np
import pytest
from scipy.spatial.distance import pdist

from benchmarks.rivals.kernel_ridge import KernelRidgeClassifier, KernelRidgeRegressor, mean_distance


@pytest.fixture
def samples(rng):
    X = rng.normal(size=(30, 4))
    return X, np.column_stack([X[:, 0] + 0.3 * rng.normal(size=30), 10 * np.abs(X[:, 1])])


def refitted(features, Y, penalty, test):
    """Ridge regression with a free intercept, as a least-squares problem of its own."""
    n_samples, n_features = features.shape
    design = np.column_stack([np.ones(n_samples), features])
    penalised = np.diag([0.0] + [penalty] * n_features)
    return np.r_[1.0, test] @ np.linalg.solve(design.T @ design + penalised, design.T @ Y)


def features_of(model, X):
    """Features whose inner products with those of the landmarks are the kernel."""
    L = model.landmarks_
    unit = pdist(L, "cityblock").mean()
    kernel = lambda A: np.exp(-model.gamma * np.abs(A[:, None] - L[None]).sum(-1) / unit)  # noqa: E731
    return kernel(X) @ np.linalg.inv(np.linalg.cholesky(kernel(L))).T


@pytest.mark.parametrize("max_samples", [100, 12], ids=["all samples", "landmarks"])
@pytest.mark.parametrize("gamma", [0.5, 1.0])
def test_errors_are_those_of_refits(samples, max_samples, gamma):
    X, Y = samples
    penalties = (1e-2, 1.0, 1e2)
    model = KernelRidgeRegressor(gamma, penalties=penalties, max_samples=max_samples, random_state=0).fit(X, Y)
    features = features_of(model, X)
    for penalty, error in zip(penalties, model.errors_, strict=True):
        left_out = np.array(
            [refitted(np.delete(features, i, 0), np.delete(Y, i, 0), penalty, features[i]) for i in range(30)]
        )
        assert error == pytest.approx(((Y - left_out) ** 2).mean())
    assert model.penalty_ == penalties[int(np.argmin(model.errors_))]
    new = X[:5] + 0.1
    expected = [refitted(features, Y, model.penalty_, z) for z in features_of(model, new)]
    np.testing.assert_allclose(model.predict(new), expected)
    assert len(model.landmarks_) == min(max_samples, 30)


def test_penalty_follows_the_noise(rng):
    X = rng.normal(size=(80, 2))
    smooth, noise = (KernelRidgeRegressor().fit(X, y).penalty_ for y in (X[:, 0], rng.normal(size=80)))
    assert smooth < 1 < noise


def test_one_output_is_a_column_of_several(samples):
    X, Y = samples
    one = KernelRidgeRegressor().fit(X, Y[:, 0])
    column = KernelRidgeRegressor().fit(X, Y[:, :1])
    assert one.predict(X).shape == (30,)
    np.testing.assert_array_equal(one.predict(X), column.predict(X)[:, 0])


def test_mean_distance_is_that_of_pairs(rng):
    X = rng.normal(size=(25, 3)) * [1, 10, 0.1]
    assert mean_distance(X) == pytest.approx(pdist(X, "cityblock").mean())
    assert mean_distance(np.ones((5, 2))) == 1


def test_kernels_of_some_samples_at_a_time(samples, monkeypatch):
    X, Y = samples
    for max_samples in (100, 12):
        model = KernelRidgeRegressor(max_samples=max_samples, random_state=0)
        expected = model.fit(X, Y).predict(X)
        with monkeypatch.context() as patch:
            patch.setattr("benchmarks.rivals.kernel_ridge._BLOCK", 1)
            np.testing.assert_allclose(model.fit(X, Y).predict(X), expected)


def test_classes_and_label_sets_are_regressed_as_signs(samples):
    X, Y = samples
    labels = (np.median(Y, axis=0) < Y).astype(int)
    model = KernelRidgeClassifier().fit(X, labels)
    signs = KernelRidgeRegressor().fit(X, 2.0 * labels - 1)
    np.testing.assert_allclose(model.decision_function(X), signs.predict(X))
    np.testing.assert_array_equal(model.predict(X), (signs.predict(X) > 0).astype(int))
    names = np.array(["a", "b", "c"])[labels.sum(axis=1)]
    several = KernelRidgeClassifier().fit(X, names)
    assert several.decision_function(X).shape == (30, 3)
    np.testing.assert_array_equal(several.predict(X), several.classes_[several.decision_function(X).argmax(axis=1)])
    assert (several.predict(X) == names).mean() > 0.6
    two = KernelRidgeClassifier().fit(X, names == "a")
    np.testing.assert_array_equal(two.predict(X), two.decision_function(X) > 0)


def test_a_label_that_all_have_is_no_obstacle(samples):
    X, Y = samples
    labels = np.column_stack([np.ones(30, int), Y[:, 0] > 0, np.zeros(30, int)])
    np.testing.assert_array_equal(KernelRidgeClassifier().fit(X, labels).predict(X)[:, [0, 2]], labels[:, [0, 2]])
