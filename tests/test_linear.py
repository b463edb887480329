import logging
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics.pairwise import manhattan_distances
from sklearn.model_selection import GridSearchCV, ShuffleSplit, cross_validate
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrelmetric import AAKNN, MLkNN, RAMLLinear
from skrelmetric.datasets import fetch_ldl, load_emotions, make_label_distributions
from skrelmetric.metrics import average_precision, coverage, hamming_loss, one_error, ranking_loss
from skrelmetric.relations import Jeffreys, make_relation
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


def of_predictions(X, Y):
    """Matrix of the squared distance of predictions by ridge regression, with a penalty of the mean variance."""
    Z, n = X - X.mean(0), len(X)
    W = np.linalg.solve(Z.T @ Z / n + X.var(0).mean() * np.eye(X.shape[1]), Z.T @ Y / n)
    return W @ W.T


def mean_square(M, X):
    """Mean squared distance of two samples."""
    return 2 * np.trace(M @ np.cov(X.T, bias=True))


@pytest.mark.parametrize("alpha", [0.01, 1.0, 10.0])
def test_agrees_with_least_squares_over_all_pairs(samples, alpha):
    X, Y = samples
    M, b = least_squares(X, Y, alpha)
    metric = RAMLLinear(alpha=alpha, prediction_weight=0, tol=1e-6).fit(X, Y)
    np.testing.assert_allclose(metric.get_mahalanobis_matrix(), M, atol=1e-6 * np.abs(M).max())
    assert metric.offset_ == pytest.approx(b, rel=1e-6)


@pytest.mark.parametrize("alpha", [0.01, 1.0, 10.0])
def test_default_is_three_tenths_of_predictions(samples, alpha):
    X, Y = samples
    M1, b = least_squares(X, Y, alpha)
    M2 = of_predictions(X, Y)
    M = 0.7 * M1 + 0.3 * mean_square(M1, X) / mean_square(M2, X) * M2
    for tol, accuracy in (({}, 1e-3), ({"tol": 1e-8}, 1e-6)):
        metric = RAMLLinear(alpha=alpha, **tol).fit(X, Y)
        np.testing.assert_allclose(metric.get_mahalanobis_matrix(), M, atol=accuracy * np.abs(M).max())
        assert metric.offset_ == pytest.approx(b, rel=accuracy)


@pytest.mark.parametrize("alpha", [0.01, 1.0, 10.0])
def test_predictions_alone_are_a_metric_of_the_best_size(samples, alpha):
    X, Y = samples
    M2 = of_predictions(X, Y)
    differences = X[:, None] - X
    D, G = np.einsum("ijk,kl,ijl->ij", differences, M2, differences), np.abs(Y[:, None] - Y).sum(-1)
    penalty = alpha * X.var(0).mean() ** 2 * (M2**2).sum()
    size = ((D - D.mean()) * G).mean() / (D.var() + penalty)
    metric = RAMLLinear(alpha=alpha, prediction_weight=1).fit(X, Y)
    np.testing.assert_allclose(metric.get_mahalanobis_matrix(), size * M2, atol=1e-9 * np.abs(M2).max())
    assert metric.offset_ == pytest.approx(G.mean() - size * D.mean())
    assert metric.n_iter_ == 1
    assert len(metric.components_) == 3  # of three labels


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
    metric = RAMLLinear(relation="sqeuclidean", alpha=1e-8, prediction_weight=0, tol=1e-6).fit(X, D)
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
        metric = RAMLLinear(alpha=0, relation="sqeuclidean", prediction_weight=0, max_iter=5000, tol=1e-6)
        metric.fit(X.astype(dtype), X[:, 0])
        pairs = np.stack([X[:-1], X[1:]], axis=1)
        np.testing.assert_allclose(metric.pair_distance(pairs), np.abs(np.diff(X[:, 0])), atol=5e-3)


