import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.optimize import minimize, minimize_scalar
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils import check_random_state
from sklearn.utils.estimator_checks import parametrize_with_checks

from benchmarks.rivals import GMML, ITML, LMNN, DMLEig, DoubletSVM
from benchmarks.rivals._margin_loss import margin_loss
from benchmarks.rivals._pairs import draw_pairs, nearest
from benchmarks.rivals.dml_eig import frank_wolfe, inverse_root, smooth_minimum
from benchmarks.rivals.doublet_svm import doublet_matrix
from benchmarks.rivals.gmml import inverse_geodesic, second_moment
from benchmarks.rivals.itml import distance_bounds, logdet_projections
from benchmarks.rivals.lmnn import large_margin

RIVALS = [ITML(random_state=0), LMNN(), DMLEig(random_state=0), DoubletSVM(random_state=0), GMML(random_state=0)]
DRAWING = [ITML(), DMLEig(), GMML(), DoubletSVM(max_doublets=40)]

by_name = pytest.mark.parametrize("rival", RIVALS, ids=lambda rival: type(rival).__name__)


def metric_of(rival):
    return rival.components_.T @ rival.components_


def random_psd(rng, d):
    A = rng.standard_normal((2 * d, d))
    return A.T @ A / (2 * d)


@pytest.fixture
def samples(rng):
    """Two informative features of unequal use, one of noise, and classes of 1 to 25 samples."""
    y = np.repeat(np.arange(6), [25, 20, 10, 3, 1, 1])
    X = rng.standard_normal((60, 3))
    X[:, :2] += rng.standard_normal((6, 2))[y] * [2, 1]
    order = rng.permutation(60)
    return X[order], y[order]


# Pairs


@pytest.mark.parametrize("n_pairs", [1, 7, 10_000])
def test_drawn_pairs_are_distinct_and_of_their_kind(samples, n_pairs):
    classes = samples[1]
    same = classes[:, None] == classes
    for pairs, kind in zip(draw_pairs(classes, n_pairs, check_random_state(0)), (same, ~same), strict=True):
        everything = {(i, j) for i, j in np.argwhere(kind) if i < j}
        drawn = [(min(i, j), max(i, j)) for i, j in zip(*pairs, strict=True)]
        assert len(drawn) == min(n_pairs, len(everything)) == len(set(drawn))
        assert set(drawn) <= everything


def test_drawn_pairs_are_uniform():
    classes = np.array([0, 1, 0, 1, 1, 2])
    state = check_random_state(0)
    counts = np.zeros((2, 6, 6))
    for _ in range(4000):
        for count, (i, j) in zip(counts, draw_pairs(classes, 1, state), strict=True):
            count[i, j] += 1
            count[j, i] += 1
    for count, n_possible in zip(counts, (4, 11), strict=True):
        np.testing.assert_allclose(count[count > 0], 4000 / n_possible, rtol=0.2)
        assert (count > 0).sum() == 2 * n_possible


@pytest.mark.parametrize("similar", [True, False])
@pytest.mark.parametrize("block", [1, 2**24])
def test_nearest_pairs_agree_with_sorting(samples, similar, block, monkeypatch):
    monkeypatch.setattr("benchmarks.rivals._pairs._BLOCK", block)
    X, classes = samples
    anchors = np.array([3, 17, 17, 59, *np.flatnonzero(classes > 3)])
    pairs = nearest(X, classes, anchors, 4, similar=similar)
    for anchor in set(anchors):
        others = [j for j in range(60) if j != anchor and (classes[j] == classes[anchor]) == similar]
        expected = sorted(others, key=lambda j: np.linalg.norm(X[j] - X[anchor]))[:4]
        assert set(pairs.j[pairs.i == anchor]) == set(expected)
        assert (pairs.i == anchor).sum() == len(expected) * (anchors == anchor).sum()


# ITML


def constraints(rng):
    differences = rng.standard_normal((8, 3)) * [1, 2, 3]
    return differences, np.repeat([1.0, -1.0], 4), np.repeat([2.0, 12.0], 4)


