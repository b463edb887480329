import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import ShuffleSplit, cross_validate
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrelmetric import AAKNN, MLkNN, RAMLLinear
from skrelmetric.datasets import fetch_ldl, load_emotions, make_label_distributions
from skrelmetric.metrics import average_precision, coverage, hamming_loss, one_error, ranking_loss
from skrelmetric.scorers import LABEL_DISTRIBUTION_SCORERS


@pytest.fixture
def samples(rng):
    X = rng.standard_normal((80, 6)) * [1, 2, 3, 1, 1, 1]
    return X, (X[:, :3] + rng.standard_normal((80, 3)) > 0).astype(int)


def least_squares(X, Y, alpha):
    """RAML with the Hamming relation by explicit least squares over all pairs, projected (HRAML, Eqs. 1-3)."""
    n, d = X.shape
    pairs = (X[:, None] - X[None]).reshape(n * n, d)
    design = np.column_stack([np.einsum("ij,ik->ijk", pairs, pairs).reshape(n * n, -1), np.ones(n * n)]) / n
    G = np.abs(Y[:, None] - Y[None]).sum(-1).ravel() / n
    penalty = np.sqrt(alpha) * X.var(0).mean() * np.eye(d * d, d * d + 1)
    solution = np.linalg.lstsq(np.vstack([design, penalty]), np.concatenate([G, np.zeros(d * d)]), rcond=None)[0]
    eigenvalues, V = np.linalg.eigh(solution[:-1].reshape(d, d))
    return (V * np.maximum(eigenvalues, 0)) @ V.T, solution[-1]


@pytest.mark.parametrize("alpha", [0.01, 1.0, 10.0])
def test_defaults_agree_with_least_squares_over_all_pairs(samples, alpha):
    X, Y = samples
    M, b = least_squares(X, Y, alpha)
    metric = RAMLLinear(alpha=alpha).fit(X, Y)
    np.testing.assert_allclose(metric.get_mahalanobis_matrix(), M, atol=1e-6 * np.abs(M).max())
    assert metric.offset_ == pytest.approx(b, rel=1e-6)


def test_transform_is_an_isometry_of_the_metric(samples):
    X, Y = samples
    metric = RAMLLinear().fit(X, Y)
    T, M = metric.transform(X), metric.get_mahalanobis_matrix()
    pairs = np.stack([X[:-1], X[1:]], axis=1)
    difference = X[:-1] - X[1:]
    expected = np.sqrt(np.einsum("ij,jk,ik->i", difference, M, difference))
    np.testing.assert_allclose(metric.pair_distance(pairs), expected)
    np.testing.assert_allclose(np.linalg.norm(T[:-1] - T[1:], axis=1), expected)


@pytest.mark.parametrize("c", [1e-12, 1e-3, 1e3, 1e30])
def test_alpha_is_free_of_scale(samples, c):
    X, Y = samples
    one, scaled = RAMLLinear().fit(X, Y), RAMLLinear().fit(c * X, Y)
    np.testing.assert_allclose(scaled.transform(c * X), one.transform(X), atol=1e-8)
    assert scaled.n_iter_ == one.n_iter_
    assert scaled.offset_ == pytest.approx(one.offset_)


def test_metric_does_not_see_shifts_rotations_and_repetitions(samples, rng):
    X, Y = samples
    Q, _ = np.linalg.qr(rng.standard_normal((6, 6)))
    M = RAMLLinear().fit(X, Y).get_mahalanobis_matrix()
    np.testing.assert_allclose(RAMLLinear().fit(X + 1e4, Y).get_mahalanobis_matrix(), M, atol=1e-6)
    np.testing.assert_allclose(RAMLLinear().fit(X @ Q, Y).get_mahalanobis_matrix(), Q.T @ M @ Q, atol=1e-6)
    twice = RAMLLinear().fit(np.vstack([X, X]), np.vstack([Y, Y]))
    np.testing.assert_allclose(twice.get_mahalanobis_matrix(), M, atol=1e-6)


