"""Every relation on targets of every scale and container: that of its definition, or a clear error."""

import os

import numpy as np
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from skrelmetric.relations import make_relation
from tests.fuzz.attempts import RefusedError, attempt, digest
from tests.fuzz.cases import contained, of
from tests.process import untouched
from tests.relations.definitions import DEFINITIONS, EVERYTHING, RELATIONS, reference, targets, with_missing

EXPONENTS = [0, 0, -20, 20, -160, 160, -245, 245, -700, 700, -1060, 1015]
POWERS = {"l1": 1, "sqeuclidean": 2, "hellinger": 1, "cosine": 0}  # that relations of numbers grow with


@st.composite
def cases(draw, relation):
    """Targets that suit a relation, and a container of them."""
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    n = draw(st.sampled_from([1, 2, 9]))
    Y = np.asarray(targets(relation, rng, n))
    container = draw(st.sampled_from(["array", "fortran", "readonly", "list", "frame", "csr", "csr twice", "coo"]))
    if draw(st.booleans()) and Y.dtype.kind in "if" and container in ("array", "fortran", "readonly"):
        Y = with_missing(Y.astype(float), rng)
    exponent = draw(st.sampled_from(EXPONENTS)) if relation in POWERS else 0
    if exponent:
        Y = np.ldexp(Y.astype(float), exponent)
        if draw(st.booleans()) and relation == "cosine":  # rows of different scale
            Y[0] = np.ldexp(Y[0], -exponent)
    return Y, container, abs(exponent) <= 240 or relation == "cosine"


def check(relation, Y, container, ordinary):
    given_y = contained(Y, container, Y.dtype.name) if Y.dtype.kind in "iufb" else Y
    mark = digest(given_y)
    with untouched():
        try:
            G = attempt(make_relation, given_y, RELATIONS[relation])
            found = attempt(G.block, EVERYTHING, EVERYTHING).numpy()
        except RefusedError as error:
            if ordinary:
                raise AssertionError("refused though nothing is out of the ordinary") from error
            event(f"{relation}: refused")
            return
    event(f"{relation}: made")
    assert digest(given_y) == mark, "what was given was written to"
    size = np.abs(np.nan_to_num(Y)).max() if relation in POWERS else 1.0
    size = size ** POWERS.get(relation, 0)
    np.testing.assert_allclose(found, reference(Y, relation), rtol=1e-9, atol=1e-12 * size)


def fuzz(relation, n_cases):
    of(n_cases)(given(cases(relation))(lambda case: check(relation, *case)))()


@pytest.mark.parametrize("relation", DEFINITIONS)
def test_some_cases(relation):
    fuzz(relation, 30)


@pytest.mark.fuzz
@pytest.mark.parametrize("relation", DEFINITIONS)
def test_many_cases(relation):
    fuzz(relation, int(os.environ.get("FUZZ_CASES", "400")))
