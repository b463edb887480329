import numpy as np
import pytest
from scipy.optimize import minimize

from skrelmetric._relational.mixture import mixture_weights


def on_simplex(objective, n):
    """Least value of a function of weights, by another optimiser."""
    options = {"ftol": 1e-14, "maxiter": 1000}
    constraint = {"type": "eq", "fun": lambda w: w.sum() - 1}
    start = np.full(n, 1 / n)
    return minimize(objective, start, bounds=[(0, 1)] * n, constraints=constraint, method="SLSQP", options=options)


@pytest.mark.parametrize("n_members", [1, 2, 5])
def test_the_mean_square_is_least(n_members, rng):
    errors, sample_weight = rng.standard_normal((n_members, 40, 2)) + 0.3, rng.random(40)
    weights = mixture_weights(errors, sample_weight)

    def mean_square(w):
        return (sample_weight[:, None] * np.tensordot(w, errors, 1) ** 2).sum()

    best = on_simplex(mean_square, n_members)
    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()
    assert mean_square(weights) <= best.fun * (1 + 1e-6)


@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_units_do_not_matter(scale, rng):
    errors = rng.standard_normal((3, 30, 1))
    expected = mixture_weights(errors, np.ones(30))
    np.testing.assert_allclose(mixture_weights(errors * scale, np.ones(30)), expected, atol=1e-6)


def test_samples_without_weight_do_not_count(rng):
    errors = rng.standard_normal((3, 20, 2))
    weights = mixture_weights(errors, np.r_[np.ones(10), np.zeros(10)])
    np.testing.assert_allclose(weights, mixture_weights(errors[:, :10], np.ones(10)), atol=1e-9)


def test_members_without_errors_weigh_alike():
    np.testing.assert_allclose(mixture_weights(np.zeros((4, 10, 1)), np.ones(10)), 0.25)
