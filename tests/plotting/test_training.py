import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import scale

from skrelmetric import HRAMLTransformer, RAMLLinear
from skrelmetric.plotting import plot_training
from tests.plotting.drawn import Trained


def test_training_draws_loss_and_criterion_and_marks_the_best_epoch(label_sets):
    X, Y = label_sets
    model = HRAMLTransformer(encoder="mlp", max_epochs=4, learning_rate=0.1, random_state=0).fit(scale(X), Y)
    ax = plot_training(model)
    np.testing.assert_array_equal(ax.get_lines()[0].get_xydata(), np.c_[np.arange(1, 5), model.loss_curve_])
    beside = ax.figure.axes[1]
    curve, at_best, ring = beside.get_lines()
    np.testing.assert_array_equal(curve.get_xydata(), np.c_[np.arange(5), model.validation_curve_])
    best = int(np.argmin(model.validation_curve_))
    assert best == model.best_epoch_
    assert set(at_best.get_xdata()) == {best}
    np.testing.assert_array_equal(ring.get_xydata(), [[best, min(model.validation_curve_)]])
    assert beside.get_title() == f"best epoch {best}"


def test_training_without_validation_has_the_loss_alone():
    ax = plot_training(Trained([3.0]))
    assert ax.figure.axes == [ax]
    np.testing.assert_array_equal(ax.get_lines()[0].get_xydata(), [[1, 3]])


def test_training_says_where_there_was_none(label_sets):
    with pytest.raises(ValueError, match="HRAMLTransformer was fitted without an epoch of training"):
        plot_training(HRAMLTransformer().fit(*label_sets))
    with pytest.raises(TypeError, match="RAMLLinear has no loss_curve_"):
        plot_training(RAMLLinear().fit(*label_sets))
    with pytest.raises(NotFittedError):
        plot_training(HRAMLTransformer())
    assert plt.get_fignums() == []
