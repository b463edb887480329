import numpy as np
import pytest
import torch
from scipy import sparse

from skrelmetric._alignment import dual
from skrelmetric._alignment.dual import dual_inverse
from skrelmetric._alignment.problem import Problem
from skrelmetric._alignment.ridge import normal_equations, ridge
from skrelmetric.relations import make_relation
from tests._alignment.problems import samples_of


def words(rng, n, d):
    return (rng.random((n, d)) < 1 / np.arange(2, d + 2)) * 1.0


SAMPLES = {
    "few": lambda rng: rng.standard_normal((12, 30)),
    "more": lambda rng: rng.standard_normal((90, 7)) ** 3 * np.arange(1, 8),
    "words": lambda rng: words(rng, 150, 20),
    "sparse words": lambda rng: sparse.csr_array(words(rng, 150, 20)),
    "sparse and wide": lambda rng: sparse.csr_array(words(rng, 15, 20)),
    "duplicates": lambda rng: np.repeat(rng.standard_normal((5, 3)), 6, axis=0),
    "one coordinate": lambda rng: rng.standard_normal((9, 1)),
    "two samples": lambda rng: rng.standard_normal((2, 4)),
    "far sample": lambda rng: np.vstack([rng.standard_normal((40, 6)), np.full((1, 6), 1e4)]),
    "float32": lambda rng: rng.standard_normal((40, 6)).astype(np.float32),
}


def equations_of(X, p, alpha, rng):
    G = make_relation((rng.random((X.shape[0], 4)) < 0.4).astype(int))
    return normal_equations(Problem.of(samples_of(X, p), G), alpha)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("alpha", [1e-3, 1.0, 100.0])
@pytest.mark.parametrize("kind", SAMPLES)
def test_inverts_the_product_up_to_single_precision(kind, alpha, weighted, rng):
    X = SAMPLES[kind](rng)
    p = rng.random(X.shape[0]) ** 8 if weighted else np.ones(X.shape[0])
    equations = equations_of(X, torch.from_numpy(p / p.sum()), alpha, rng)
    inverse = dual_inverse(equations.coordinates, alpha)
    R = torch.from_numpy(rng.standard_normal(equations.right.shape)) * equations.gaussian().sqrt()
    R = R + R.T
    rest = (R - equations.product(inverse(R))) / equations.gaussian().sqrt()
    assert rest.norm() < 0.05 * (R / equations.gaussian().sqrt()).norm()


def test_weights_of_next_to_nothing(rng):
    p = np.r_[np.full(30, 1 / 30), 1e-300, 0.0]
    equations = equations_of(rng.standard_normal((32, 5)), torch.from_numpy(p), 1.0, rng)
    assert dual_inverse(equations.coordinates, 1.0)(equations.right).isfinite().all()


def test_heavy_tails_need_two_iterations_instead_of_many(rng, monkeypatch):
    X = words(rng, 400, 60)
    problem = Problem.of(samples_of(X), make_relation((X[:, :5] + rng.random((400, 5)) > 0.8).astype(int)))
    at_once = ridge(problem, 1.0, max_iter=1000, tol=1e-6)
    monkeypatch.setattr(dual, "_FEW", 0)
    in_steps = ridge(problem, 1.0, max_iter=1000, tol=1e-6)
    assert at_once.n_iter <= 3 < 10 < in_steps.n_iter
    np.testing.assert_allclose(at_once.M, in_steps.M, atol=1e-5 * float(in_steps.M.abs().max()))


def test_many_samples_have_none(rng):
    X = rng.standard_normal((60, 3))
    assert dual_inverse(equations_of(X, None, 1.0, rng).coordinates, 1.0) is None  # 20 a feature
    assert dual_inverse(equations_of(X[:30], None, 1.0, rng).coordinates, 1.0) is not None
