import numpy as np
import pytest


@pytest.fixture
def samples(rng):
    X = rng.standard_normal((60, 4))
    return X, (X[:, :3] + 0.5 * rng.standard_normal((60, 3)) > 0).astype(int)


@pytest.fixture
def images(rng):
    X = rng.standard_normal((40, 1, 8, 8)).astype(np.float32)
    return X, (X[:, 0, :4].mean((1, 2)) > X[:, 0, 4:].mean((1, 2))).astype(int)
