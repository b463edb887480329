import numpy as np
import pytest
import torch

from skrelmetric import RAMLLinear
from skrelmetric.chunks import Chunks
from skrelmetric.relations import AbsoluteDifference, _reals
from skrelmetric.relations._reals import LevelDifference, Levels

DISTRIBUTIONS = {
    "normal": lambda rng, n: rng.standard_normal(n),
    "half of them 0": lambda rng, n: np.where(rng.random(n) < 0.5, 0, rng.random(n)),
    "heavy tails": lambda rng, n: rng.standard_cauchy(n),
    "far from 0": lambda rng, n: 1e6 + rng.random(n),
    "a grid": lambda rng, n: rng.integers(0, 700, n) / 700,
}


def levels_of(y, n_parts=7):
    first, *others = [
        [Levels.of(column[~np.isnan(column)]) for column in part.T] for part in np.array_split(y, n_parts)
    ]
    for part in others:
        first = [a.merged(b) for a, b in zip(first, part, strict=True)]
    return first


def operators(y, n_parts=7):
    """The relation by order and by levels."""
    known = None if not np.isnan(y).any() else torch.from_numpy(~np.isnan(y))
    Y = torch.from_numpy(np.nan_to_num(y))
    return AbsoluteDifference(Y, known), LevelDifference(Y, known, levels_of(y, n_parts))


def targets(rng, name, n, missing=0.0):
    y = np.column_stack([DISTRIBUTIONS[name](rng, n) for _ in range(2)])
    y[rng.random((n, 2)) < missing] = np.nan
    return y


def by_pairs(y, levels):
    """The relation from its words: 0 within a cell, elsewhere the difference."""
    G = np.zeros((len(y), len(y)))
    for column, (values, _) in zip(y.T, levels, strict=True):
        cell = [-1 if np.isnan(t) else int(np.flatnonzero(values >= t)[0]) for t in column]
        for i, j in np.argwhere(~np.isnan(column)[:, None] & ~np.isnan(column)):
            if cell[i] != cell[j]:
                G[i, j] += abs(column[i] - column[j])
    return G


@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_products_are_those_of_the_definition(name, missing, rng, monkeypatch):
    monkeypatch.setattr(_reals, "_MOST_CELLS", 12)
    y = targets(rng, name, 90, missing)
    _, G = operators(y)
    assert all(len(level.values) < len(np.unique(column)) for level, column in zip(levels_of(y), y.T, strict=True))
    expected = by_pairs(y, levels_of(y))
    V = rng.standard_normal((90, 3))
    tolerance = 1e-12 * np.abs(expected).max() * 90
    np.testing.assert_allclose(G @ torch.from_numpy(V), expected @ V, rtol=0, atol=tolerance)
    Z, p = torch.from_numpy(V), torch.from_numpy(rng.dirichlet(np.ones(90)))
    np.testing.assert_allclose(
        G.quadratic(Z, p), V.T @ np.diag(p) @ expected @ np.diag(p) @ V, rtol=0, atol=tolerance / 90
    )
    for some in (slice(10, 40), torch.tensor([3, 1, 80])):
        of_some = G[some]
        v = V[np.asarray(some) if isinstance(some, torch.Tensor) else some]
        of = expected[some][:, some]
        np.testing.assert_allclose(of_some @ torch.from_numpy(v), of @ v, rtol=0, atol=tolerance)


@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_few_values_are_exact(name, missing, rng):
    by_order, by_levels = operators(targets(rng, name, 300, missing))
    Z = torch.from_numpy(rng.standard_normal((300, 3)))
    torch.testing.assert_close(by_levels @ Z, by_order @ Z, rtol=1e-9, atol=1e-9 * float((by_order @ Z).abs().max()))
    everything = slice(None)
    torch.testing.assert_close(
        by_levels.block(everything, everything), by_order.block(everything, everything), rtol=0, atol=1e-9
    )
    weights = torch.full((300,), 1 / 300, dtype=torch.float64)
    torch.testing.assert_close(by_levels.mean_square(weights), by_order.mean_square(weights), rtol=1e-9, atol=0)
    torch.testing.assert_close(by_levels.row_means(), by_order.row_means())


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_errors_fall_with_the_square_of_the_levels(name, rng, monkeypatch):
    n, errors = 20_000, []
    y = targets(rng, name, n)
    Z, p = torch.from_numpy(np.column_stack([y - y.mean(0), rng.standard_normal((n, 2))])), torch.full((n,), 1 / n)
    Z /= Z.std(0)
    p = p.to(torch.float64)
    for most in (64, 512):
        monkeypatch.setattr(_reals, "_MOST_CELLS", most)
        exact, by_levels = (G.quadratic(Z, p) for G in operators(y))
        errors.append(float((by_levels - exact).abs().max() / exact.abs().max()))
    assert errors[0] < 40 / 64**2
    assert errors[1] < 40 / 512**2


def test_levels_are_few_and_hold_the_ends_and_what_many_share(rng, monkeypatch):
    monkeypatch.setattr(_reals, "_MOST_CELLS", 50)
    y = np.where(rng.random(5000) < 0.1, 0.25, rng.standard_cauchy(5000))
    (levels,) = levels_of(y[:, None], n_parts=40)
    assert len(levels.values) <= 50
    assert (np.diff(levels.values) > 0).all()
    assert levels.values[-1] == y.max()
    assert 0.25 in levels.values
    assert levels.counts.sum() == 5000


@pytest.mark.parametrize("y", [np.zeros((0, 1)), np.full((3, 1), np.nan), np.array([[2.0]]), np.array([[1.0], [1.0]])])
def test_targets_without_differences(y):
    _, G = operators(y, n_parts=1)
    V = torch.ones((len(y), 2), dtype=torch.float64)
    assert (G @ V).shape == (len(y), 2)
    assert not (G @ V).any()
    assert not G.quadratic(V).any()


def test_sums_of_many_values_do_not_grow(rng):
    sizes = [len(G.collect(torch.zeros((n, 1)))) for n in (30_000, 90_000) for _, G in [operators(rng.random((n, 1)))]]
    assert max(sizes) <= 2 * 3 * 2**12 + 2
    assert sizes[1] < 1.1 * sizes[0]


def test_a_fit_in_chunks_is_that_in_memory(rng):
    X = rng.standard_normal((30_000, 4))
    y = X[:, 0] + 0.3 * rng.standard_normal(30_000)
    expected = RAMLLinear(tol=1e-12).fit(X, y)
    found = RAMLLinear(tol=1e-12).fit(Chunks.of(X, y, chunk_size=7000))
    scale = np.abs(expected.get_mahalanobis_matrix()).max()
    np.testing.assert_allclose(
        found.get_mahalanobis_matrix(), expected.get_mahalanobis_matrix(), rtol=0, atol=1e-7 * scale
    )
