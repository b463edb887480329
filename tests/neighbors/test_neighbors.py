import numpy as np
import pytest
import sklearn
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.spatial.distance import cdist
from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsRegressor, KNeighborsTransformer, NearestNeighbors
from sklearn.pipeline import make_pipeline

from skrelmetric import AAKNN, MLkNN
from skrelmetric._search.host import NeighbourSearch
from skrelmetric.datasets import make_label_distributions


def neighbours_reference(D, k, leave_one_out):
    """First k by distance, equal ones by index, never the sample itself."""
    D = D.copy()
    if leave_one_out:
        np.fill_diagonal(D, np.inf)
    return np.argsort(D, axis=1, kind="stable")[:, :k]


def mlknn_reference(X, Y, queries, k=10, s=1.0, metric="euclidean"):
    """Zhang and Zhou's algorithm, label by label and sample by sample, from their pseudo-code."""
    n, q = Y.shape
    train = neighbours_reference(cdist(X, X, metric), k, leave_one_out=True)
    test = neighbours_reference(cdist(queries, X, metric), k, leave_one_out=False)
    outputs = np.empty((len(queries), q))
    for label in range(q):
        prior = (s + Y[:, label].sum()) / (2 * s + n)
        c, c_not = np.zeros(k + 1), np.zeros(k + 1)
        for i in range(n):
            votes = Y[train[i], label].sum()
            (c if Y[i, label] else c_not)[votes] += 1
        for i in range(len(queries)):
            votes = Y[test[i], label].sum()
            mass, mass_not = s * (k + 1) + c.sum(), s * (k + 1) + c_not.sum()
            inside = prior * (s + c[votes]) / mass if mass else 0.0
            outside = (1 - prior) * (s + c_not[votes]) / mass_not if mass_not else 0.0
            outputs[i, label] = inside / (inside + outside) if inside + outside else prior
    return outputs


def continuous(rng, n=120, q=4):
    X = rng.standard_normal((n, 5))
    return X, (X @ rng.standard_normal((5, q)) > 0.4).astype(int), rng.standard_normal((40, 5))


def tied(rng, n=120, q=4):
    """Integer samples with many duplicates, where most k-th distances are shared."""
    X = rng.integers(0, 3, (n, 3)).astype(float)
    return X, (rng.random((n, q)) < 0.4).astype(int), rng.integers(0, 3, (40, 3)).astype(float)


@pytest.mark.parametrize("data", [continuous, tied])
@pytest.mark.parametrize("algorithm", ["brute", "kd_tree", "ball_tree", "auto"])
@pytest.mark.parametrize("k", [1, 10, 119])
def test_mlknn_is_the_papers(data, algorithm, k, rng):
    X, Y, queries = data(rng)
    model = MLkNN(k, algorithm=algorithm).fit(X, Y)
    expected = mlknn_reference(X, Y, queries, k)
    np.testing.assert_allclose(model.predict_proba(queries), expected, atol=1e-12)
    np.testing.assert_array_equal(model.predict(queries), expected >= 0.5)


