import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pytest


@pytest.fixture(autouse=True)
def _no_figure_left():
    plt.close("all")
    yield
    plt.close("all")


@pytest.fixture
def ax():
    return plt.figure().add_subplot()


@pytest.fixture
def label_sets(rng):
    return rng.standard_normal((40, 5)), (rng.random((40, 4)) < [0.2, 0.4, 0.6, 0.8]).astype(int)
