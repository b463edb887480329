"""Relations written down from their definitions, and targets of each."""

import math

import numpy as np
import torch

EVERYTHING = slice(None)


def in_units(row):
    """Row in units of its largest entry."""
    return [a / max(map(abs, row)) if any(row) else 0.0 for a in row]


def cosine(pairs):
    u, v = (in_units([pair[side] for pair in pairs]) for side in (0, 1))
    lengths = math.hypot(*u) * math.hypot(*v)
    return 1 - sum(a * b for a, b in zip(u, v, strict=True)) / lengths if lengths else float(any(u) != any(v))


def jaccard(pairs):
    either = sum(a == 1 or b == 1 for a, b in pairs)
    return sum(a != b for a, b in pairs) / either if either else 0.0


def jeffreys(pairs, eps=1e-6):
    raised = [(max(a, eps), max(b, eps)) for a, b in pairs]
    return sum(a * math.log(a / b) + b * math.log(b / a) for a, b in raised)


# g(y_i, y_j), each from its definition, over the pairs of values of the outputs that are known of both.
DEFINITIONS = {
    "hamming": lambda pairs: sum(a != b for a, b in pairs),
    "discrete": lambda pairs: sum(a != b for a, b in pairs),
    "l1": lambda pairs: sum(abs(a - b) for a, b in pairs),
    "sqeuclidean": lambda pairs: sum((a - b) ** 2 for a, b in pairs),
    "hellinger": lambda pairs: sum((math.sqrt(a) - math.sqrt(b)) ** 2 for a, b in pairs) / 2,
    "cosine": cosine,
    "jeffreys": jeffreys,
    "jaccard": jaccard,
    "callable": lambda pairs: max((abs(a - b) for a, b in pairs), default=0),
}
FACTORED = ["hamming", "sqeuclidean", "hellinger", "cosine", "jeffreys"]


def largest_difference(A, B):
    """The relation "callable": all pairs of rows of numpy arrays."""
    assert isinstance(A, np.ndarray)
    assert isinstance(B, np.ndarray)
    return np.nan_to_num(abs(A[:, None].astype(float) - B[None])).max(-1)


RELATIONS = {name: name for name in DEFINITIONS} | {"callable": largest_difference}


def reference(Y, relation):
    g = DEFINITIONS[relation] if isinstance(relation, str) else relation
    rows = np.asarray(Y).reshape(len(Y), -1).tolist()
    known = [[[(a, b) for a, b in zip(u, v, strict=True) if a == a and b == b] for v in rows] for u in rows]
    return np.array([[float(g(pairs)) for pairs in row] for row in known])


def targets(relation, rng, n=23):
    indicator = (rng.random((n, 5)) < 0.4).astype(int)
    distributions = rng.dirichlet(np.ones(4), n) * (rng.random((n, 4)) < 0.8)
    return {
        "hamming": indicator,
        "discrete": rng.integers(0, 4, (n, 2)),
        "l1": np.vstack([rng.dirichlet(np.ones(4), n), np.full((3, 4), 0.25)])[-n:],
        "sqeuclidean": rng.standard_normal((n, 3)) + 100,
        "hellinger": distributions,
        "cosine": rng.standard_normal((n, 3)).round(1) * (rng.random((n, 1)) < 0.9),
        "jeffreys": distributions,
        "jaccard": indicator,
        "callable": rng.integers(0, 3, (n, 2)),
    }[relation]


def with_missing(Y, rng):
    """Targets of which some, all of one sample and all of an output more are missing."""
    Y = np.column_stack([Y.astype(float), Y[:, 0]])
    Y[rng.random(Y.shape) < 0.3] = np.nan
    Y[len(Y) // 2], Y[:, -1] = np.nan, np.nan
    return Y


def assert_operator_is(G, expected, rng, V_dtype=torch.float64, tolerance=1e-10):
    n = G.n_samples
    assert expected.shape == (n, n)
    V = torch.from_numpy(rng.standard_normal((n, 4))).to(V_dtype)
    p = rng.dirichlet(np.ones(n))
    i, j = torch.from_numpy(rng.integers(0, n, (2, 70)))
    scale = max(1.0, np.abs(expected).sum(1).max())
    np.testing.assert_allclose(G.block(EVERYTHING, EVERYTHING), expected, atol=1e-10 * scale)
    np.testing.assert_allclose(G.pairs(i, j), expected[i, j], atol=1e-10 * scale)
    np.testing.assert_allclose(G @ V, expected @ V.double().numpy(), atol=tolerance * scale)
    Z = V.double().numpy()
    np.testing.assert_allclose(G.quadratic(V), Z.T @ expected @ Z, atol=tolerance * scale * n)
    weighted, P = G.quadratic(V, torch.from_numpy(3 * p)), np.diag(3 * p)
    np.testing.assert_allclose(weighted, Z.T @ P @ expected @ P @ Z, atol=tolerance * scale)
    np.testing.assert_allclose(G.row_means(), expected.mean(1), atol=1e-10 * scale)
    np.testing.assert_allclose(G.row_means(torch.from_numpy(p)), expected @ p, atol=1e-10 * scale)
    assert (G @ V).dtype == V_dtype
    assert G.quadratic(V).dtype == weighted.dtype == G.row_means().dtype == torch.float64


NAN = math.nan