@pytest.mark.parametrize("gamma", [0.2, 1.0, 5.0])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_one_logdet_projection_meets_its_constraint(rng, gamma, sign):
    d = rng.standard_normal(3)
    bound = d @ d * (0.3 if sign > 0 else 4)
    projected = logdet_projections(d[None], np.array([sign]), np.array([bound]), gamma, max_iter=1, tol=0)
    assert d @ projected.M @ d == pytest.approx(projected.slack[0])
    assert projected.duals[0] > 0
    # The first-order conditions in the inverse of M and in the slack.
    np.testing.assert_allclose(np.linalg.inv(projected.M), np.eye(3) + sign * projected.duals[0] * np.outer(d, d))
    assert gamma / projected.slack[0] == pytest.approx(gamma / bound - sign * projected.duals[0])


def test_a_constraint_that_holds_changes_nothing(rng):
    d = rng.standard_normal((1, 3))
    projected = logdet_projections(d, np.ones(1), np.array([2 * (d @ d.T).item()]), 1.0, max_iter=10, tol=0)
    np.testing.assert_array_equal(projected.M, np.eye(3))
    assert projected.n_iter == 1


@pytest.mark.parametrize("gamma", [0.2, 1.0, 5.0])
def test_projections_end_at_the_optimum(rng, gamma):
    differences, signs, bounds = constraints(rng)
    M, slack, duals, _ = logdet_projections(differences, signs, bounds, gamma, max_iter=5000, tol=1e-12)
    violation = signs * (np.einsum("ij,jk,ik->i", differences, M, differences) - slack)
    assert violation.max() < 1e-6
    assert (duals >= 0).all()
    assert np.abs(duals * violation).max() < 1e-6
    inverse = np.eye(3) + (differences.T * (signs * duals)) @ differences
    np.testing.assert_allclose(np.linalg.inv(M), inverse, atol=1e-8)
    np.testing.assert_allclose(gamma / slack, gamma / bounds - signs * duals, atol=1e-8)

    # The same problem over the Cholesky factor of M and the logarithm of the slack.
    rows = np.tril_indices(3)

    def unpack(v):
        L = np.zeros((3, 3))
        L[rows] = v[:6]
        return L @ L.T, np.exp(v[6:])

    def objective(v):
        A, xi = unpack(v)
        relaxed = (xi / bounds - np.log(xi / bounds) - 1).sum()
        return np.trace(A) - np.linalg.slogdet(A)[1] - 3 + gamma * relaxed

    def margins(v):
        A, xi = unpack(v)
        return -signs * (np.einsum("ij,jk,ik->i", differences, A, differences) - xi)

    start = np.concatenate([np.eye(3)[rows], np.log(bounds)])
    best = minimize(objective, start, method="SLSQP", constraints={"type": "ineq", "fun": margins}, tol=1e-12)
    np.testing.assert_allclose(M, unpack(best.x)[0], atol=1e-4)


def test_bounds_are_percentiles_of_all_pairs(samples):
    X = np.vstack([samples[0], samples[0][:5]])
    pairs = np.array([((X[i] - X[j]) ** 2).sum() for i in range(65) for j in range(i)])
    expected = np.percentile(pairs[pairs > 0], [5, 95])
    np.testing.assert_allclose(distance_bounds(X, check_random_state(0)), expected)


def test_itml_of_equal_samples_says_so():
    with pytest.raises(ValueError, match="All samples are equal"):
        ITML().fit(np.ones((6, 2)), [0, 0, 0, 1, 1, 1])


# LMNN


def triple_loop(L, X, classes, targets, mu):
    """Weinberger and Saul, Eqs. 11-13, divided by the number of targets."""
    Z = X @ L.T
    loss = 0.0
    for i, j in zip(*targets, strict=True):
        near = ((Z[i] - Z[j]) ** 2).sum()
        others = [k for k in range(len(X)) if classes[k] != classes[i]]
        loss += (1 - mu) * near + mu * sum(max(0.0, 1 + near - ((Z[i] - Z[k]) ** 2).sum()) for k in others)
    return loss / len(targets.i)