@pytest.mark.parametrize("unit", [1e-25, 1e15])
@pytest.mark.parametrize("n", [80, 5])
def test_float32_is_free_of_scale_too(samples, unit, n):
    X, Y = samples[0][:n].astype(np.float32), samples[1][:n]
    scaled = X * np.float32(unit)
    expected = RAMLLinear().fit(X, Y).transform(X)
    np.testing.assert_allclose(RAMLLinear().fit(scaled, Y).transform(scaled), expected, atol=1e-4)


@pytest.mark.parametrize("unit", [1e-20, 1e15])
def test_sparse_float32_says_what_it_cannot_square(samples, unit):
    X, Y = samples[0].astype(np.float32), samples[1]
    with pytest.raises(ValueError, match="Scale the features, or pass float64"):
        RAMLLinear().fit(sparse.csr_array(X * np.float32(unit)), Y)
    RAMLLinear().fit(sparse.csr_array(samples[0] * unit), Y)


def test_what_overflows_in_the_metric_is_refused_and_nothing_else(samples):
    X, Y = samples
    metric = RAMLLinear().fit(X, Y)
    far = np.full((1, X.shape[1]), 1e198)
    np.testing.assert_allclose(metric.transform(far), 1e198 * metric.transform(far / 1e198))
    pair = np.stack([far, 0 * far], axis=1)
    np.testing.assert_allclose(metric.pair_distance(pair), 1e198 * metric.pair_distance(pair / 1e198))
    assert metric.get_metric()(far[0], 0 * far[0]) == pytest.approx(metric.pair_distance(pair)[0])
    too_far = np.full((1, X.shape[1]), 1.7e308)
    with pytest.raises(ValueError, match="X is too large for the learned metric"):
        RAMLLinear().fit(X / 1e9, Y).transform(too_far)
    with pytest.raises(ValueError, match="pairs is too large for the learned metric"):
        metric.pair_distance(np.stack([too_far, -too_far], axis=1))


@pytest.mark.parametrize("n", [80, 5])
def test_a_feature_whose_square_vanishes_does_not_vary(samples, n):
    X, Y = samples[0][:n] * [1, 2.0**-600, 1, 1, 1, 1], samples[1][:n]
    dense, thin = (RAMLLinear().fit(kept(X), Y).components_ for kept in (np.asarray, sparse.csr_array))
    np.testing.assert_allclose(thin, dense, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [40, 2])
def test_sparse_samples_that_are_all_alike_have_no_direction(n, dtype, rng):
    X = np.tile(rng.standard_normal(3), (n, 1)).astype(dtype)
    for kept in (np.asarray, sparse.csr_array):
        with pytest.warns(UserWarning, match="The learned metric is 0"):
            assert not RAMLLinear().fit(kept(X), np.arange(n) % 2).components_.any()


def test_relations_that_are_nothing_but_rounding_are_none(rng):
    X, unequal = rng.standard_normal((30, 3)), 0.1 + rng.random((30, 1))
    shares = np.tile(rng.dirichlet(np.ones(3)), (30, 1))
    for relation, y in [("cosine", unequal), ("cosine", unequal * shares), ("hellinger", shares), ("jeffreys", shares)]:
        for options in ({}, {"psd": "constrained"}, {"prediction_weight": 1}, {"solver": "krr", "random_state": 0}):
            with pytest.warns(UserWarning, match="The learned metric is 0"):
                metric = RAMLLinear(relation=relation, **options).fit(X, y)
            assert not metric.components_.any()


def test_a_signed_relation_of_mean_0_is_one(samples):
    X, Y = samples
    centred = Y - Y.mean(0)
    metric = RAMLLinear(relation=lambda A, B: -np.asarray(A) @ np.asarray(B).T).fit(X, centred)
    assert metric.components_.any()


def test_warnings_point_to_the_caller(samples):
    with pytest.warns(UserWarning, match="The learned metric is 0") as caught:
        RAMLLinear().fit(samples[0], np.ones(80))
    assert caught[0].filename == __file__