@pytest.mark.parametrize("metric", ["manhattan", "chebyshev", "cosine"])
def test_other_metrics(metric, rng):
    X, Y, queries = continuous(rng)
    expected = mlknn_reference(X, Y, queries, 5, metric={"manhattan": "cityblock"}.get(metric, metric))
    np.testing.assert_allclose(MLkNN(5, metric=metric).fit(X, Y).predict_proba(queries), expected)
    by_parameter = MLkNN(5, metric="minkowski", metric_params={"p": 1}).fit(X, Y).predict_proba(queries)
    if metric == "manhattan":
        np.testing.assert_allclose(by_parameter, expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("k", [3, 10])
def test_smoothing_and_labels_that_nobody_or_everybody_has(smoothing, k, rng):
    X, Y, queries = continuous(rng)
    Y[:, 0], Y[:, 1] = 0, 1
    model = MLkNN(k, smoothing=smoothing).fit(X, Y)
    probabilities = model.predict_proba(queries)
    np.testing.assert_allclose(probabilities, mlknn_reference(X, Y, queries, k, smoothing), atol=1e-12)
    assert np.isfinite(probabilities).all()
    np.testing.assert_array_equal(model.predict(queries)[:, :2], np.tile([0, 1], (40, 1)))
    np.testing.assert_array_equal(model.classes_, np.tile([0, 1], (4, 1)))


@settings(max_examples=80, deadline=None)
@given(st.integers(2, 40), st.integers(1, 3), st.integers(1, 6), st.integers(0, 2**32 - 1), st.booleans())
def test_equal_distances_come_by_index(n, d, k, seed, leave_one_out):
    rng = np.random.default_rng(seed)
    grid = rng.integers(0, 3, (n, d))
    k = min(k, n - 1)
    expected = neighbours_reference(cdist(grid, grid, "sqeuclidean"), k, leave_one_out)
    X = grid * 0.1 + 1e3  # equal distances of the grid differ by rounding here
    for algorithm in ("brute", "kd_tree"):
        found = NeighbourSearch(X, algorithm=algorithm).nearest(None if leave_one_out else X, k).indices
        np.testing.assert_array_equal(np.sort(found), np.sort(expected))


def test_ties_are_settled_in_batches(rng):
    X, Y, queries = tied(rng, n=200)
    expected = MLkNN(7).fit(X, Y).predict_proba(queries)
    with sklearn.config_context(working_memory=1e-3):
        np.testing.assert_array_equal(MLkNN(7).fit(X, Y).predict_proba(queries), expected)


def test_identical_samples(rng):
    X, Y = np.ones((30, 2)), (rng.random((30, 3)) < 0.5).astype(int)
    expected = mlknn_reference(X, Y, np.ones((2, 2)), 4)
    np.testing.assert_allclose(MLkNN(4).fit(X, Y).predict_proba(np.ones((2, 2))), expected)


@pytest.mark.parametrize("data", [continuous, tied])
def test_precomputed_distances_and_graphs(data, rng):
    X, Y, queries = data(rng)
    expected = MLkNN(6).fit(X, Y).predict_proba(queries)
    dense = MLkNN(6, metric="precomputed").fit(cdist(X, X), Y)
    np.testing.assert_allclose(dense.predict_proba(cdist(queries, X)), expected)
    everything = KNeighborsTransformer(n_neighbors=len(X) - 1, mode="distance")  # all, so that no tie is cut
    for kind in (sparse.csr_matrix, sparse.csr_array):
        graph = kind(everything.fit_transform(X))
        model = MLkNN(6, metric="precomputed").fit(graph, Y)
        np.testing.assert_allclose(model.predict_proba(kind(everything.transform(queries))), expected)


def test_graph_of_a_transformer_in_a_pipeline(rng):
    X, Y, queries = continuous(rng)
    model = make_pipeline(KNeighborsTransformer(n_neighbors=6), MLkNN(6, metric="precomputed")).fit(X, Y)
    np.testing.assert_allclose(model.predict_proba(queries), MLkNN(6).fit(X, Y).predict_proba(queries))
    D = rng.dirichlet(np.ones(3), len(X))
    model = make_pipeline(KNeighborsTransformer(n_neighbors=4), AAKNN(4, metric="precomputed")).fit(X, D)
    np.testing.assert_allclose(model.predict(queries), AAKNN(4).fit(X, D).predict(queries))


def test_precomputed_distances_are_sliced_in_cross_validation(rng):
    X, Y, _ = continuous(rng)
    precomputed = cross_val_score(MLkNN(5, metric="precomputed"), cdist(X, X), Y, cv=3)
    np.testing.assert_allclose(precomputed, cross_val_score(MLkNN(5), X, Y, cv=3))


def test_graph_with_too_few_neighbours_is_refused(rng):
    X, Y, queries = continuous(rng)
    transformer = KNeighborsTransformer(n_neighbors=5, mode="distance")
    with pytest.raises(ValueError, match=r"row 0 of the precomputed graph has only 5 neighbours other than itself"):
        MLkNN(6, metric="precomputed").fit(transformer.fit_transform(X), Y)
    model = MLkNN(5, metric="precomputed").fit(transformer.fit_transform(X), Y)
    with pytest.raises(ValueError, match="has only 2 neighbours. Build it with more"):
        model.predict(KNeighborsTransformer(n_neighbors=1).fit(X).transform(queries))


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csr_array, sparse.lil_matrix, sparse.csc_array])
def test_sparse_samples_and_labels(kind, rng):
    X, Y, queries = tied(rng)
    expected = MLkNN(5).fit(X, Y).predict_proba(queries)
    model = MLkNN(5).fit(kind(X), kind(Y))
    np.testing.assert_allclose(model.predict_proba(kind(queries)), expected)
    np.testing.assert_allclose(AAKNN(5).fit(kind(X), X).predict(kind(queries)), AAKNN(5).fit(X, X).predict(queries))