def test_constant_features_change_nothing(samples):
    X, Y = samples
    padded = np.column_stack([X, np.full((80, 3), 0.1)])
    M = RAMLLinear().fit(padded, Y).get_mahalanobis_matrix()
    np.testing.assert_allclose(M[:6, :6], RAMLLinear().fit(X, Y).get_mahalanobis_matrix(), atol=1e-8)
    assert np.abs(M[6:]).max() < 1e-8


def test_known_metric_is_found():
    X, D, M = make_label_distributions(400, n_features=8, n_informative=3, return_metric=True, random_state=0)
    metric = RAMLLinear(relation="sqeuclidean", alpha=1e-8).fit(X, D)
    np.testing.assert_allclose(metric.get_mahalanobis_matrix(), M, atol=1e-5 * np.abs(M).max())
    assert metric.offset_ == pytest.approx(0, abs=1e-6)


def test_float32_stays_float32_and_agrees(samples):
    X, Y = samples
    metric = RAMLLinear().fit(X.astype(np.float32), Y)
    assert metric.components_.dtype == metric.transform(X.astype(np.float32)).dtype == np.float32
    assert metric.transform(X).dtype == np.float64
    M = RAMLLinear().fit(X, Y).get_mahalanobis_matrix()
    np.testing.assert_allclose(metric.get_mahalanobis_matrix(), M, atol=1e-5 * np.abs(M).max())


@pytest.mark.parametrize("n", [500, 4])
def test_float32_finds_a_small_direction_beside_a_large_one(n, rng):
    X = rng.standard_normal((n, 4)) * [1, 1, 1, 3000]
    for dtype in (np.float64, np.float32):
        metric = RAMLLinear(alpha=0, relation="sqeuclidean", max_iter=5000).fit(X.astype(dtype), X[:, 0])
        pairs = np.stack([X[:-1], X[1:]], axis=1)
        np.testing.assert_allclose(metric.pair_distance(pairs), np.abs(np.diff(X[:, 0])), atol=5e-3)


@pytest.mark.parametrize("unit", [1e-25, 1e15])
def test_float32_is_free_of_scale_too(samples, unit):
    X, Y = samples[0].astype(np.float32), samples[1]
    scaled = X * np.float32(unit)
    expected = RAMLLinear().fit(X, Y).transform(X)
    np.testing.assert_allclose(RAMLLinear().fit(scaled, Y).transform(scaled), expected, atol=1e-4)


def test_number_of_components(samples):
    X, Y = samples
    full = RAMLLinear().fit(X, Y)
    assert 1 <= full.components_.shape[0] <= 6
    for n_components in (1, 2, 6):
        metric = RAMLLinear(n_components).fit(X, Y)
        assert metric.components_.shape == (n_components, 6)
        shared = min(n_components, full.components_.shape[0])
        np.testing.assert_allclose(metric.components_[:shared], full.components_[:shared])
        assert not metric.components_[shared:].any()
    with pytest.raises(ValueError, match="n_components=7 exceeds the number of features, 6"):
        RAMLLinear(7).fit(X, Y)


@pytest.mark.parametrize("order", ["read-only", "fortran", "reversed", "frame"])
def test_memory_layouts(samples, order):
    X, Y = samples
    layouts = {
        "read-only": X.copy(),
        "fortran": np.asfortranarray(X),
        "reversed": np.ascontiguousarray(X[::-1])[::-1],
        "frame": pd.DataFrame(X, columns=list("abcdef")),
    }
    layouts["read-only"].flags.writeable = False
    metric = RAMLLinear().fit(layouts[order], Y)
    np.testing.assert_allclose(metric.components_, RAMLLinear().fit(X, Y).components_, atol=1e-9)


def test_input_is_left_alone(samples):
    X, Y = samples
    before = X.copy(), Y.copy()
    RAMLLinear().fit(X, Y).transform(X)
    np.testing.assert_array_equal(X, before[0])
    np.testing.assert_array_equal(Y, before[1])