@pytest.fixture
def margins(samples):
    X, classes = samples
    everyone = np.arange(60)
    targets = nearest(X, classes, everyone, 3, similar=True)
    return X, classes, targets, nearest(X, classes, np.unique(targets.i), 60, similar=False)


@pytest.mark.parametrize("mu", [0.2, 0.5])
def test_margin_loss_and_gradient(margins, rng, mu):
    X, classes, targets, impostors = margins
    for L in (np.eye(3), rng.standard_normal((3, 3)), rng.standard_normal((2, 3))):
        loss, gradient = margin_loss(L, X, targets, impostors, mu)
        assert loss == pytest.approx(triple_loop(L, X, classes, targets, mu))
        numerical = np.empty_like(L)
        for at in np.ndindex(L.shape):
            step = np.zeros_like(L)
            step[at] = 1e-6
            sides = [margin_loss(L + s * step, X, targets, impostors, mu)[0] for s in (1, -1)]
            numerical[at] = (sides[0] - sides[1]) / 2e-6
        np.testing.assert_allclose(gradient, numerical, atol=1e-4 * np.abs(gradient).max())


def test_large_margin_is_the_optimum_of_the_convex_problem(margins):
    X, classes, targets, _ = margins
    found = large_margin(X, classes, targets, 0.5, 60, max_iter=500, tol=1e-9)
    assert found.loss == pytest.approx(triple_loop(found.L, X, classes, targets, 0.5))
    # The paper's solver: projected sub-gradient steps on M, here over all triples.
    T = [(i, j, k) for i, j in zip(*targets, strict=True) for k in range(60) if classes[k] != classes[i]]
    i, j, k = np.array(T).T
    outer = np.einsum("ij,ik->ijk", X[i] - X[j], X[i] - X[j]) - np.einsum("ij,ik->ijk", X[i] - X[k], X[i] - X[k])
    pull = second_moment(targets.differences(X)) / 2
    M, best = np.eye(3), np.inf
    for step in range(1, 4001):
        hinge = 1 + np.einsum("ijk,jk->i", outer, M)
        best = min(best, (M * pull).sum() + np.maximum(hinge, 0).sum() / (2 * len(targets.i)))
        gradient = pull + outer[hinge > 0].sum(axis=0) / (2 * len(targets.i))
        values, V = np.linalg.eigh(M - gradient / np.linalg.norm(gradient) / step**0.75)
        M = (V * np.maximum(values, 0)) @ V.T
    assert found.loss <= best * (1 + 1e-4)
    assert found.loss >= best * (1 - 5e-3)


def test_few_candidates_a_search_approach_the_same_loss(margins):
    X, classes, targets, _ = margins
    full = large_margin(X, classes, targets, 0.5, 60, max_iter=500, tol=1e-9)
    for max_impostors, limit in ((1, 1.5), (10, 1.02)):  # one at first draws all samples together
        grown = large_margin(X, classes, targets, 0.5, max_impostors, max_iter=500, tol=1e-9)
        loss = triple_loop(grown.L, X, classes, targets, 0.5)
        assert full.loss * (1 - 1e-4) <= loss <= full.loss * limit


def test_no_push_where_other_classes_are_far(rng):
    X = rng.standard_normal((20, 3))
    far = 1e3 * np.repeat([0, 1], 10)[:, None] + X
    targets = nearest(far, np.repeat([0, 1], 10), np.arange(20), 3, similar=True)
    impostors = nearest(far, np.repeat([0, 1], 10), np.arange(20), 20, similar=False)
    loss, gradient = margin_loss(np.eye(3), far, targets, impostors, 0.5)
    assert loss == pytest.approx((targets.differences(far) ** 2).sum() / 2 / len(targets.i))
    np.testing.assert_allclose(gradient, second_moment(targets.differences(far)), atol=1e-8)


# DML-eig


