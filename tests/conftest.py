import os

os.environ.setdefault("MPLBACKEND", "Agg")  # pictures without a screen
os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads that wait for a core that others use make small sums slow
os.environ["SCIPY_ARRAY_API"] = "1"  # scipy reads it when it is imported; scikit-learn's array API checks need it

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def data_home():
    """Cache of fetched data sets; tests that need it are skipped where there is none."""
    folder = os.environ.get("SKRELMETRIC_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs the data sets: set SKRELMETRIC_DATA to a folder that holds them")
    return Path(folder)
