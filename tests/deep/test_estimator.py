"""Parameters, what is refused, and the estimator between fits."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from torch import nn

from skrelmetric import HRAMLTransformer
from skrelmetric.encoders import Laplacian


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"encoder": "laplace"}, "'encoder' parameter of HRAMLTransformer must be"),
        ({"encoder": 3}, "an object implementing 'build'"),
        ({"encoder": Laplacian(width=0)}, "width=0 of Laplacian must be a whole number above 0"),
        ({"encoder": Laplacian(gamma=-1.0)}, "gamma=-1.0 of Laplacian must be a number above 0"),
        ({"n_components": 0}, "'n_components' parameter of HRAMLTransformer must be"),
        ({"n_components": 61}, "n_components=61, but the encoder has .* Pass at most that, or None"),
        ({"n_components": 3, "encoder": nn.Linear(4, 2), "head": "linear"}, "Pass that number, or None"),
        ({"relation": "haming"}, "Did you mean 'hamming'"),
        ({"head": "exact"}, "'head' parameter"),
        ({"alpha": -1.0}, "'alpha' parameter"),
        ({"dropout": 1.0}, "'dropout' parameter"),
        ({"encoder": "mlp", "dropout": 0.1}, r"hidden_layer_sizes=\(128,\) has none under head='ridge'"),
        ({"encoder": Laplacian}, r"encoder=Laplacian is a class. Pass an object, Laplacian\(...\)"),
        ({"hard_fraction": 0.5, "pairs": 10}, "hard_fraction=0.5 is for head='linear'"),
        ({"activation": "swish"}, "'activation' parameter"),
        ({"pairs": 0}, "'pairs' parameter"),
        ({"hard_fraction": 0.0}, "'hard_fraction' parameter"),
        ({"max_epochs": -1}, "'max_epochs' parameter"),
        ({"learning_rate": 0.0}, "'learning_rate' parameter"),
        ({"tol": 1.5}, "'tol' parameter"),
        ({"validation_fraction": 1.0}, "'validation_fraction' parameter"),
        ({"criterion": "accuracy"}, "'criterion' parameter"),
        ({"optimizer": "rmsprop"}, "'optimizer' parameter"),
        (
            {"warm_start": True, "checkpoint": "."},
            "warm_start=True starts from the last fit and checkpoint from a file",
        ),
        ({"hard_fraction": 0.5}, "hard_fraction=0.5 chooses among drawn pairs, but pairs='all'"),
        ({"batch_size": 1}, "a batch of samples needs two to have a pair"),
        ({"optimizer": "lbfgs", "pairs": 100}, "optimizer='lbfgs' needs the same loss at every step"),
        ({"optimizer": "lbfgs", "batch_size": 10}, "optimizer='lbfgs' needs the same loss at every step"),
        (
            {"optimizer": "lbfgs", "encoder": "mlp", "dropout": 0.1},
            "optimizer='lbfgs' needs the same loss at every step",
        ),
        ({"learn_scale": True}, "learn_scale=True is for head='linear'"),
        ({"hidden_layer_sizes": (8, 0)}, "must hold whole numbers above 0"),
        ({"hidden_layer_sizes": (8.0,)}, "must hold whole numbers above 0"),
        ({"encoder": "mlp", "hidden_layer_sizes": ()}, "leaves encoder='mlp' no features"),
        ({"device": "bogus"}, "device='bogus' cannot be used here"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_bad_parameters(samples, parameters, message, method):
    with pytest.raises(ValueError, match=message):
        getattr(HRAMLTransformer(**parameters), method)(*samples)


def test_specs_are_instances(samples):
    with pytest.raises(ValueError, match="encoder"):
        HRAMLTransformer(encoder=Laplacian).fit(*samples)


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        ([[0.0, np.nan], [1, 2]], [0, 1], "contains NaN"),
        ([[0.0, np.inf], [1, 2]], [0, 1], "contains infinity"),
        ([0.0, 1.0], [0, 1], "Expected 2D array"),
        (np.zeros((3, 3, 2)), [0, 1, 1], r"dimensions, \(3, 2\).*rows of features.*torch module.*encoder="),
        ([[0.0, 1], [1, 2]], None, "HRAMLTransformer requires y to be passed, but the target y is None"),
        ([[0.0, 1], [1, 2]], [0, 1, 1], "inconsistent numbers of samples"),
        ([[0.0, 1], [1, 2]], [0.5, np.inf], "contains infinity"),
        ([[0.0, 1], [1, 2]], [0.5, np.nan], "1 of 2 samples have a positive weight and a known target"),
        ([[0.0, 1]], [0], "minimum of 2 is required"),
        ([[0.0, 1], [1, 2]], [[1], [2, 3]], "MultiLabelBinarizer"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_bad_input(X, y, message, method):
    with pytest.raises(ValueError, match=message):
        getattr(HRAMLTransformer(), method)(X, y)


def test_tanh_of_huge_samples_says_so(samples):
    X, Y = samples
    with pytest.raises(ValueError, match="Scale the features"):
        HRAMLTransformer(encoder="tanh").fit(X * 1e200, Y)


def test_unfitted(samples):
    with pytest.raises(NotFittedError):
        HRAMLTransformer().transform(samples[0])


def test_a_failed_fit_is_no_fit(samples):
    X, _ = samples
    metric = HRAMLTransformer(relation="jeffreys")
    with pytest.raises(ValueError, match="jeffreys"):
        metric.fit(X, X)
    with pytest.raises(NotFittedError):
        metric.transform(X)


def test_names_after_set_params(samples):
    metric = HRAMLTransformer(8).fit(*samples).set_params(n_components=3)
    assert len(metric.get_feature_names_out()) == metric.transform(samples[0]).shape[1]


def test_warnings_point_to_the_caller(samples):
    with pytest.warns(UserWarning, match="The learned metric is 0") as caught:
        HRAMLTransformer().fit(samples[0], np.ones(60))
    assert caught[0].filename == __file__