def test_frank_wolfe_finds_the_best_of_all_planar_matrices(rng):
    differences = rng.standard_normal((12, 2)) * [1, 3]

    def smooth(a, b, c):
        S = np.array([[a, b], [b, c]])
        return smooth_minimum(np.einsum("ij,jk,ik->i", differences, S, differences), 0.1)

    def best_for(a):  # positive semi-definite of trace 1: b^2 <= a (1 - a)
        limit = (a * (1 - a)) ** 0.5
        return -minimize_scalar(lambda b: -smooth(a, b, 1 - a), bounds=(-limit, limit), method="bounded").fun

    best = -minimize_scalar(lambda a: -best_for(a), bounds=(0, 1), method="bounded").fun
    values = []
    for max_iter in (1, 10, 100, 5000):
        S, gap, n_iter = frank_wolfe(differences, 0.1, max_iter=max_iter, tol=0)
        values.append(smooth(S[0, 0], S[0, 1], S[1, 1]))
        assert np.trace(S) == pytest.approx(1)
        assert np.linalg.eigvalsh(S)[0] > -1e-12
        assert gap >= 0
        assert n_iter == max_iter
    assert values == sorted(values)
    assert values[-1] == pytest.approx(best, rel=1e-4)
    stopped = frank_wolfe(differences, 0.1, max_iter=5000, tol=0.01)
    assert stopped.n_iter < 5000
    assert best - smooth(stopped.S[0, 0], stopped.S[0, 1], stopped.S[1, 1]) <= stopped.gap


def test_smooth_minimum_is_near_the_minimum(rng):
    distances = rng.random(50)
    for mu in (1e-3, 0.1):
        assert distances.min() - mu * np.log(50) <= smooth_minimum(distances, mu) <= distances.min()


def test_similar_pairs_are_whitened(rng):
    differences = rng.standard_normal((40, 3)) * [1, 10, 100]
    W = inverse_root(differences, 1e-12)
    np.testing.assert_allclose(second_moment(differences @ W), np.eye(3), atol=1e-6)
    np.testing.assert_array_equal(inverse_root(np.zeros((4, 2)), 0.1), np.eye(2))


def test_dml_eig_keeps_similar_pairs_near(samples):
    X, y = samples
    metric = DMLEig(reg=1e-9, random_state=0).fit(X, y)
    similar, _ = draw_pairs(y, 10**6, check_random_state(0))
    assert np.square(similar.differences(metric.transform(X))).sum(axis=1).mean() == pytest.approx(1, rel=1e-6)


def test_dml_eig_of_classes_at_one_place_says_so(rng):
    with pytest.raises(ValueError, match="All samples of different classes are equal"):
        DMLEig().fit(np.ones((4, 2)), [0, 0, 1, 1])


# Doublet-SVM


@pytest.mark.parametrize("C", [0.1, 10.0])
def test_doublet_matrix_is_a_linear_machine_on_products(samples, C):
    X, y = samples
    similar, dissimilar = (nearest(X, y, np.arange(60), 2, similar=s).differences(X) for s in (True, False))
    M, _ = doublet_matrix(similar, dissimilar, C)
    differences = np.vstack([similar, dissimilar])
    unit = np.sqrt((differences**2).sum(1).mean())
    products = np.einsum("ij,ik->ijk", differences, differences).reshape(len(differences), 9) / unit**2
    machine = SVC(C=C, kernel="linear", tol=1e-8).fit(products, [0] * len(similar) + [1] * len(dissimilar))
    np.testing.assert_allclose(M * unit**2, machine.coef_.reshape(3, 3), atol=2e-3 * np.abs(machine.coef_).max())


def test_doublets_are_capped_and_balanced(samples, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "benchmarks.rivals.doublet_svm.doublet_matrix",
        lambda s, d, C: (seen.append((len(s), len(d))), (np.eye(3), 1))[1],
    )
    DoubletSVM(max_doublets=20).fit(*samples)
    DoubletSVM().fit(*samples)
    assert seen == [(10, 10), (58, 58)]  # two samples are alone in their class


def test_a_metric_of_zero_is_said(rng):
    X = np.repeat(rng.standard_normal((10, 2)), 2, axis=0)  # other classes at distance 0, its own elsewhere
    with pytest.warns(UserWarning, match="The learned metric is 0"):
        metric = DoubletSVM().fit(X, [0, 1] * 10)
    np.testing.assert_array_equal(metric.transform(X), np.zeros((20, 1)))


