import numpy as np
import pytest

from skrelmetric import metrics

DISTRIBUTION = (
    "chebyshev_distance",
    "clark_distance",
    "canberra_distance",
    "kl_divergence",
    "cosine_similarity",
    "intersection_similarity",
)


# SPEC: u = (.5, .5, 0, 0), v = (.25, .25, .25, .25).
@pytest.mark.parametrize(
    ("name", "value"),
    list(zip(DISTRIBUTION, (0.25, 1.49071, 2.66667, 0.69315, 0.70711, 0.5), strict=True)),
)
def test_known_values_of_distribution_criteria(name, value):
    u, v = [[0.5, 0.5, 0, 0]], [[0.25, 0.25, 0.25, 0.25]]
    criterion = getattr(metrics, name)
    assert criterion(u, v) == pytest.approx(value, abs=5e-6)
    perfect = 1.0 if name.endswith("similarity") else 0.0
    assert criterion(u, u) == pytest.approx(perfect)
    assert criterion(u + u, v + u) == pytest.approx((value + perfect) / 2, abs=5e-6)


def test_distribution_criteria_against_loops(rng):
    U, V = rng.dirichlet(np.ones(5), 12), rng.dirichlet(np.ones(5), 12)
    U[:, 0], V[:, 0], V[:, 1] = 0, 0, 0
    eps = 1e-9

    def canberra(u, v):
        return sum(abs(a - b) / (a + b) for a, b in zip(u, v, strict=True) if a + b)

    def clark(u, v):
        return np.sqrt(sum((a - b) ** 2 / (a + b) ** 2 for a, b in zip(u, v, strict=True) if a + b))

    def kl(u, v):
        return sum(a * np.log(a / max(b, eps)) for a, b in zip(u, v, strict=True) if a)

    rows = list(zip(U, V, strict=True))
    assert metrics.canberra_distance(U, V) == pytest.approx(np.mean([canberra(u, v) for u, v in rows]))
    assert metrics.clark_distance(U, V) == pytest.approx(np.mean([clark(u, v) for u, v in rows]))
    assert metrics.kl_divergence(U, V, eps=eps) == pytest.approx(np.mean([kl(u, v) for u, v in rows]))


def test_zero_rows_and_zero_predictions_are_finite():
    zero, some = [[0.0, 0.0]], [[0.4, 0.6]]
    for unit in (1e-200, 1e200):
        assert metrics.cosine_similarity(np.multiply(unit, some), some) == pytest.approx(1)
    assert metrics.cosine_similarity(zero, some) == metrics.cosine_similarity(zero, zero) == 0
    assert metrics.canberra_distance(zero, zero) == metrics.clark_distance(zero, zero) == 0
    assert np.isfinite(metrics.kl_divergence(some, zero))
    assert metrics.kl_divergence(zero, some) == 0
