"""Norms and unit rows over the whole range of floats, and what is refused as out of range."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from skrelmetric._interop.magnitudes import check_range, largest, limit_of, norms, unit_rows

QUICK = settings(derandomize=True, max_examples=100, deadline=None)
FLOATS = st.floats(-1e300, 1e300, allow_subnormal=True)
ROWS = st.lists(st.lists(FLOATS, min_size=3, max_size=3), min_size=1, max_size=4).map(np.array)


def exact_units(row):
    """Unit vector of a row that is scaled to 1 first."""
    size = max(map(abs, row))
    scaled = [value / size for value in row] if size else row
    length = math.hypot(*scaled)
    return [value / length if length else 0.0 for value in scaled]


@QUICK
@given(rows=ROWS, exponent=st.sampled_from([0, -900, -1060]))
def test_norms_and_unit_rows_know_no_range(rows, exponent):
    rows = np.ldexp(rows, exponent)
    expected = np.array([exact_units(row) for row in rows.tolist()])
    np.testing.assert_allclose(unit_rows(rows), expected, rtol=1e-14, atol=1e-300)
    np.testing.assert_allclose(unit_rows(torch.from_numpy(rows)).numpy(), expected, rtol=1e-14, atol=1e-300)
    np.testing.assert_allclose(unit_rows(sparse.csr_array(rows)).toarray(), expected, rtol=1e-14, atol=1e-300)
    np.testing.assert_allclose(norms(rows), [math.hypot(*row) for row in rows.tolist()], rtol=1e-14, atol=5e-324)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_rows_without_entries_and_no_rows(shape):
    assert unit_rows(np.empty(shape)).shape == shape
    assert unit_rows(sparse.csr_array(shape)).shape == shape
    assert norms(np.empty(shape)).tolist() == [0.0] * shape[0]
    assert largest(np.empty(shape)) == largest(sparse.csr_array(shape)) == 0


@pytest.mark.parametrize("dtype", [np.float64, np.float32, torch.float32])
def test_ranges(dtype):
    limit = limit_of(dtype)
    for size in (0.0, 1 / limit, 1.0, limit):
        check_range(size, "X", limit)
    with pytest.raises(ValueError, match=r"X holds .*, too large: .* Scale the features first, .* imputed"):
        check_range(2 * limit, "X", limit)
    with pytest.raises(ValueError, match=r"y spans .* at most, too small: .* Scale the targets first"):
        check_range(0.5 / limit, "y", limit)
    check_range(0.5 / limit, "X", limit, least=False)


@pytest.mark.parametrize("kind", [np.asarray, torch.tensor, sparse.csr_array])
def test_largest_modulus(kind):
    assert largest(kind([[1.0, -3.0], [0.0, 2.0]])) == 3
    assert largest(kind([[-1.0, -0.5]])) == 1