# GMML


def test_geometric_mean_solves_its_riccati_equation(rng):
    S, D = random_psd(rng, 4), random_psd(rng, 4)
    M = inverse_geodesic(S, D, 0.5)
    np.testing.assert_allclose(M @ S @ M, D, atol=1e-10)


@pytest.mark.parametrize("t", [0.0, 0.2, 0.7, 1.0])
def test_geodesic_as_the_paper_writes_it(rng, t):
    S, D = random_psd(rng, 4), random_psd(rng, 4)
    values, V = np.linalg.eig(S @ D)  # S^-1 #_t D = S^-1 (S D)^t
    expected = np.linalg.inv(S) @ (V * values**t) @ np.linalg.inv(V)
    np.testing.assert_allclose(inverse_geodesic(S, D, t), expected.real, atol=1e-10)


def test_gmml_of_all_pairs(samples):
    X, y = samples
    same = y[:, None] == y
    differences = X[:, None] - X[None]
    S, D = (
        np.einsum("nj,nk->jk", differences[kind], differences[kind]) / n + 0.3 * np.eye(3)
        for kind, n in ((same, same.sum() - 60), (~same, (~same).sum()))
    )
    inverse = np.linalg.inv(S)
    root = sqrtm(inverse)
    expected = root @ sqrtm(np.linalg.inv(root) @ D @ np.linalg.inv(root)) @ root
    np.testing.assert_allclose(metric_of(GMML(reg=0.3, n_pairs=10**6).fit(X, y)), expected.real, atol=1e-8)


@pytest.mark.parametrize("t", [0.3, 0.5])
def test_gmml_turns_with_the_samples_and_its_scale_is_known(samples, rng, t):
    X, y = samples
    Q, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    M = metric_of(GMML(t=t, reg=0, random_state=0).fit(X, y))
    turned = metric_of(GMML(t=t, reg=0, random_state=0).fit(10 * X @ Q + 5, y))
    np.testing.assert_allclose(Q @ turned @ Q.T, M * 100 ** (2 * t - 1), rtol=1e-8)


def test_singular_moment_says_what_to_do(samples):
    X, y = samples
    with pytest.raises(ValueError, match="Pass reg > 0"):
        GMML(reg=0).fit(np.column_stack([X, X[:, 0]]), y)


# All


@by_name
def test_metric_ignores_shifts_orders_of_features_and_names_of_classes(rival, samples):
    X, y = samples
    M = metric_of(clone(rival).fit(X, y))
    shifted = clone(rival).fit(X[:, ::-1] + 1e7, np.array(list("abcdef"))[y])
    np.testing.assert_allclose(metric_of(shifted)[::-1, ::-1], M, atol=1e-3 * np.abs(M).max())


@pytest.mark.parametrize(
    "rival", [LMNN(), DMLEig(random_state=0), DoubletSVM()], ids=lambda rival: type(rival).__name__
)
def test_transformed_samples_are_free_of_scale(rival, samples):
    X, y = samples
    expected = clone(rival).fit(X, y).transform(X)
    np.testing.assert_allclose(clone(rival).fit(1e3 * X, y).transform(1e3 * X), expected, rtol=1e-3, atol=1e-3)


@by_name
def test_transform_is_the_metric(rival, samples):
    X, y = samples
    fitted = clone(rival).fit(X, y)
    assert fitted.components_.shape == (fitted.get_feature_names_out().size, 3)
    np.testing.assert_array_equal(fitted.transform(X), X @ fitted.components_.T)
    assert (fitted.components_.max(axis=1) >= np.abs(fitted.components_).max(axis=1) * (1 - 1e-6)).all()
    assert getattr(fitted, "n_iter_", 1) >= 1