def test_predict_and_predict_proba_search_once(rng, monkeypatch):
    X, Y, queries = continuous(rng)
    searches = []
    original = NearestNeighbors.kneighbors

    def kneighbors(self, X=None, *args, **kwargs):
        searches.append(len(X))
        return original(self, X, *args, **kwargs)

    monkeypatch.setattr(NearestNeighbors, "kneighbors", kneighbors)
    model = MLkNN().fit(X, Y)
    searches.clear()
    model.predict_proba(queries)
    model.predict(queries.copy())
    assert searches == [40]
    model.predict(queries + 1)
    assert searches == [40, 40]
    model.fit(X, 1 - Y)
    searches.clear()
    model.predict(queries + 1)
    assert searches == [40]


def test_remembered_votes_go_with_the_fit(rng):
    X, Y, queries = continuous(rng)
    model = MLkNN().fit(X, Y)
    before = model.predict(queries)
    assert not np.array_equal(model.fit(X, 1 - Y).predict(queries), before)
    assert set(vars(model)) == set(vars(MLkNN().fit(X, Y)))


def test_one_dimensional_targets(rng):
    X, Y, queries = continuous(rng, q=1)
    expected = MLkNN(5).fit(X, Y).predict_proba(queries)[:, 0]
    for classes in ([0, 1], [-1, 1], ["no", "yes"], [False, True]):
        model = MLkNN(5).fit(X, np.array(classes)[Y[:, 0]])
        np.testing.assert_array_equal(model.classes_, classes)
        np.testing.assert_allclose(model.predict_proba(queries), np.column_stack([1 - expected, expected]))
        np.testing.assert_array_equal(model.predict(queries), np.array(classes)[(expected > 0.5).astype(int)])
    constant = MLkNN(5).fit(X, np.zeros(len(X), dtype=int))
    np.testing.assert_array_equal(constant.classes_, [0, 1])
    np.testing.assert_array_equal(constant.predict(queries), np.zeros(40))


