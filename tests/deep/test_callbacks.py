"""Callbacks of scikit-learn, and the bar of progress."""

import pickle
import sys

import numpy as np
import pytest
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skrelmetric import HRAMLTransformer
from tests.deep.problems import LINEAR, MLP, SHORT, WHOLE


def spread(metric, X, y):
    return float(np.var(metric.transform(X)))


@pytest.mark.parametrize("parameters", [MLP, LINEAR, {**MLP, "loss": "neighbors"}])
def test_scoring_monitor_sees_every_epoch(samples, parameters):
    callback = pytest.importorskip("sklearn.callback")
    X, Y = samples
    monitor = callback.ScoringMonitor(scoring={"spread": spread})
    metric = HRAMLTransformer(**parameters, **WHOLE, max_epochs=3)
    expected = [spread(clone(metric).set_params(max_epochs=n).fit(X, Y), X, Y) for n in (1, 2, 3)]
    metric.set_callbacks(monitor).fit(X, Y)
    log = monitor.get_logs().data
    np.testing.assert_allclose([entry["spread"] for entry in log if entry["task_name"] == "epoch"], expected)
    assert [entry["spread"] for entry in log if entry["task_name"] == "fit"] == [pytest.approx(expected[-1])]
    assert spread(metric, X, Y) == pytest.approx(expected[-1])


def test_callbacks_after_early_stopping_and_in_a_search(samples, capsys):
    callback = pytest.importorskip("sklearn.callback")
    X, Y = samples
    monitor, bar = callback.ScoringMonitor(scoring={"spread": spread}), callback.ProgressBar()
    metric = HRAMLTransformer(**MLP, n_iter_no_change=2, tol=0.9).set_callbacks(monitor, bar).fit(X, Y)
    assert metric.n_iter_ == 2
    assert sum(entry["task_name"] == "epoch" for entry in monitor.get_logs().data) == 2
    assert "HRAMLTransformer - fit" in capsys.readouterr().out
    copy = pickle.loads(pickle.dumps(metric))
    np.testing.assert_array_equal(copy.transform(X), metric.transform(X))
    monitor = callback.ScoringMonitor(scoring={"spread": spread})
    model = HRAMLTransformer(**MLP, **SHORT).set_callbacks(monitor)
    search = GridSearchCV(model, {"alpha": [1.0, 3.0]}, scoring=spread, cv=2, error_score="raise")
    search.set_callbacks(callback.ProgressBar()).fit(X, Y)
    assert sum(entry["task_name"] == "epoch" for entry in monitor.get_logs().data) == 5 * 3
    expected = HRAMLTransformer(**MLP, **SHORT, alpha=search.best_params_["alpha"]).fit(X, Y)
    np.testing.assert_array_equal(search.best_estimator_.transform(X), expected.transform(X))


@pytest.mark.parametrize("parameters", [{}, {**LINEAR, **SHORT}])
def test_callbacks_see_a_fitted_estimator(samples, parameters):
    callback = pytest.importorskip("sklearn.callback")
    X, Y = samples

    def names(metric, X, y):
        return len(metric.get_feature_names_out()) - metric.transform(X).shape[1] + 0 * metric.offset_

    tensors = torch.from_numpy(X), torch.from_numpy(Y)
    for data, output, dispatch in (((X, Y), "default", False), ((X, Y), "pandas", False), (tensors, "default", True)):
        monitor = callback.ScoringMonitor(scoring={"names": names})
        with config_context(array_api_dispatch=dispatch):
            HRAMLTransformer(**parameters).set_output(transform=output).set_callbacks(monitor).fit(*data)
        assert [entry["names"] for entry in monitor.get_logs().data] == [0.0] * (4 if parameters else 1)


def test_a_callback_stops_training(samples):
    pytest.importorskip("sklearn.callback")

    class AfterTwo:
        def setup(self, estimator, context):
            self.down = 0

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context):
            return context.task_name == "epoch" and context.task_id == 1

        def teardown(self, estimator, context):
            self.down += 1

    callback = AfterTwo()
    assert HRAMLTransformer(**MLP, max_epochs=9).set_callbacks(callback).fit(*samples).n_iter_ == 2
    assert callback.down == 1
    with pytest.raises(ValueError, match="y_val"):
        HRAMLTransformer(**MLP, max_epochs=9).set_callbacks(callback).fit(*samples, X_val=samples[0])


def test_verbose_shows_epochs(samples, capsys, monkeypatch):
    metric = HRAMLTransformer(**MLP, **SHORT, verbose=True).fit(*samples)
    shown = capsys.readouterr().out
    assert f"Epoch 3, loss {metric.loss_curve_[-1]:.4g}" in shown
    assert "criterion" in shown
    HRAMLTransformer(**MLP, **SHORT).fit(*samples)
    assert capsys.readouterr().out == ""
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    with pytest.raises(ImportError, match=r"skrelmetric\[progress\]"):
        metric.fit(*samples)
