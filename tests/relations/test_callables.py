"""Relations that are functions or objects of the caller."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from scipy import sparse
from scipy.spatial.distance import cdist

from skrelmetric.relations import Pairwise, make_relation
from tests.relations.definitions import NAN, assert_operator_is, largest_difference, reference, targets


def test_bound_relation_stands_for_its_own_samples(rng):
    G = make_relation(targets("l1", rng), "l1")
    assert make_relation(rng.random((23, 2)), G) is G
    for y in (np.zeros(22), sparse.csr_array((22, 3)), [[0, 1]] * 22):
        with pytest.raises(ValueError, match=r"operator over 23 samples, but y has 22\. In cross-validation"):
            make_relation(y, G)


@pytest.mark.parametrize(
    ("y", "ndim", "kind"),
    [
        ([0, 1, 2, 1], 1, "i"),
        ([0.5, 1, 2, 1], 1, "f"),
        (["ab", "ac", "bc", "ac"], 1, "U"),
        (np.array(["ab", "ac", "bc", "ac"], dtype=object), 1, "O"),
        (pd.Series(["ab", "ac", "bc", "ac"]), 1, "O"),
        ([[0, 1], [1, 1], [0, 2], [1, 1]], 2, "i"),
        (sparse.csr_matrix([[0, 1], [1, 1], [0, 2], [1, 1]]), 2, "f"),
        (sparse.coo_array([[0, 1], [1, 1], [0, 2], [1, 1]]), 2, "f"),
        (torch.tensor([[0, 1], [1, 1], [0, 2], [1, 1]]), 2, "i"),
    ],
)
def test_callable_takes_numpy_rows_of_the_target(y, ndim, kind, rng):
    received = []

    def differ(A, B):
        received.extend([A, B])
        return np.array([[float(np.any(a != b)) for b in B] for a in A]).reshape(len(A), len(B))

    G = make_relation(y, differ)
    expected = np.ones((4, 4)) - np.eye(4)
    expected[1, 3] = expected[3, 1] = 0
    assert_operator_is(G, expected, rng)
    assert isinstance(G, Pairwise)
    assert all(isinstance(A, np.ndarray) and A.ndim == ndim and A.dtype.kind == kind for A in received)


def test_callable_takes_rows_of_a_tensor_where_arrays_are_dispatched(rng):
    Y = torch.from_numpy(rng.random((9, 3)).round(1))
    with sklearn.config_context(array_api_dispatch=True):
        G = make_relation(Y, partial(torch.cdist, p=1))
    assert_operator_is(G, reference(Y, "l1"), rng)


@pytest.mark.parametrize("kind", [list, np.array, sparse.csr_array, torch.tensor])
def test_callable_is_evaluated_on_distinct_targets(kind, rng):
    distinct = np.array([[0, 0, 1], [1, 0, 1], [1, 1, 0], [0, 1, 1]])
    Y = distinct[rng.integers(0, 4, 300)]
    evaluated = []

    def g(A, B):
        evaluated.append(len(A) * len(B))
        return largest_difference(A, B)

    G = make_relation(kind(Y.tolist()), g)
    assert sum(evaluated) == 16  # once to see that it is symmetric
    for product in (
        lambda: G @ torch.ones(300, 2),
        lambda: G.quadratic(torch.ones(300, 2), torch.ones(300)),
        G.row_means,
    ):
        evaluated.clear()
        product()
        assert sum(evaluated) == 16


def test_callable_takes_blocks_of_rows_that_fit_working_memory(rng):
    lengths = []

    def g(A, B):
        lengths.append(len(A))
        return largest_difference(A, B)

    Y = rng.random((50, 2))
    with sklearn.config_context(working_memory=8 * 50 * 7.5 / 2**20):
        G = make_relation(Y, g)
        product = G @ torch.eye(50, dtype=torch.float64)
    np.testing.assert_allclose(product, reference(Y, "callable"), atol=1e-12)
    assert max(lengths) == 7
    assert lengths[-1] == 1


@pytest.mark.parametrize(
    ("g", "message"),
    [
        (lambda A, B: np.zeros(len(A)), r"returned shape \(3,\) for 3 and 3 targets\. .* all pairs, shape \(3, 3\)"),
        (lambda A, B: 1.0, r"returned shape \(\) for 3 and 3"),
        (lambda A, B: A - B, r"returned shape \(3, 2\)"),
        (lambda A, B: np.full((len(A), len(B)), NAN), "returned NaN or infinity"),
        (lambda A, B: np.full((len(A), len(B)), np.inf), "returned NaN or infinity"),
        (
            lambda A, B: A[:, None, 0] - B[None, :, 0],
            r"not symmetric: .* Return \(g\(Y_a, Y_b\) \+ g\(Y_b, Y_a\)\.T\) / 2",
        ),
        (lambda A, B: torch.zeros(len(A), 1), r"returned shape \(3, 1\)"),
    ],
)
def test_unfitting_callables_are_refused(g, message):
    with pytest.raises(ValueError, match=message):
        make_relation([[0, 1], [1, 1], [2, 0], [1, 1]], g)


def test_callable_is_checked_in_every_block():
    Y = np.arange(300.0)

    def g(A, B):
        return np.where(A[:, None] + B > 500, NAN, abs(A[:, None] - B))

    G = make_relation(Y, g)
    with pytest.raises(ValueError, match="returned NaN or infinity"):
        G @ torch.ones(300, 1)


class Bound:
    def __init__(self, value):
        self.value = value

    def bind(self, y, device="cpu"):
        return self.value


@pytest.mark.parametrize("value", [None, np.ones((3, 3))], ids=["nothing", "matrix"])
def test_what_binds_to_no_relation_is_refused(value):
    with pytest.raises(ValueError, match=rf"Bound\.bind returned a {type(value).__name__}, but it must return"):
        make_relation([0, 1, 2], Bound(value))


def test_a_class_of_relations_is_no_relation():
    with pytest.raises(ValueError, match=r"relation=Bound is a class\. Pass an object, Bound\(\.\.\.\)"):
        make_relation([0, 1, 2], Bound)


def test_errors_of_a_callable_say_what_it_got():
    with pytest.raises(ValueError, match="must be a 2-dimensional array") as caught:
        make_relation([0, 1, 2], cdist)
    assert caught.value.__notes__ == ["The relation got targets of shapes (3,) and (3,), int64."]
