"""How epochs are judged, and where training stops."""

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.spatial.distance import cdist
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skrelmetric import HRAMLTransformer
from skrelmetric._hraml.objective import Objective
from tests.deep.problems import LINEAR, MLP, SHORT, WHOLE, disc, loss_over_pairs


def neighbour_error(Z, Y, Z_val, Y_val):
    nearest = np.argsort(cdist(Z_val, Z), axis=1)[:, :10]
    return np.abs(Y_val[:, None] - Y[nearest]).sum(-1).mean()


@pytest.mark.parametrize("n_val", [1, 25])
def test_best_weights_are_those_of_the_least_neighbour_error(rng, n_val):
    X, y = disc(rng)
    X_val, y_val = disc(rng, n_val)
    metric = HRAMLTransformer(**LINEAR, learning_rate=0.1, max_epochs=20, n_iter_no_change=20)
    metric.fit(X, y, X_val=X_val, y_val=y_val)
    curve = metric.validation_curve_
    assert len(curve) == metric.n_iter_ + 1 == len(metric.loss_curve_) + 1 == 21
    assert metric.best_epoch_ == np.argmin(curve)
    error = neighbour_error(metric.transform(X), y[:, None], metric.transform(X_val), y_val[:, None])
    assert error == pytest.approx(min(curve))
    untrained = clone(metric).set_params(max_epochs=0).fit(X, y)
    error = neighbour_error(untrained.transform(X), y[:, None], untrained.transform(X_val), y_val[:, None])
    assert error == pytest.approx(curve[0])


def test_loss_as_criterion_is_that_of_validation_samples(samples):
    X, Y = samples
    metric = HRAMLTransformer(**LINEAR, criterion="loss", max_epochs=5).fit(X[:40], Y[:40], X_val=X[40:], y_val=Y[40:])
    expected = loss_over_pairs(torch.from_numpy(metric.transform(X[40:])), Y[40:])
    assert min(metric.validation_curve_) == pytest.approx(expected.item())


def test_training_stops_where_nothing_improves(samples):
    metric = HRAMLTransformer(**MLP, n_iter_no_change=2, tol=0.9, max_epochs=50).fit(*samples)
    assert metric.n_iter_ == 2
    assert len(metric.validation_curve_) == 3
    assert HRAMLTransformer(**MLP, **WHOLE, max_epochs=4).fit(*samples).n_iter_ == 4
    with pytest.warns(UserWarning, match="The learned metric is 0"):
        assert HRAMLTransformer(**MLP, n_iter_no_change=3, tol=0.0).fit(samples[0], np.ones(60)).n_iter_ == 3


def test_validation_samples_are_a_part_of_the_training_samples(samples, monkeypatch):
    sizes = []
    judge = Objective.neighbour_error

    def seen(self, validation):
        sizes.append((self.samples.n_samples, validation.n_samples))
        training, judged = (subsets.partitions.only.samples.rows for subsets in (self.samples, validation))
        assert not np.isin(judged, training).any()
        return judge(self, validation)

    monkeypatch.setattr(Objective, "neighbour_error", seen)
    HRAMLTransformer(**LINEAR, validation_fraction=0.25, max_epochs=1).fit(*samples)
    assert sizes == [(45, 15)] * 2


def test_validation_samples_change_nothing_without_training(samples):
    X, Y = samples
    metric = HRAMLTransformer().fit(X, Y, X_val=X[:9], y_val=Y[:9])
    np.testing.assert_array_equal(metric.transform(X), HRAMLTransformer().fit(X, Y).transform(X))


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
def test_validation_samples_of_other_kinds(samples, kind):
    X, Y = samples
    expected = HRAMLTransformer(**MLP, **SHORT).fit(X, Y, X_val=X[:9], y_val=Y[:9]).validation_curve_
    metric = HRAMLTransformer(**MLP, **SHORT).fit(X, kind(Y), X_val=sparse.csr_array(X[:9]), y_val=kind(Y[:9]))
    np.testing.assert_allclose(metric.validation_curve_, expected)


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        ({"X_val": np.ones((3, 4))}, "Pass both X_val and y_val"),
        ({"y_val": np.ones((3, 3))}, "Pass both X_val and y_val"),
        ({"X_val": np.ones((3, 5)), "y_val": np.ones((3, 3))}, "X has 5 features"),
        ({"X_val": np.ones((3, 4)), "y_val": np.ones((2, 3))}, "inconsistent numbers of samples"),
        ({"X_val": np.ones((3, 4)), "y_val": np.ones(3)}, r"y_val has outputs of shape \(\), but y of \(3,\)"),
    ],
)
def test_bad_validation_samples(samples, validation, message):
    with pytest.raises(ValueError, match=message):
        HRAMLTransformer(**MLP).fit(*samples, **validation)


@pytest.mark.parametrize(
    ("n", "parameters"),
    [(2, {}), (10, {"criterion": "loss"}), (20, {"validation_fraction": 0.95})],
)
def test_too_few_samples_to_validate(samples, n, parameters):
    X, Y = samples
    with pytest.raises(
        ValueError, match="Pass more samples, another fraction, X_val and y_val, or early_stopping=False"
    ):
        HRAMLTransformer(**MLP, **parameters).fit(X[:n], Y[:n])


def test_a_training_that_improves_on_nothing_says_so(samples, monkeypatch):
    X, Y = samples
    scores = iter([0.5, 0.7, 0.6, 0.5])
    monkeypatch.setattr(Objective, "error", lambda *args: next(scores))
    with pytest.warns(ConvergenceWarning, match="weights before training were kept.*Lower learning_rate") as caught:
        metric = HRAMLTransformer(**MLP, **SHORT).fit(X, Y)
    assert caught[0].filename == __file__
    assert metric.best_epoch_ == 0
    assert metric.n_iter_ == 3
    untrained = HRAMLTransformer(**{**MLP, "max_epochs": 0}).fit(X, Y)
    np.testing.assert_allclose(metric.transform(X), untrained.transform(X))


@pytest.mark.parametrize(
    ("scores", "options"),
    [
        ([0.5, 0.7, 0.4, 0.6], {}),
        ([0.0, 0.0, 0.0, 0.0], {}),  # nothing is better
        ([], {"early_stopping": False}),
        ([0.5], {"max_epochs": 0}),
        ([], {"encoder": "laplacian", "max_epochs": "auto"}),
    ],
)
@pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")
def test_other_trainings_do_not(scores, options, samples, monkeypatch):
    scores = iter(scores)
    monkeypatch.setattr(Objective, "error", lambda *args: next(scores))
    HRAMLTransformer(**{**MLP, **SHORT, **options}).fit(*samples)


@pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")
def test_nor_does_one_from_weights_that_were_trained(samples, monkeypatch):
    metric = HRAMLTransformer(**MLP, **SHORT, early_stopping=False).fit(*samples)
    scores = iter([0.5, 0.7, 0.6, 0.5])
    monkeypatch.setattr(Objective, "error", lambda *args: next(scores))
    metric.set_params(early_stopping=True, warm_start=True).fit(*samples)
    assert metric.best_epoch_ == 0