def test_huge_weights_are_weights(samples):
    X, Y = samples
    expected = RAMLLinear().fit(X, Y).components_
    np.testing.assert_allclose(RAMLLinear().fit(X, Y, np.full(80, 1e308)).components_, expected, atol=1e-9)


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
        RAMLLinear(alpha=1e-3, max_iter=1).fit(*(np.tile(each, (2, 1)) for each in samples))


def test_verbose_logs_iterations_and_residuals(samples, caplog, capsys):
    with caplog.at_level("INFO", "skrelmetric"):
        metric = RAMLLinear(verbose=True).fit(*samples)
    *_, last = lines = caplog.messages
    assert len(lines) == metric.n_iter_
    assert last == f"RAMLLinear: iteration {metric.n_iter_}, residual {metric.residual_:.1e}"
    with caplog.at_level("INFO", "skrelmetric"):
        RAMLLinear(verbose=True, psd="constrained").fit(*samples)
    assert "residual" in caplog.messages[-1]
    caplog.clear()
    RAMLLinear(verbose=True).fit(*samples)  # at a level of the user's that leaves it out
    assert not caplog.messages
    assert capsys.readouterr() == ("", "")


def test_verbose_is_on_standard_error_where_logging_has_no_handler(samples, capsys, monkeypatch):
    monkeypatch.setattr(logging.getLogger("skrelmetric"), "propagate", False)
    metric = RAMLLinear(verbose=True).fit(*samples)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines()[-1] == f"RAMLLinear: iteration {metric.n_iter_}, residual {metric.residual_:.1e}"
    assert len(printed.err.splitlines()) == metric.n_iter_
    monkeypatch.setattr(logging, "lastResort", None)
    RAMLLinear(verbose=True).fit(*samples)
    assert capsys.readouterr() == ("", "")


def test_interrupted_fit_leaves_the_one_before(samples, monkeypatch):
    X, Y = samples
    metric = RAMLLinear(verbose=True).fit(X, Y)
    components = metric.components_

    def interrupt(*line):
        raise KeyboardInterrupt

    monkeypatch.setattr(logging.getLogger("skrelmetric"), "info", interrupt)
    with pytest.raises(KeyboardInterrupt):
        metric.fit(X[:, :4], Y)
    monkeypatch.undo()
    assert metric.components_ is components
    assert metric.fit(X, Y).transform(X).shape == X.shape


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
        ({"tol": 1.0}, "'tol' parameter of RAMLLinear must be"),
        ({"tol": 0.0}, "'tol' parameter of RAMLLinear must be"),
        ({"relation": 3}, "'relation' parameter of RAMLLinear must be"),
        ({"n_pairs": 0}, "'n_pairs' parameter of RAMLLinear must be"),
        ({"epsilon": -0.1}, "'epsilon' parameter of RAMLLinear must be"),
        ({"solver": "svr", "psd": "constrained"}, "psd='constrained' is for solver='ridge'"),
        ({"solver": "krr", "alpha": 0}, "solver='krr' needs a penalty"),
        ({"relation": make_relation([0, 1, 2])}, "operator over 3 samples, but y has 80"),
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
        ([[0.0, 1], [1, 2]], [{1}, {2}], "MultiLabelBinarizer"),
        ([[0.0, 1], [1, 2]], np.array([{1}, {2}]), "MultiLabelBinarizer"),
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
    metric = RAMLLinear(prediction_weight=0)
    learned = make_pipeline(StandardScaler(), metric, MLkNN()).fit(X, Y).predict_proba(X_test)
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


RELATIONS = ["hamming", "l1", "sqeuclidean", "discrete", "hellinger", "cosine", "jeffreys", "jaccard"]