@pytest.mark.parametrize(
    "X",
    [
        [[0.0, 1.0], [1.0, 5.0]],  # two samples
        [[0.0], [1.0], [3.0]],  # one feature
        np.eye(3, 10),  # more features than samples
        [[0.0, 7.0], [1.0, 7.0], [2.0, 7.0]],  # a constant feature
        [[0.0, 1.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]],  # duplicates
    ],
)
def test_small_and_degenerate_samples_have_finite_metrics(X):
    X = np.asarray(X)
    metric = RAMLLinear().fit(X, X[:, 0] > X[:, 0].mean())
    assert np.isfinite(metric.transform(X)).all()
    assert np.isfinite(metric.offset_)


@pytest.mark.parametrize(
    ("X", "y"),
    [
        (np.sin(np.arange(90.0)).reshape(30, 3), np.ones(30, dtype=int)),
        (np.sin(np.arange(90.0)).reshape(30, 3), ["a"] * 30),
        (np.sin(np.arange(90.0)).reshape(30, 3), np.full((30, 2), 0.1)),
        (np.sin(np.arange(90.0)).reshape(30, 3), np.ones((30, 2), dtype=int)),
        (np.full((30, 3), 0.1), [0, 1, 0] * 10),
        (np.full((2, 3), 0.1), [0, 1]),
        (np.full((30, 3), 1e8 + 0.1), [0, 1, 0] * 10),
        (np.full((30, 3), np.float32(0.1)), [0, 1, 0] * 10),
    ],
)
def test_nothing_to_learn_gives_the_zero_metric_and_a_warning(X, y):
    with pytest.warns(UserWarning, match="The learned metric is 0"):
        metric = RAMLLinear().fit(X, y)
    np.testing.assert_array_equal(metric.transform(X), np.zeros((len(X), 1)))
    outputs = np.asarray(y).reshape(len(X), -1)
    differing = outputs[:, None] != outputs[None]
    assert metric.offset_ == pytest.approx(differing.sum(-1).mean())


def test_unconverged_solution_warns(samples):
    with pytest.warns(ConvergenceWarning, match="max_iter=1"):
        RAMLLinear(alpha=1e-3, max_iter=1).fit(*samples)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"relation": "haming"}, "Did you mean 'hamming'"),
        ({"alpha": -1.0}, "'alpha' parameter of RAMLLinear must be"),
        ({"solver": "newton"}, "'solver' parameter of RAMLLinear must be"),
        ({"psd": "clip"}, "'psd' parameter of RAMLLinear must be"),
        ({"n_components": 0}, "'n_components' parameter of RAMLLinear must be"),
        ({"device": "bogus"}, "device='bogus' cannot be used here"),
        ({"device": "meta"}, "device='meta' cannot be used here"),
        ({"tol": 0.0}, "'tol' parameter of RAMLLinear must be"),
    ],
)
def test_bad_parameters(samples, parameters, message):
    with pytest.raises(ValueError, match=message):
        RAMLLinear(**parameters).fit(*samples)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_missing_gpu_is_said(samples):
    with pytest.raises(ValueError, match="device='cuda' cannot be used here"):
        RAMLLinear(device="cuda").fit(*samples)


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        ([[0.0, np.nan], [1, 2]], [0, 1], "contains NaN"),
        ([[0.0, np.inf], [1, 2]], [0, 1], "contains infinity"),
        ([[0.0, 1], [1, 2]], [0.5, np.nan], "1 of 2 samples have a positive weight and a known target"),
        ([[0.0, 1], [1, 2]], [0.5, np.inf], "contains infinity"),
        ([0.0, 1.0], [0, 1], "Expected 2D array"),
        ([[0.0, 1]], [0], "minimum of 2 is required"),
        ([[0.0, 1], [1, 2]], [[1], [2, 3]], "MultiLabelBinarizer"),
        ([[0.0, 1], [1, 2]], [0, 1, 1], "inconsistent numbers of samples"),
        (np.empty((0, 2)), [], "0 sample"),
        ([[1e200, 0], [-1e200, 1]], [0, 1], "Scale the features"),
        ([[1e200, 0], [-1e200, 1], [0, 2]], [0, 1, 1], "Scale the features"),
        ([[1e-200, 0], [-1e-200, 0], [0, 1e-200]], [0, 1, 1], "Scale the features"),
    ],
)
def test_bad_input(X, y, message):
    with pytest.raises(ValueError, match=message):
        RAMLLinear().fit(X, y)