@by_name
def test_neighbours_of_a_direction_in_noise(rival, rng):
    y = np.repeat([0, 1, 2], 50)
    X = rng.standard_normal((150, 12))
    X[:, 0] = 0.3 * X[:, 0] + y
    plain, learned = (
        cross_val_score(make_pipeline(StandardScaler(), *steps, KNeighborsClassifier(5)), X, y).mean()
        for steps in ((), (clone(rival),))
    )
    assert plain < 0.75
    assert learned > plain + 0.08


@by_name
@pytest.mark.parametrize(
    ("X", "y"),
    [
        (np.random.default_rng(0).standard_normal((4, 2)), [0, 0, 1, 1]),
        (np.random.default_rng(0).standard_normal((2 + 9, 2)), [0, 0, *range(1, 10)]),
        (np.random.default_rng(0).standard_normal((12, 40)), [0, 1, 2] * 4),
        (np.random.default_rng(0).standard_normal((30, 2)) @ [[1, 1, 0], [0, 1e-9, 1]], [0, 1, 2] * 10),
        (np.repeat(np.random.default_rng(0).standard_normal((10, 3)), 3, axis=0), [0] * 15 + [1] * 14 + [2]),
        (np.random.default_rng(0).standard_normal((20, 1)), [0, 1] * 10),
        (np.c_[np.random.default_rng(0).standard_normal((20, 2)), np.ones(20)], [0, 1] * 10),
        (np.random.default_rng(0).standard_normal((30, 3)) * [1e-4, 1, 1e4], [0, 1, 2] * 10),
    ],
    ids=["two a class", "one pair", "wide", "collinear", "duplicates", "one feature", "constant feature", "unequal"],
)
@pytest.mark.filterwarnings("ignore:The learned metric is 0:UserWarning")
def test_hard_samples_give_a_finite_metric(rival, X, y):
    fitted = clone(rival).fit(X, y)
    assert np.isfinite(fitted.components_).all()
    assert np.isfinite(fitted.transform(X)).all()


@pytest.mark.parametrize("rival", [LMNN(), DoubletSVM(), GMML()], ids=lambda rival: type(rival).__name__)
@pytest.mark.filterwarnings("ignore:The learned metric is 0:UserWarning")
def test_equal_samples_stay_equal(rival):
    np.testing.assert_array_equal(
        np.ptp(clone(rival).fit(np.ones((6, 2)), [0, 1] * 3).transform(np.ones((6, 2))), 0), 0
    )


@by_name
def test_numbers_are_no_classes(rival, samples):
    with pytest.raises(ValueError, match=r"y has fractions, such as 0\.5, but classes are needed"):
        clone(rival).fit(samples[0], samples[1] + 0.5 * (samples[1] == 0))


@by_name
@pytest.mark.filterwarnings("ignore:The learned metric is 0:UserWarning")
def test_many_small_classes_are_no_cause_for_a_warning(rival, rng):
    X, y = rng.standard_normal((40, 4)), np.r_[np.arange(30), np.arange(10)]
    assert np.isfinite(clone(rival).fit(X, y).transform(X)).all()


@by_name
def test_classes_without_pairs_are_refused(rival, samples):
    X, _ = samples
    with pytest.raises(ValueError, match=rf"All 60 samples are of one class, but {type(rival).__name__} needs"):
        clone(rival).fit(X, np.zeros(60))
    with pytest.raises(ValueError, match=r"All 60 classes have one sample only.*two samples of a class"):
        clone(rival).fit(X, np.arange(60))


@pytest.mark.parametrize("rival", DRAWING, ids=lambda rival: type(rival).__name__)
def test_random_state_is_all_the_randomness(rival, samples):
    X, y = samples
    if "n_pairs" in rival.get_params():
        rival = clone(rival).set_params(n_pairs=40)
    one, again, other = (clone(rival).set_params(random_state=s).fit(X, y).components_ for s in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert one.shape != other.shape or np.abs(one - other).max() > 1e-3 * np.abs(one).max()


@pytest.mark.filterwarnings("ignore:The learned metric is 0:UserWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks([ITML(max_iter=10, random_state=0), LMNN(max_iter=20), *RIVALS[2:]])
def test_scikit_learn_checks(estimator, check):
    check(estimator)