@pytest.mark.parametrize("psd", ["project", "constrained"])
@pytest.mark.parametrize("relation", RELATIONS)
def test_weights_are_removal_and_repetition(samples, relation, psd):
    X, Y = samples
    times = np.arange(80) % 4
    repeated = np.repeat(np.arange(80), times)
    weighted = RAMLLinear(relation=relation, psd=psd, tol=1e-6).fit(X, Y, sample_weight=times)
    literal = RAMLLinear(relation=relation, psd=psd, tol=1e-6).fit(X[repeated], Y[repeated])
    scale = np.abs(literal.get_mahalanobis_matrix()).max()
    np.testing.assert_allclose(weighted.get_mahalanobis_matrix(), literal.get_mahalanobis_matrix(), atol=2e-5 * scale)
    assert weighted.offset_ == pytest.approx(literal.offset_, rel=1e-5)
    removed = RAMLLinear(relation=relation, psd=psd).fit(X, Y, sample_weight=(times > 0) / 7)
    kept = RAMLLinear(relation=relation, psd=psd).fit(X[times > 0], Y[times > 0])
    np.testing.assert_allclose(removed.components_, kept.components_, atol=1e-9 * np.abs(kept.components_).max())


def test_samples_without_weight_are_not_looked_at(samples):
    X, Y = samples
    weights, Y = np.ones(80), Y.astype(float)
    weights[3], Y[3] = 0, 17.0  # no label indicator
    expected = RAMLLinear().fit(np.delete(X, 3, 0), np.delete(Y, 3, 0))
    np.testing.assert_allclose(RAMLLinear().fit(X, Y, weights).components_, expected.components_)


def test_weights_are_routed_through_pipelines(samples):
    X, Y = samples
    weights = np.linspace(0, 3, 80)
    with config_context(enable_metadata_routing=True):
        model = make_pipeline(StandardScaler(), RAMLLinear().set_fit_request(sample_weight=True), MLkNN(5))
        model[0].set_fit_request(sample_weight=False)
        model.fit(X, Y, sample_weight=weights)
    expected = RAMLLinear().fit(StandardScaler().fit_transform(X), Y, weights)
    np.testing.assert_allclose(model[1].components_, expected.components_)
    unweighted = RAMLLinear().fit(StandardScaler().fit_transform(X), Y)
    assert np.abs(model[1].get_mahalanobis_matrix() - unweighted.get_mahalanobis_matrix()).max() > 1e-3


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.zeros(80), "at least one non-zero number|0 of 80 samples have a positive weight"),
        (-np.ones(80), "Negative values in data passed to `sample_weight`"),
        (np.ones(79), r"sample_weight.shape == \(79,\), expected \(80,\)"),
        (np.eye(1, 80)[0], "1 of 80 samples have a positive weight"),
        (np.full(80, np.nan), "contains NaN"),
    ],
)
def test_bad_weights(samples, weights, message):
    with pytest.raises(ValueError, match=message):
        RAMLLinear().fit(*samples, sample_weight=weights)


@pytest.mark.parametrize("relation", RELATIONS)
def test_missing_labels_leave_pairs_to_what_is_known(samples, relation, rng):
    X, Y = samples[0][:20], samples[1][:20]
    Y = np.where(rng.random(Y.shape) < 0.3, np.nan, Y)
    Y[:5] = np.nan  # nothing known: as if they were not there
    metric = RAMLLinear(relation=relation, alpha=0.5, tol=1e-10).fit(X, Y)
    some = ~np.isnan(Y).all(1)
    X, Y = X[some], Y[some]

    def on_common_labels(u, v):
        both = ~np.isnan(u) & ~np.isnan(v)
        return make_relation([u[both], v[both]], relation).block(slice(1), slice(1, 2)).item() if both.any() else 0.0

    G = np.array([[on_common_labels(u, v) for v in Y] for u in Y])
    numbers = np.arange(len(Y))
    expected = RAMLLinear(relation=lambda a, b: G[np.ix_(a, b)], alpha=0.5, tol=1e-10).fit(X, numbers)
    M = expected.get_mahalanobis_matrix()
    np.testing.assert_allclose(metric.get_mahalanobis_matrix(), M, atol=1e-8 * np.abs(M).max())


