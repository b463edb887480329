"""Rows of a subset are read as they are asked for, whatever they are stored in."""

import numpy as np
import pytest
import torch
from scipy import sparse

from skrelmetric._data.subset import Subset
from tests._training.encoders import uniform

X = np.arange(24.0).reshape(6, 4) * (np.arange(4) % 2)
STORED = {
    "tensor": torch.from_numpy(X),
    "single": torch.from_numpy(X.astype("f4")),
    "csr": sparse.csr_array(X),
    "single csr": sparse.csr_array(X.astype("f4")),
    "integers": torch.from_numpy(X.astype(np.int64)),
    "images": torch.from_numpy(X.reshape(6, 2, 2)),
}


@pytest.mark.parametrize("some", [slice(1, 3), slice(None), slice(4, 99), torch.tensor([3, 0, 3]), torch.tensor([1])])
@pytest.mark.parametrize("rows", [None, [5, 2, 2, 0, 1]])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", STORED)
def test_read(kind, dtype, rows, some):
    stored = STORED[kind]
    n = 6 if rows is None else len(rows)
    part = Subset(stored, None if rows is None else torch.tensor(rows), uniform(n), None)
    read = part.read(some, dtype)
    index = np.arange(6) if rows is None else np.array(rows)
    expected = X[index[some if isinstance(some, slice) else some.numpy()]]
    np.testing.assert_array_equal(read, expected.reshape(-1, *stored.shape[1:]))
    assert read.dtype == (torch.int64 if kind == "integers" else dtype)


@pytest.mark.parametrize("kind", STORED)
def test_dtype_and_example(kind):
    part = Subset(STORED[kind], None, uniform(6), None)
    assert part.float_dtype == (torch.float64 if kind in ("tensor", "csr", "images") else torch.float32)
    example = part.example()
    assert example.shape == (2, *part.X.shape[1:])
    assert example.dtype == (torch.int64 if kind == "integers" else part.float_dtype)
    assert not example.any()


def test_some_of_some(rng):
    p = torch.from_numpy(rng.dirichlet(np.ones(6)))
    whole = Subset(STORED["csr"], None, p, None)
    part = whole.some(torch.tensor([4, 1, 5, 0])).some(torch.tensor([3, 0, 1]), factor=2.0, start=7)
    assert (part.n_samples, part.start) == (3, 7)
    torch.testing.assert_close(part.weights, 2 * p[[0, 4, 1]])
    np.testing.assert_array_equal(part.read(slice(None), torch.float64), X[[0, 4, 1]])