@pytest.mark.parametrize("relation", ["l1", "sqeuclidean"])
def test_overflow_of_the_relation_is_an_error(samples, relation):
    X, _ = samples
    with pytest.raises(ValueError, match="Scale the targets"):
        RAMLLinear(relation=relation).fit(X, X[:, 0] * 1e200)


def test_wrong_order_and_wrong_features(samples):
    X, Y = samples
    with pytest.raises(NotFittedError):
        RAMLLinear().transform(X)
    metric = RAMLLinear().fit(X, Y)
    with pytest.raises(ValueError, match="X has 5 features, but RAMLLinear is expecting 6"):
        metric.transform(X[:, :5])
    with pytest.raises(ValueError, match=r"pairs has shape \(80, 6\), but \(n_pairs, 2, 6\) is needed"):
        metric.pair_distance(X)
    assert metric.pair_distance(np.empty((0, 2, 6))).shape == (0,)


def test_classes_and_numbers_are_targets_too(rng):
    X = rng.standard_normal((600, 10)) * np.r_[1, 1, np.full(8, 3)]
    y = np.where(X[:, 0] > 0, np.where(X[:, 1] > 0, "a", "b"), "c")
    train, test = slice(300), slice(300, None)
    model = make_pipeline(RAMLLinear(), KNeighborsClassifier()).fit(X[train], y[train])
    raw = KNeighborsClassifier().fit(X[train], y[train])
    assert model.score(X[test], y[test]) > raw.score(X[test], y[test]) + 0.1
    direction = RAMLLinear(1).fit(X, X[:, 0] + X[:, 1]).components_[0]
    assert np.abs(direction[2:]).max() < 0.2 * np.abs(direction[:2]).min()


def test_emotions_reach_the_known_numbers():
    X, Y = load_emotions(subset="train", return_X_y=True)
    X_test, Y_test = load_emotions(subset="test", return_X_y=True)
    raw = make_pipeline(StandardScaler(), MLkNN()).fit(X, Y).predict_proba(X_test)
    learned = make_pipeline(StandardScaler(), RAMLLinear(), MLkNN()).fit(X, Y).predict_proba(X_test)
    criteria = (hamming_loss, ranking_loss, one_error, coverage, average_precision)
    np.testing.assert_allclose([f(Y_test, raw) for f in criteria], [0.2153, 0.1714, 0.3218, 1.9158, 0.7839], atol=6e-5)
    np.testing.assert_allclose(
        [f(Y_test, learned) for f in criteria], [0.1889, 0.1482, 0.2277, 1.8267, 0.8221], atol=6e-5
    )


def test_natural_scene_gains_on_every_criterion(data_home):
    X, D = fetch_ldl("Natural_Scene", data_home=data_home, return_X_y=True)
    folds = ShuffleSplit(1, test_size=0.5, random_state=0)
    raw, learned = (
        cross_validate(model, X, D, cv=folds, scoring=LABEL_DISTRIBUTION_SCORERS)
        for model in (
            make_pipeline(StandardScaler(), AAKNN(4)),
            make_pipeline(StandardScaler(), RAMLLinear(relation="l1"), AAKNN(4)),
        )
    )
    for name in LABEL_DISTRIBUTION_SCORERS:
        assert learned[f"test_{name}"].mean() > raw[f"test_{name}"].mean(), name