def test_fewer_samples_than_neighbours(rng):
    X, Y, queries = continuous(rng, n=5)
    with pytest.warns(UserWarning, match="n_neighbors=10, but there are only 4 training samples"):
        model = MLkNN().fit(X, Y)
    assert model.n_neighbors_ == 4
    np.testing.assert_allclose(model.predict_proba(queries), mlknn_reference(X, Y, queries, 4))
    with pytest.warns(UserWarning, match="n_neighbors=9, but there are only 5 training samples"):
        model = AAKNN(9).fit(X, X)
    np.testing.assert_allclose(model.predict(queries), np.tile(X.mean(0), (40, 1)))


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.eye(3), [[0, 2], [1, 0], [0, 1]], "label indicator of 0 and 1, but it holds .*2"),
        (np.eye(3), [[1], [2, 3], [1]], "MultiLabelBinarizer"),
        (np.eye(3), [0, 1, 2], "two classes, but it has 3 classes"),
        (np.eye(3), ["a", "a", "a"], "two classes, but it has 1 class"),
        (np.eye(3), [[0.5, 0.5]] * 3, "label indicator of 0 and 1, but it holds 0.5"),
        (np.eye(3), [[0, 1], [1, 0]], "inconsistent numbers of samples"),
        (np.full((3, 2), np.nan), [[0, 1]] * 3, "contains NaN"),
        (np.arange(3), [[0, 1]] * 3, "Expected 2D array"),
        (np.eye(1), [[0, 1]], "minimum of 2 is required"),
        (np.empty((0, 2)), np.empty((0, 2)), "0 sample"),
    ],
)
def test_bad_input_of_mlknn(X, y, message):
    with pytest.raises(ValueError, match=message):
        MLkNN(1).fit(X, y)


@pytest.mark.parametrize(
    ("y", "message"),
    [([["a"], ["b"], ["c"]], "y holds 'a', but numbers"), ([[np.nan], [0], [1]], "contains NaN")],
)
def test_bad_input_of_aaknn(y, message):
    with pytest.raises(ValueError, match=message):
        AAKNN(1).fit(np.eye(3), np.array(y))


def test_bad_parameters():
    X, Y = np.eye(4), np.eye(4, dtype=int)
    for model in (MLkNN(0), MLkNN(2, smoothing=-1), MLkNN(2, algorithm="fast"), AAKNN(0), AAKNN(2, n_jobs="all")):
        with pytest.raises(ValueError, match="parameter of .* must be"):
            model.fit(X, Y)
    with pytest.raises(ValueError, match="bogus"):
        MLkNN(2, metric="bogus").fit(X, Y)
    with pytest.raises(ValueError, match="X has 3 features, but MLkNN is expecting 4"):
        MLkNN(2).fit(X, Y).predict(X[:, :3])


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_aaknn_is_the_mean_of_neighbours(n_jobs, rng):
    X, D = make_label_distributions(100, random_state=0)
    queries = rng.uniform(-1, 1, (30, 20))
    predicted = AAKNN(4, n_jobs=n_jobs).fit(X, D).predict(queries)
    np.testing.assert_allclose(predicted, KNeighborsRegressor(4).fit(X, D).predict(queries))
    np.testing.assert_allclose(predicted.sum(1), 1)


def test_aaknn_takes_ties_by_index(rng):
    X, _, queries = tied(rng)
    D = rng.dirichlet(np.ones(4), len(X))
    expected = D[neighbours_reference(cdist(queries, X), 5, leave_one_out=False)].mean(1)
    np.testing.assert_allclose(AAKNN().fit(X, D).predict(queries), expected)


@pytest.mark.parametrize("algorithm", ["brute", "kd_tree"])
@pytest.mark.parametrize("metric", ["euclidean", "manhattan"])
def test_distances_equal_up_to_rounding_are_equal(algorithm, metric, rng):
    grid = rng.integers(0, 6, (150, 2))
    Y = (rng.random((150, 3)) < 0.5).astype(int)
    exact = MLkNN(5, metric=metric, algorithm=algorithm).fit(grid, Y).predict_proba(grid)
    np.testing.assert_array_equal(
        MLkNN(5, metric=metric, algorithm=algorithm).fit(grid * 0.1, Y).predict_proba(grid * 0.1), exact
    )
    reference = mlknn_reference(grid, Y, grid, 5, metric={"manhattan": "cityblock"}.get(metric, "sqeuclidean"))
    np.testing.assert_allclose(exact, reference)


