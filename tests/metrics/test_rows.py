import numpy as np
import pandas as pd
import polars as pl
import pytest

from skrelmetric import metrics
from tests.metrics.test_distribution import DISTRIBUTION
from tests.metrics.test_multilabel import MULTILABEL


@pytest.mark.parametrize("name", MULTILABEL + DISTRIBUTION)
def test_sample_weights(name, rng):
    criterion = getattr(metrics, name)
    truth, prediction = rng.dirichlet(np.ones(4), 6), rng.dirichlet(np.ones(4), 6)
    if name in MULTILABEL:
        truth = (truth > 0.25).astype(int)
    weights = np.array([0, 1, 2, 1, 3, 1])
    repeated = criterion(truth.repeat(weights, axis=0), prediction.repeat(weights, axis=0))
    assert criterion(truth, prediction, sample_weight=weights) == pytest.approx(repeated)
    with pytest.raises(ValueError, match="zero"):
        criterion(truth, prediction, sample_weight=np.zeros(6))


@pytest.mark.parametrize("name", MULTILABEL + DISTRIBUTION)
@pytest.mark.parametrize(
    ("truth", "prediction", "message"),
    [
        ([[1, 0]], [[0.5, 0.2, 0.1]], "differ"),
        ([[1, 0]], [[0.5, np.nan]], "NaN"),
        ([1, 0], [0.5, 0.2], "Expected 2D array"),
        (np.empty((0, 2)), np.empty((0, 2)), "0 sample"),
    ],
)
def test_bad_input(name, truth, prediction, message):
    with pytest.raises(ValueError, match=message):
        getattr(metrics, name)(truth, prediction)


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame])
@pytest.mark.parametrize("name", [*MULTILABEL, *DISTRIBUTION, "precision_at_k", "propensity_scored_precision_at_k"])
def test_frames_with_columns_in_another_order_are_refused(name, kind):
    truth = kind({"rock": [1, 0, 1], "calm": [0, 1, 1]})
    criterion, options = getattr(metrics, name), {}
    if "precision_at_k" in name:
        options = {"k": 1} | ({"propensities": [0.5, 0.5]} if "propensity" in name else {})
    with pytest.raises(ValueError, match=r"different orders.*prediction\[truth.columns\]"):
        criterion(truth, truth[["calm", "rock"]], **options)
    renamed = truth.to_numpy()
    assert criterion(truth, truth, **options) == criterion(truth, renamed, **options)
    for names in (["a", "b"], ["calm", "b"], ["a", "rock"]):
        prediction = kind(dict(zip(names, renamed.T.tolist(), strict=True)))
        assert criterion(truth, prediction, **options) == criterion(truth, renamed, **options)


def test_frames_may_have_names_of_several_types():
    truth = pd.DataFrame([[1, 0], [0, 1], [1, 1]], columns=["rock", 0])
    assert metrics.average_precision(truth, truth) == 1.0
