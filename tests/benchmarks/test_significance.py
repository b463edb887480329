"""Intervals and tests of differences over data sets."""

import numpy as np
import pytest

from benchmarks.show.significance import EQUAL, bayesian_signed_rank, holm, interval, signed_rank


def test_intervals_hold_the_mean_about_as_often_as_they_say(rng):
    samples = rng.normal(0.3, 2.0, (200, 30))
    spans = np.array([interval(sample) for sample in samples])
    covered = ((spans[:, 0] <= 0.3) & (spans[:, 1] >= 0.3)).mean()
    assert 0.88 < covered < 0.99
    standard_errors = samples.std(1, ddof=1) / np.sqrt(30)
    np.testing.assert_allclose((spans[:, 1] - spans[:, 0]) / standard_errors, 2 * 1.96, rtol=0.1)


def test_intervals_are_the_same_again(rng):
    values = rng.normal(size=12)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    assert interval(values) == interval(values)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_few_values_have_no_interval_and_equal_ones_a_point():
    assert np.isnan(interval(np.arange(4.0))).all()
    assert np.isfinite(interval(np.arange(5.0))).all()
    assert interval(np.full(9, 3.0)) == (3.0, 3.0)


def test_holm_by_hand():
    np.testing.assert_allclose(holm([0.04, 0.01, 0.03, 0.8]), [0.09, 0.04, 0.09, 0.8])
    assert len(holm([])) == 0


def test_signed_rank_by_hand():
    assert signed_rank(np.array([0.1, 0.2, 0.3, 0.4, 0.5])) == pytest.approx(2 / 2**5)
    assert signed_rank(np.zeros(5)) == 1


def posterior(differences, n_draws):
    """Shares of draws in which each of the three is the most probable (Benavoli et al., 2017, section 4.2)."""
    with_prior = [0.0, *differences]
    strength = [0.5] + [1.0] * len(differences)
    generator = np.random.default_rng(1)
    wins = np.zeros(3)
    for _ in range(n_draws):
        weights = generator.gamma(strength)
        weights /= weights.sum()
        masses = np.zeros(3)
        for wi, di in zip(weights, with_prior, strict=True):
            for wj, dj in zip(weights, with_prior, strict=True):
                mean = (di + dj) / 2
                masses[0 if mean < -EQUAL else 2 if mean > EQUAL else 1] += wi * wj
        wins[masses.argmax()] += 1
    return wins / n_draws


@pytest.mark.parametrize("shift", [-0.02, 0.0, 0.012])
def test_bayesian_test_is_that_of_the_paper(rng, shift):
    differences = rng.normal(shift, 0.02, 8)
    found = bayesian_signed_rank(differences)
    np.testing.assert_allclose(found, posterior(differences, 2000), atol=0.05)
    assert sum(found) == pytest.approx(1)
    np.testing.assert_allclose(bayesian_signed_rank(-differences), found[::-1], atol=0.02)


def test_bayesian_test_is_the_same_again(rng):
    from benchmarks.show import significance

    differences = rng.normal(0.01, 0.02, 10)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = bayesian_signed_rank(differences)
    significance._posterior.cache_clear()
    assert bayesian_signed_rank(differences) == first
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