@pytest.mark.parametrize("algorithm", ["brute", "kd_tree"])
@pytest.mark.parametrize("far", ["one sample", "all samples"])
def test_samples_far_away_do_not_blur_the_others(algorithm, far, rng):
    X = rng.standard_normal((400, 20))
    queries = rng.standard_normal((50, 20))
    expected = neighbours_reference(cdist(queries, X), 5, leave_one_out=False)
    if far == "one sample":
        X[-1] = 1e9
    else:
        X, queries = X + 1e6, queries + 1e6
    found = NeighbourSearch(X, algorithm=algorithm).nearest(queries, 5).indices
    if far == "one sample":
        expected = neighbours_reference(cdist(queries, X), 5, leave_one_out=False)
    np.testing.assert_array_equal(np.sort(found), np.sort(expected))


@pytest.mark.parametrize("leave_one_out", [False, True])
@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "precomputed"])
def test_large_groups_of_equal_samples(metric, leave_one_out, rng):
    X = np.where(rng.random((400, 1)) < 0.7, 0.0, rng.standard_normal((400, 2)))
    D = cdist(X, X, "cityblock" if metric == "manhattan" else "euclidean")
    expected = neighbours_reference(D, 3, leave_one_out)
    samples = D if metric == "precomputed" else X
    with sklearn.config_context(working_memory=0.1):
        found = NeighbourSearch(samples, metric=metric).nearest(None if leave_one_out else samples, 3).indices
    np.testing.assert_array_equal(np.sort(found), np.sort(expected))
    np.testing.assert_array_equal(np.isfinite(D), True)


def test_negative_distances_of_a_callable_metric(rng):
    X = rng.standard_normal((50, 3))

    def similarity(u, v):
        return -float(u @ v)

    expected = KNeighborsRegressor(3, metric=similarity, algorithm="brute").fit(X, X[:, 0]).predict(X[:5])
    found = AAKNN(3, metric=similarity, algorithm="brute").fit(X, X[:, 0]).predict(X[:5])
    np.testing.assert_allclose(found, expected)


def test_probability_one_half_is_predicted():
    X, Y = np.arange(6.0)[:, None], np.array([[0], [0], [0], [1], [1], [1]])
    model = MLkNN(2).fit(X, Y)
    assert 0.5 in model.predict_proba(X)
    np.testing.assert_array_equal(model.predict(X), model.predict_proba(X) >= 0.5)


@pytest.mark.parametrize("metric", ["cosine", "sqeuclidean"])
def test_ties_of_metrics_that_expand_products(metric, rng):
    X, _, queries = tied(rng)
    X, queries = X + 1, queries + 1
    exact = {
        "cosine": lambda a, b: cdist(a, b, "cosine").round(9),
        "sqeuclidean": lambda a, b: cdist(a, b, "sqeuclidean"),
    }
    expected = neighbours_reference(exact[metric](queries, X), 5, leave_one_out=False)
    found = NeighbourSearch(X, metric=metric).nearest(queries, 5).indices
    np.testing.assert_array_equal(np.sort(found), np.sort(expected))


def test_a_fit_that_fails_leaves_the_former_one(rng):
    X, Y, queries = continuous(rng)
    graph = KNeighborsTransformer(n_neighbors=6, mode="distance").fit(X)
    model = MLkNN(6, metric="precomputed").fit(graph.transform(X), Y)
    expected = model.predict_proba(graph.transform(queries))
    with pytest.raises(ValueError, match="has only"):
        model.fit(KNeighborsTransformer(n_neighbors=2).fit_transform(X), 1 - Y)
    np.testing.assert_array_equal(model.predict_proba(graph.transform(queries)), expected)


def test_small_integers_do_not_overflow(rng):
    X = np.vstack([rng.integers(0, 100, (300, 20))] * 2)
    D = rng.dirichlet(np.ones(3), 600)
    expected = AAKNN(3).fit(X.astype(float), D).predict(X[:50].astype(float))
    np.testing.assert_array_equal(AAKNN(3).fit(X.astype(np.int8), D).predict(X[:50].astype(np.int8)), expected)