def test_missing_labels_in_any_container(samples):
    X, Y = samples[0], samples[1].astype(float)
    Y[::7, 0], Y[:4] = np.nan, np.nan
    expected = RAMLLinear().fit(X, Y).components_
    for container in (sparse.csr_array(Y), Y.astype(object), pd.DataFrame(Y), pd.DataFrame(Y).astype("Int64")):
        np.testing.assert_allclose(RAMLLinear().fit(X, container).components_, expected, atol=1e-12)


def test_missing_labels_still_tell_which_metric(samples, rng):
    X, Y = samples
    missing = np.where(rng.random(Y.shape) < 0.2, np.nan, Y)
    M, full = (RAMLLinear().fit(X, y).get_mahalanobis_matrix() for y in (missing, Y))
    assert np.corrcoef(M.ravel(), full.ravel())[0, 1] > 0.8


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csr_array, sparse.csc_array, sparse.coo_matrix])
@pytest.mark.parametrize("density", [0.05, 0.6])
@pytest.mark.parametrize("n_features", [20, 200])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_sparse_samples(kind, density, n_features, dtype, rng):
    X = sparse.random_array((80, n_features), density=density, rng=rng).toarray().astype(dtype)
    Y = (X @ rng.standard_normal((n_features, 3)) > 0).astype(int)
    dense, thin = RAMLLinear(tol=1e-8).fit(X, Y), RAMLLinear(tol=1e-8).fit(kind(X), Y)
    atol = (1e-7 if dtype == np.float64 else 1e-4) * np.abs(dense.transform(X)).max()
    embeddings = dense.transform(X), thin.transform(kind(X))
    distances = [np.linalg.norm(embedding[:40] - embedding[40:], axis=1) for embedding in embeddings]
    np.testing.assert_allclose(*distances, atol=atol)
    assert thin.components_.dtype == thin.transform(kind(X)).dtype == dtype
    assert isinstance(thin.transform(kind(X)), np.ndarray)


@pytest.mark.parametrize("n_features", [5, 200])
@pytest.mark.parametrize("offset", [1.0, 1e6])
def test_sparse_samples_with_constant_and_shifted_features(samples, n_features, offset):
    X, Y = np.zeros((80, n_features)), samples[1]
    X[:, :3] = samples[0][:, :3] + [0, offset, offset]
    X[:, 3] = offset
    given = sparse.csr_array(X)
    before = given.copy()
    dense, thin = RAMLLinear(tol=1e-9).fit(X, Y), RAMLLinear(tol=1e-9).fit(given, Y)
    np.testing.assert_allclose(thin.components_, dense.components_, atol=1e-6 * np.abs(dense.components_).max())
    np.testing.assert_array_equal(given.toarray(), before.toarray())


def test_wide_sparse_samples_take_little_memory(rng):
    X = sparse.random_array((200, 100_000), density=1e-4, rng=rng, format="csr")
    tracemalloc.start()
    components = RAMLLinear(2).fit(X, rng.integers(0, 3, 200)).components_
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert components.shape == (2, 100_000)
    assert peak < 200 * 100_000 * 8 / 4


def test_sparse_samples_are_not_made_dense(rng, monkeypatch):
    X = sparse.random_array((4000, 200), density=0.01, rng=rng, format="csr") + sparse.csr_array(np.eye(4000, 200))
    toarray = sparse.csr_array.toarray

    def small(array, *args, **kwargs):
        assert np.prod(array.shape) <= 200 * 1000, "rows were made dense"
        return toarray(array, *args, **kwargs)

    monkeypatch.setattr(sparse.csr_array, "toarray", small)
    with pytest.warns(ConvergenceWarning):
        metric = RAMLLinear(max_iter=3).fit(X, rng.integers(0, 3, 4000))
    assert metric.transform(X).shape[0] == 4000


