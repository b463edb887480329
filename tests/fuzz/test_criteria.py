"""Every criterion on predictions and weights of every scale and container: a clear error, or a number in its range."""

import os

import numpy as np
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from skrelmetric import metrics
from tests.fuzz.attempts import RefusedError, attempt, digest
from tests.fuzz.cases import SPARSE, contained, of, weights
from tests.process import untouched

EXPONENTS = [0, 0, 0, -20, 20, -400, 400, -1060, 1015]
CONTAINERS = ["array", "fortran", "view", "readonly", "list", "frame"]

RANKED = ["average_precision", "coverage", "one_error", "ranking_loss", "precision_at_k"]
LABEL_SETS = ["f1", "hamming_loss"]
DISTRIBUTIONS = [
    "canberra_distance",
    "chebyshev_distance",
    "clark_distance",
    "cosine_similarity",
    "intersection_similarity",
    "kl_divergence",
]
EMBEDDED = ["recall_at_k", "r_precision", "mean_average_precision_at_r"]
CRITERIA = RANKED + LABEL_SETS + DISTRIBUTIONS + EMBEDDED
AT_MOST_1 = {*RANKED, *LABEL_SETS, *EMBEDDED, "cosine_similarity"} - {"coverage"}


@st.composite
def cases(draw, name):
    """Truth and prediction, or embedding and classes, weights, and a container of what is predicted."""
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    n, n_labels = draw(st.sampled_from([(1, 3), (2, 2), (7, 4), (12, 1)]))
    container = draw(st.sampled_from([*CONTAINERS, *SPARSE] if name not in EMBEDDED else CONTAINERS))
    exponent = draw(st.sampled_from(EXPONENTS))
    kind = draw(st.sampled_from([None, "ones", "some 0", "whole", "uneven", "tiny", "huge", "as columns"]))
    ordinary = abs(exponent) <= 400 and kind != "as columns"
    truth, scores = (rng.random((n, n_labels)) < 0.5).astype(int), np.round(8 * rng.random((n, n_labels))) / 8
    if name in LABEL_SETS:
        return truth, scores, weights(kind, rng, n), container, kind != "as columns"
    if name in EMBEDDED:
        X = np.ldexp(np.round(8 * rng.standard_normal((n, 2))) / 8, exponent)
        return X, np.arange(n) // 2, None, container, ordinary and n > 2
    if name in DISTRIBUTIONS:
        truth = rng.dirichlet(np.ones(n_labels), n)
        if draw(st.booleans()):
            truth = np.ldexp(truth, exponent)
    return truth, np.ldexp(scores, exponent), weights(kind, rng, n), container, ordinary


def value(name, first, second, sample_weight):
    options = {} if sample_weight is None else {"sample_weight": sample_weight}
    return attempt(getattr(metrics, name), first, second, **options)


def check(name, first, second, sample_weight, container, ordinary):
    given_first, given_second = contained(first, container, first.dtype.name), second
    if name not in EMBEDDED:
        given_second = contained(second, container, second.dtype.name)
    mark = digest(given_first, given_second, sample_weight)
    with untouched():
        try:
            found = value(name, given_first, given_second, sample_weight)
        except RefusedError as error:
            if ordinary:
                raise AssertionError("refused though nothing is out of the ordinary") from error
            event(f"{name}: refused")
            return
    event(f"{name}: found")
    assert digest(given_first, given_second, sample_weight) == mark, "what was given was written to"
    assert isinstance(found, float)
    assert np.isfinite(found)
    assert -1e-9 <= found <= 1 + 1e-9 or name not in AT_MOST_1
    order = np.arange(len(first))[::-1]
    turned = None if sample_weight is None else np.asarray(sample_weight)[order]
    np.testing.assert_allclose(value(name, first[order], second[order], turned), found, rtol=1e-9, atol=1e-12)
    if sample_weight is not None:
        np.testing.assert_allclose(value(name, first, second, 4 * np.asarray(sample_weight)), found, rtol=1e-9)
    if name in RANKED:
        ranks = np.unique(second, return_inverse=True)[1].reshape(second.shape)
        np.testing.assert_allclose(value(name, first, ranks, sample_weight), found, rtol=1e-12)


def fuzz(name, n_cases):
    of(n_cases)(given(cases(name))(lambda case: check(name, *case)))()


@pytest.mark.parametrize("name", CRITERIA)
def test_some_cases(name):
    fuzz(name, 30)


@pytest.mark.fuzz
@pytest.mark.parametrize("name", CRITERIA)
def test_many_cases(name):
    fuzz(name, int(os.environ.get("FUZZ_CASES", "400")))