@pytest.mark.parametrize("y", [np.array([[None], [0.5], [1]], dtype=object), [[1], [2, 3], [4]], [{1}, {2}, {3}]])
def test_targets_that_are_no_numbers_are_refused(y):
    with pytest.raises(ValueError, match="contains NaN|MultiLabelBinarizer"):
        AAKNN(1).fit(np.eye(3), y)


# Several numbers of neighbours


def mean_of_each(numbers, X, Y, queries, **options):
    return np.mean([MLkNN(k, **options).fit(X, Y).predict_proba(queries) for k in numbers], axis=0)


@pytest.mark.parametrize("numbers", [range(1, 31), [5], [20, 1, 7, 7], np.array([3, 119])])
@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "cosine"])
@pytest.mark.parametrize("data", [continuous, tied])
def test_several_numbers_are_the_mean_of_each(data, metric, numbers, rng):
    X, Y, queries = data(rng)
    X, queries = X + (data is tied), queries + (data is tied)  # no sample at 0 has a direction
    model = MLkNN(numbers, metric=metric).fit(X, Y)
    expected = mean_of_each(np.unique(numbers), X, Y, queries, metric=metric)
    np.testing.assert_allclose(model.predict_proba(queries), expected, rtol=1e-13)
    np.testing.assert_array_equal(model.predict(queries), model.predict_proba(queries) >= 0.5)
    assert list(model.n_neighbors_) == sorted(set(numbers))
    assert [table.shape for table in model.posterior_] == [(4, k + 1) for k in sorted(set(numbers))]
    for k, table in zip(model.n_neighbors_, model.posterior_, strict=True):
        np.testing.assert_array_equal(table, MLkNN(k, metric=metric).fit(X, Y).posterior_)


def test_several_numbers_are_the_papers(rng):
    X, Y, queries = tied(rng)
    expected = np.mean([mlknn_reference(X, Y, queries, k) for k in (1, 4, 10)], axis=0)
    np.testing.assert_allclose(MLkNN([1, 4, 10]).fit(X, Y).predict_proba(queries), expected, atol=1e-12)


@pytest.mark.parametrize("working_memory", [1e-3, 1024])
def test_several_numbers_among_duplicates(working_memory, rng):
    X = np.vstack([np.tile(rng.standard_normal((8, 20)), (12, 1)), rng.standard_normal((30, 20))])
    Y = (rng.random((126, 3)) < 0.4).astype(int)
    with sklearn.config_context(working_memory=working_memory):
        found = MLkNN(range(1, 15)).fit(X, Y).predict_proba(X)
    np.testing.assert_allclose(found, mean_of_each(range(1, 15), X, Y, X), rtol=1e-13)


def test_several_numbers_of_precomputed_graphs_sparse_samples_and_tensors(rng):
    for data in (continuous, tied):
        X, Y, queries = data(rng)
        expected = mean_of_each((2, 5, 9), X, Y, queries)
        model = MLkNN([2, 5, 9], metric="precomputed").fit(cdist(X, X), Y)
        np.testing.assert_allclose(model.predict_proba(cdist(queries, X)), expected)
        everything = KNeighborsTransformer(n_neighbors=119, mode="distance").fit(X)
        model.fit(everything.transform(X), Y)
        np.testing.assert_allclose(model.predict_proba(sparse.csr_array(cdist(queries, X) + 1e-3)), expected)
        model = MLkNN([2, 5, 9]).fit(sparse.csr_array(X), Y)
        np.testing.assert_allclose(model.predict_proba(sparse.csr_array(queries)), expected)
        with sklearn.config_context(array_api_dispatch=True):
            model = MLkNN([2, 5, 9]).fit(torch.from_numpy(X), torch.from_numpy(Y))
            predicted = model.predict_proba(torch.from_numpy(queries))
        assert isinstance(predicted, torch.Tensor)
        np.testing.assert_allclose(predicted, expected)