@pytest.mark.parametrize("relation", ["auto", "hamming", "sqeuclidean", "hellinger", "jeffreys"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_many_labels_are_not_made_dense(dtype, relation, rng, monkeypatch):
    n, n_labels = 3000, 30_000
    labels = rng.integers(0, n_labels, (n, 2)) % np.array([7, n_labels])
    Y = sparse.csr_matrix((np.ones(2 * n), labels.ravel(), np.arange(n + 1) * 2), (n, n_labels))
    Y.sum_duplicates()
    Y.data[:] = 1
    X = (rng.standard_normal((n, 4)) + labels[:, [0]]).astype(dtype)
    toarray = sparse.csr_array.toarray

    def small(array, *args, **kwargs):
        assert np.prod(array.shape, dtype=float) <= 8 * n_labels, "targets were made dense"
        return toarray(array, *args, **kwargs)

    monkeypatch.setattr(sparse.csr_array, "toarray", small)
    tracemalloc.start()
    metric = RAMLLinear(relation=relation).fit(X, Y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 24 * 8 * n_labels  # some sums of four features for each label; the dense targets are 3,000 rows
    assert np.isfinite(metric.components_).all()


def test_sums_over_many_sparse_columns_are_those_of_dense_ones(rng):
    Y = (rng.random((500, 3000)) < 0.01).astype(float)
    for X in (rng.standard_normal((500, 5)), rng.standard_normal((500, 5)).astype(np.float32)):
        dense, thin = (RAMLLinear().fit(X, kind(Y)).get_mahalanobis_matrix() for kind in (np.asarray, sparse.csr_array))
        np.testing.assert_allclose(thin, dense, rtol=1e-4, atol=1e-9)


def test_explained_share(samples):
    X, Y = samples
    full = RAMLLinear().fit(X, Y)
    D = np.square(full.transform(X)[:, None] - full.transform(X)[None]).mean((0, 1))
    np.testing.assert_allclose(full.explained_distance_ratio_, D / D.sum(), atol=1e-10)
    two = RAMLLinear(2).fit(X, Y)
    np.testing.assert_allclose(two.explained_distance_ratio_, full.explained_distance_ratio_[:2])
    six = RAMLLinear(6).fit(X, Y)
    assert six.explained_distance_ratio_.sum() == pytest.approx(1)


def test_low_rank_is_the_best_factor(samples):
    X, Y = samples
    M, low = RAMLLinear().fit(X, Y).get_mahalanobis_matrix(), RAMLLinear(2).fit(X, Y).get_mahalanobis_matrix()
    assert np.linalg.norm(M - low) == pytest.approx(np.linalg.norm(np.linalg.eigvalsh(M)[:-2]))


def test_signs_are_those_of_the_features(samples, rng):
    X, Y = samples
    components = RAMLLinear().fit(X, Y).components_
    assert (np.take_along_axis(components, np.abs(components).argmax(1, keepdims=True), 1) > 0).all()
    order = rng.permutation(80)
    np.testing.assert_allclose(RAMLLinear().fit(X[order], Y[order]).components_, components, atol=1e-5)


def test_metric_learns_conventions(samples):
    X, Y = samples
    metric = RAMLLinear().fit(X, Y)
    pairs = np.stack([X[:-1], X[1:]], axis=1)
    np.testing.assert_array_equal(metric.pair_score(pairs), -metric.pair_distance(pairs))
    function = metric.get_metric()
    np.testing.assert_allclose([function(u, v) for u, v in pairs], metric.pair_distance(pairs))
    metric.fit(X, Y[::-1])
    assert function(*pairs[0]) != metric.get_metric()(*pairs[0])  # it keeps what was learned when it was taken
    metric.fit(X, Y)
    expected = NearestNeighbors(n_neighbors=4).fit(metric.transform(X)).kneighbors(return_distance=False)
    by_function = NearestNeighbors(n_neighbors=4, metric=function).fit(X)
    by_matrix = NearestNeighbors(
        n_neighbors=4, metric="mahalanobis", metric_params={"VI": metric.get_mahalanobis_matrix()}, algorithm="brute"
    ).fit(X)
    for search in (by_function, by_matrix):
        np.testing.assert_array_equal(search.kneighbors(return_distance=False), expected)


def test_constrained_fits_better_and_projected_is_cheaper(samples):
    X, Y = samples
    G = make_relation(Y).block(slice(None), slice(None)).numpy()

    def objective(components):
        D = np.square((X[:, None] - X[None]) @ components.T).sum(-1)
        M = components.T @ components * X.var(0).mean()
        return np.square(D - G - (D - G).mean()).mean() / 2 + (M**2).sum() / 2

    projected, constrained = (
        RAMLLinear(psd=psd, prediction_weight=0, tol=1e-6).fit(X, Y) for psd in ("project", "constrained")
    )
    assert objective(constrained.components_) < objective(projected.components_)
    assert constrained.residual_ <= 1e-6
    assert constrained.n_iter_ > projected.n_iter_
    for change in (0.98, 1.02):  # no scaling of it is better
        assert objective(change * constrained.components_) > objective(constrained.components_)


def test_unconverged_constrained_optimum_warns(samples):
    with pytest.warns(ConvergenceWarning, match="max_iter=2"):
        metric = RAMLLinear(psd="constrained", max_iter=2).fit(*samples)
    assert metric.residual_ > 1e-4


@pytest.mark.parametrize("solver", ["svr", "krr"])
def test_solvers_of_the_paper(samples, solver):
    X, Y = samples
    few, again, others = (
        RAMLLinear(solver=solver, n_pairs=300, random_state=seed).fit(X, Y).get_mahalanobis_matrix()
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(few, again)
    assert np.abs(few - others).max() > 0.01 * np.abs(few).max()
    exact = RAMLLinear(prediction_weight=0, tol=1e-6).fit(X, Y)
    every = RAMLLinear(solver=solver, n_pairs=80 * 81 // 2).fit(X, Y)
    M, other = exact.get_mahalanobis_matrix(), every.get_mahalanobis_matrix()
    if solver == "krr":  # the same problem in its dual
        np.testing.assert_allclose(other, M, atol=1e-5 * np.abs(M).max())
        assert every.offset_ == pytest.approx(exact.offset_, rel=1e-5)
    else:
        assert np.corrcoef(M.ravel(), other.ravel())[0, 1] > 0.9
    assert every.residual_ == 0


@pytest.mark.parametrize("solver", ["svr", "krr"])
@pytest.mark.parametrize("relation", ["l1", "jaccard", "discrete"])
def test_solvers_of_the_paper_take_any_relation(samples, solver, relation):
    X, Y = samples
    metric = RAMLLinear(solver=solver, relation=relation, n_pairs=200, random_state=0).fit(sparse.csr_array(X), Y)
    assert np.isfinite(metric.transform(X)).all()


def tanimoto(A, B):
    both = A @ B.T
    either = A.sum(1)[:, None] + B.sum(1) - both
    return 1 - np.divide(both, either, where=either > 0, out=np.ones(both.shape))


def test_callables_and_objects_in_a_grid_search(samples):
    X, Y = samples
    expected = RAMLLinear(relation="jaccard").fit(X, Y).components_
    np.testing.assert_allclose(RAMLLinear(relation=tanimoto).fit(X, 1.0 * Y).components_, expected, atol=1e-9)
    model = make_pipeline(RAMLLinear(), MLkNN(5))
    grid = {"ramllinear__relation": ["hamming", manhattan_distances, Jeffreys(eps=1e-2)]}
    search = GridSearchCV(model, grid, n_jobs=2, cv=3, error_score="raise").fit(X, Y.astype(float))
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_relation_of_these_samples(samples):
    X, Y = samples
    metric = RAMLLinear(relation=make_relation(Y)).fit(X, Y)
    np.testing.assert_allclose(metric.components_, RAMLLinear().fit(X, Y).components_)


def test_several_numbers_as_targets(rng):
    X = rng.standard_normal((300, 6))
    targets = X[:, :2] @ rng.standard_normal((2, 3)) + 1000
    for relation in ("auto", "sqeuclidean"):
        components = RAMLLinear(2, relation=relation).fit(X, targets).components_
        assert np.abs(components[:, 2:]).max() < 0.1 * np.abs(components[:, :2]).max()
