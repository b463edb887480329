"""Products, parts and means of operators."""

import numpy as np
import pytest
import torch
from scipy import sparse

from skrelmetric.relations import make_relation
from tests.relations.definitions import (
    DEFINITIONS,
    EVERYTHING,
    RELATIONS,
    assert_operator_is,
    reference,
    targets,
    with_missing,
)

KINDS = {"dense": lambda Y, rng: Y, "missing": with_missing, "sparse": lambda Y, rng: sparse.csr_array(Y - Y.min())}
SOME = [torch.tensor([3, 1, 20, 11, 3]), torch.tensor([22]), slice(4, 17), slice(5, 6), slice(1, None, 4)]


def relation_and_matrix(relation, kind, rng, n=23):
    """An operator over targets that are dense, partly missing or sparse, and its matrix by definition."""
    Y = KINDS[kind](targets(relation, rng, n) * 1.0, rng)
    return make_relation(Y, RELATIONS[relation]), reference(Y.toarray() if sparse.issparse(Y) else Y, relation)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("relation", DEFINITIONS)
def test_products_go_through_the_samples_in_chunks(relation, kind, rng):
    G, expected = relation_and_matrix(relation, kind, rng)
    V = torch.from_numpy(rng.standard_normal((23, 3)))
    tolerance = {"rtol": 0, "atol": 1e-11 * max(1.0, np.abs(expected).sum(1).max())}
    for size in (1, 4, 23):
        chunks = [slice(start, min(start + size, 23)) for start in range(0, 23, size)]
        collected = None
        for rows in chunks:
            collected = G.collect(V[rows], rows, collected)
        product = G.core(collected)
        chunked = torch.cat([G.spread(product, rows) for rows in chunks])
        np.testing.assert_allclose(chunked, G @ V, **tolerance)
        np.testing.assert_allclose(chunked, expected @ V.numpy(), **tolerance)
        np.testing.assert_allclose(collected.T @ product, V.numpy().T @ expected @ V.numpy(), **tolerance)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("relation", DEFINITIONS)
def test_sums_are_double_and_rows_of_a_product_have_its_dtype(relation, kind, rng):
    G, expected = relation_and_matrix(relation, kind, rng)
    V = torch.from_numpy(rng.standard_normal((23, 3))).to(torch.float32)
    product = G.core(G.collect(V))
    assert product.dtype == G.spread(product).dtype == torch.float64
    rows = G.spread(product.to(torch.float32), slice(3, 9))
    assert rows.dtype == torch.float32
    exact = expected[3:9] @ V.double().numpy()
    np.testing.assert_allclose(rows, exact, rtol=0, atol=1e-5 * max(1.0, float(product.abs().max())))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("relation", DEFINITIONS)
def test_relation_of_some_samples_is_the_submatrix(relation, kind, rng):
    G, expected = relation_and_matrix(relation, kind, rng)
    for rows in SOME:
        some, index = G[rows], np.arange(23)[rows if isinstance(rows, slice) else rows.numpy()]
        assert type(some) is type(G)
        assert_operator_is(some, expected[np.ix_(index, index)], rng)
    assert_operator_is(G, expected, rng)  # is as it was


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("relation", DEFINITIONS)
def test_pairs_are_entries_of_the_matrix(relation, kind, rng):
    G, expected = relation_and_matrix(relation, kind, rng)
    i, j = torch.cartesian_prod(torch.arange(23), torch.arange(23)).T
    tolerance = {"rtol": 0, "atol": 1e-10 * max(1.0, expected.max())}
    np.testing.assert_allclose(G.pairs(i, j).reshape(23, 23), expected, **tolerance)
    for count in (1, 2, 33):
        np.testing.assert_allclose(G.pairs(i[:count], j[-count:]), expected[i[:count], j[-count:]], **tolerance)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("relation", DEFINITIONS)
@pytest.mark.parametrize("n", [1, 2, 23])
def test_mean_square(relation, kind, n, rng):
    G, expected = relation_and_matrix(relation, kind, rng, n)
    p = rng.dirichlet(np.ones(n))
    p[0] = 0 if n > 2 else p[0]
    p /= p.sum()
    mean_square = G.mean_square(torch.from_numpy(p))
    assert mean_square.dtype == torch.float64
    assert float(mean_square) == pytest.approx(p @ expected**2 @ p, rel=1e-10, abs=1e-12)


@pytest.mark.parametrize(("relation", "tolerance"), [("l1", 0.02), ("discrete", 0.02), ("hamming", 1e-10)])
def test_mean_square_of_many_samples_is_estimated_where_there_is_no_form(relation, tolerance, rng):
    n = 1100
    Y = targets(relation, rng, n)
    p = torch.from_numpy(rng.dirichlet(np.full(n, 0.5)))
    p[:100] = 0
    p /= p.sum()
    G = make_relation(Y, relation)
    expected = p @ G.block(EVERYTHING, EVERYTHING).square() @ p
    state = torch.get_rng_state()
    estimate = G.mean_square(p)
    assert torch.equal(torch.get_rng_state(), state)
    assert float(estimate) == pytest.approx(float(expected), rel=tolerance)
    torch.manual_seed(7)
    assert float(G.mean_square(p)) == float(make_relation(Y, relation).mean_square(p)) == float(estimate)