def test_several_numbers_of_one_label(rng):
    X, Y, queries = continuous(rng, q=1)
    expected = mean_of_each((1, 6), X, Y, queries)
    np.testing.assert_allclose(MLkNN([1, 6]).fit(X, Y).predict_proba(queries), expected)
    model = MLkNN([1, 6]).fit(X, np.array(["no", "yes"])[Y[:, 0]])
    np.testing.assert_allclose(model.predict_proba(queries), np.hstack([1 - expected, expected]))
    np.testing.assert_array_equal(model.predict(queries), np.where(expected[:, 0] > 0.5, "yes", "no"))


def test_several_numbers_of_few_samples(rng):
    X, Y, queries = continuous(rng, n=5)
    with pytest.warns(UserWarning, match="n_neighbors=30, but there are only 4 training samples") as warned:
        model = MLkNN(range(1, 31)).fit(X, Y)
    assert len(warned) == 1
    assert model.n_neighbors_ == [1, 2, 3, 4]
    np.testing.assert_allclose(model.predict_proba(queries), mean_of_each(range(1, 5), X, Y, queries))
    with pytest.warns(UserWarning, match="using 4"):
        assert MLkNN([10, 20]).fit(X, Y).n_neighbors_ == [4]


def test_one_number_is_as_it_was(rng):
    X, Y, _ = continuous(rng)
    for k in (3, np.int64(3)):
        model = MLkNN(k).fit(X, Y)
        assert model.n_neighbors_ == 3
        assert isinstance(model.posterior_, np.ndarray)
        assert model.posterior_.shape == (4, 4)


@pytest.mark.parametrize("numbers", [[], (), [0, 3], [1.5], [True], [[1, 2], [3, 4]], ["a"], range(0)])
def test_what_no_numbers_of_neighbours_are(numbers, rng):
    X, Y, _ = continuous(rng)
    with pytest.raises(ValueError, match=r"a whole number of at least 1 is needed, or a sequence of such, for example"):
        MLkNN(numbers).fit(X, Y)
    for number in (0, 2.5, "many", None):
        with pytest.raises(ValueError, match="'n_neighbors' parameter of MLkNN must be"):
            MLkNN(number).fit(X, Y)


# Label sets are no distributions


def test_label_sets_as_distributions_are_warned_of(rng):
    X, Y, queries = continuous(rng)
    with pytest.warns(UserWarning, match="y holds label sets.* Use MLkNN or SoftNeighborsClassifier") as warned:
        model = AAKNN().fit(X, Y)
    assert len(warned) == 1
    neighbours = neighbours_reference(cdist(queries, X), 5, leave_one_out=False)
    np.testing.assert_allclose(model.predict(queries), Y[neighbours].mean(1))
    one_hot = np.eye(4)[rng.integers(0, 4, 120)]
    for y in (one_hot, one_hot.astype(bool), rng.dirichlet(np.ones(4), 120), Y * 2.0, Y / 4, Y[:, 0], X):
        AAKNN().fit(X, y)  # warnings are errors here


@pytest.mark.parametrize("model", [MLkNN(2), AAKNN(2), AAKNN(2, algorithm="brute"), AAKNN(2, metric_params={"p": 5})])
def test_differences_that_vanish_when_squared_are_refused(model, rng):
    model = clone(model).set_params(metric="minkowski")
    X, y = np.column_stack([np.ones(9), 1e-160 * np.arange(9.0)]), np.tile(np.eye(3, dtype=int), (3, 1))
    for samples, dispatch in [(X, False), (torch.from_numpy(X), True)]:
        with config_context(array_api_dispatch=dispatch), pytest.raises(ValueError, match=r"X spans .* too small"):
            model.fit(samples, y)
    order = (model.metric_params or {}).get("p", 2)
    with pytest.raises(ValueError, match=r"X holds .* too large"):
        model.fit(X + 1e170 ** (2 / order), y)
