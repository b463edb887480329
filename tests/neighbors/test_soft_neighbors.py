"""Soft votes, against every weight written out."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from scipy.spatial.distance import cdist
from scipy.special import softmax
from sklearn import config_context
from sklearn.base import clone
from sklearn.neighbors import KNeighborsTransformer
from sklearn.pipeline import make_pipeline

from skrelmetric import SoftNeighborsClassifier, SoftNeighborsRegressor
from skrelmetric._search import soft_vote
from skrelmetric._search.host import NeighbourSearch
from tests.neighbors.problems import label_sets, tied
from tests.test_devices import Accelerator, assert_close

TEMPERATURES = [64 / 2 ** (step / 2) for step in range(30)]
FLOOR = 1e-6


def log_loss(y, p):
    p = np.clip(p, FLOOR, 1 - FLOOR)
    return np.mean([-np.log(q) if has else -np.log(1 - q) for has, q in zip(y, p, strict=True)])


def cross_entropy(y, p):
    return sum(-share * np.log(max(q, FLOOR)) for share, q in zip(y, p, strict=True))


def squared_error(y, p):
    return np.mean((y - p) ** 2)


def classes_of(rng, X):
    return np.array(["sea", "land", "air"])[np.abs(X[:, 0]).round().astype(int) % 3]


KINDS = {  # estimator, targets, targets as numbers, loss
    "label sets": (SoftNeighborsClassifier, label_sets, lambda y: y, log_loss),
    "one label": (SoftNeighborsClassifier, lambda rng, X: label_sets(rng, X)[:, :1], lambda y: y, log_loss),
    "classes": (SoftNeighborsClassifier, classes_of, lambda y: (y[:, None] == np.unique(y)) * 1, cross_entropy),
    "distributions": (SoftNeighborsRegressor, lambda rng, X: softmax(X[:, :3], 1), lambda y: y, cross_entropy),
    "numbers": (SoftNeighborsRegressor, lambda rng, X: X[:, :2] * [1, 50] + 3, lambda y: y, squared_error),
    "one number": (SoftNeighborsRegressor, lambda rng, X: X[:, 0] ** 2, lambda y: y[:, None], squared_error),
}


class Reference:
    """The formula, sample by sample."""

    def __init__(self, D, Y, p=None, loss=log_loss, n_neighbors=None, local=False):
        self.Y, self.p = Y, np.ones(len(Y)) if p is None else p
        self.n_neighbors, self.local = n_neighbors, local
        if loss is squared_error:
            mean = np.average(Y, axis=0, weights=self.p)
            self.Y_of_loss = Y / np.sqrt(np.average((Y - mean) ** 2, axis=0, weights=self.p))
        else:
            self.Y_of_loss = Y
        counted = [i for i in range(len(Y)) if self.p[i] > 0]
        others = {i: [j for j in counted if j != i] for i in counted}
        self.scale = np.median([self.unit(D[i] ** 2, others[i]) for i in counted])
        self.losses = [
            np.average(
                [loss(self.Y_of_loss[i], self.vote(D[i], t, others[i], self.Y_of_loss)) for i in counted],
                weights=self.p[counted],
            )
            for t in TEMPERATURES
        ]
        self.temperature, self.loss = TEMPERATURES[int(np.argmin(self.losses))], min(self.losses)
        self.counted = counted

    def voters(self, d2, others):
        return sorted(others, key=lambda j: d2[j])[: self.n_neighbors]

    def unit(self, d2, others):
        return d2[self.voters(d2, others)[:10][-1]]

    def vote(self, d, t, others, Y):
        voters, s = self.voters(d**2, others), self.unit(d**2, others) if self.local else self.scale
        shares = softmax([np.log(self.p[j]) - d[j] ** 2 / (t * s) for j in voters])
        return sum(share * Y[j] for share, j in zip(shares, voters, strict=True))

    def predict(self, D, t=None):
        return np.array([self.vote(d, t or self.temperature, self.counted, self.Y) for d in D])


def outputs(model, X):
    """Probabilities, or predictions, with one column at least."""
    predicted = model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X)
    return predicted.reshape(len(predicted), -1)


def assert_is(model, X, queries, expected, metric="euclidean"):
    assert model.temperature_ == pytest.approx(expected.temperature)
    assert model.scale_ == pytest.approx(expected.scale)
    assert model.leave_one_out_loss_ == pytest.approx(expected.loss)
    np.testing.assert_allclose(outputs(model, queries), expected.predict(cdist(queries, X, metric)), atol=1e-9)


@pytest.fixture
def data(rng):
    return rng.standard_normal((50, 3)), rng.standard_normal((12, 3))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_neighbors", [None, 4, 15])
@pytest.mark.parametrize("scale", ["global", "local"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_and_the_best_temperature(kind, scale, n_neighbors, weighted, data, rng):
    X, queries = data
    Estimator, targets, as_numbers, loss = KINDS[kind]
    y, weights = targets(rng, X), rng.integers(0, 4, 50) / 7 if weighted else None
    model = Estimator(n_neighbors, scale=scale).fit(X, y, weights)
    expected = Reference(cdist(X, X), as_numbers(y), weights, loss, n_neighbors, scale == "local")
    assert_is(model, X, queries, expected)
    assert n_neighbors is None or model.n_neighbors_ == n_neighbors
    given = clone(model).set_params(temperature=TEMPERATURES[3]).fit(X, y, weights)
    assert given.leave_one_out_loss_ == pytest.approx(expected.losses[3])
    np.testing.assert_allclose(outputs(given, queries), expected.predict(cdist(queries, X), TEMPERATURES[3]))


def test_predictions_are_the_likeliest(data, rng):
    X, queries = data
    model = SoftNeighborsClassifier().fit(X, label_sets(rng, X))
    np.testing.assert_array_equal(model.classes_, [[0, 1]] * 3)
    np.testing.assert_array_equal(model.predict(queries), model.predict_proba(queries) >= 0.5)
    model.fit(X, classes_of(rng, X))
    np.testing.assert_array_equal(model.classes_, ["air", "land", "sea"])
    np.testing.assert_array_equal(model.predict(queries), model.classes_[model.predict_proba(queries).argmax(1)])
    np.testing.assert_allclose(model.predict_proba(queries).sum(1), 1)


def test_distributions_give_distributions(data, rng):
    X, queries = data
    model = SoftNeighborsRegressor().fit(X, rng.dirichlet(np.ones(4), 50))
    np.testing.assert_allclose(model.predict(queries).sum(1), 1)
    assert SoftNeighborsRegressor().fit(X, X[:, 0]).predict(queries).shape == (12,)


def test_many_samples_are_judged_at_even_distances(data, rng, monkeypatch):
    X, queries = data
    y = X[:, :1]
    monkeypatch.setattr(soft_vote, "_MOST_WEIGHTS", 50 * 20)
    monkeypatch.setattr(soft_vote, "_FEWEST_JUDGED", 1)
    model = SoftNeighborsRegressor().fit(X, y)
    every = Reference(cdist(X, X), y, loss=squared_error)
    some = range(0, 50, 3)
    others = [[j for j in range(50) if j != i] for i in range(50)]
    every.scale = np.median([every.unit(cdist(X, X)[i] ** 2, others[i]) for i in some])
    Y = y / y.std(0)
    losses = [
        np.mean([squared_error(Y[i], every.vote(cdist(X, X)[i], t, others[i], Y)) for i in some]) for t in TEMPERATURES
    ]
    assert model.scale_ == pytest.approx(every.scale)
    assert model.leave_one_out_loss_ == pytest.approx(min(losses))
    assert model.temperature_ == pytest.approx(TEMPERATURES[int(np.argmin(losses))])
    monkeypatch.setattr(soft_vote, "_FEWEST_JUDGED", 50)
    assert_is(SoftNeighborsRegressor().fit(X, y), X, queries, Reference(cdist(X, X), y, loss=squared_error))


# Weights


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_neighbors", [None, 2])
def test_weight_0_leaves_out(kind, n_neighbors, data, rng):
    X, queries = data
    Estimator, targets, *_ = KINDS[kind]
    y, kept = targets(rng, X), rng.random(50) < 0.5
    if Estimator is SoftNeighborsRegressor:
        y[~kept] += 1000.0
    else:
        kept[:9] = True  # of every class
    weighted = Estimator(n_neighbors).fit(X, y, kept * 3.0)
    subset = Estimator(n_neighbors).fit(X[kept], y[kept])
    for name in ("temperature_", "scale_", "leave_one_out_loss_", "n_neighbors_"):
        assert getattr(weighted, name) == pytest.approx(getattr(subset, name))
    np.testing.assert_allclose(outputs(weighted, queries), outputs(subset, queries))
    np.testing.assert_allclose(outputs(weighted, X), outputs(subset, X))


@pytest.mark.parametrize("factor", [1e-300, 1e-5, 7.0, 1e306])
def test_one_factor_on_all_weights_changes_nothing(factor, data, rng):
    X, queries = data
    y, weights = label_sets(rng, X), rng.random(50) * 100
    expected, model = (SoftNeighborsClassifier().fit(X, y, c * weights) for c in (1.0, factor))
    for name in ("temperature_", "scale_", "leave_one_out_loss_", "n_neighbors_"):
        assert getattr(model, name) == pytest.approx(getattr(expected, name))
    np.testing.assert_allclose(model.predict_proba(queries), expected.predict_proba(queries))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.eye(50)[0], "1 of 50 samples has a positive weight, but two are needed"),
        (np.zeros(50), "at least one non-zero|0 of 50 samples has a positive weight"),
        (-np.ones(50), "[Nn]egative values"),
    ],
)
def test_weights_that_leave_nobody(weights, message, data, rng):
    for model, y in ((SoftNeighborsClassifier(), label_sets(rng, data[0])), (SoftNeighborsRegressor(), data[0])):
        with pytest.raises(ValueError, match=message):
            model.fit(data[0], y, weights)


# Searches


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("scale", ["global", "local"])
@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "sqeuclidean"])
def test_what_a_search_leaves_out_weighs_next_to_nothing(metric, scale, weighted, rng, monkeypatch):
    angles, asked_for = rng.uniform(0, 6, 3000), np.linspace(0.5, 5.5, 40)
    X, queries = (np.column_stack([np.cos(a), np.sin(a)]) for a in (angles, asked_for))
    queries = np.vstack([queries, [[0.0, 0.0], [1e-3, 0.0]]])  # all samples are as far from the centre of their circle
    y = np.sin(5 * angles) + 0.1 * rng.standard_normal(3000)
    weights = rng.integers(1, 5, 3000) * (rng.random(3000) < 0.995) if weighted else np.ones(3000)
    model = SoftNeighborsRegressor(temperature=0.1, scale=scale, metric=metric).fit(X, y, weights)
    assert 10 <= model.n_neighbors_ <= 60
    asked, blocks = [], NeighbourSearch.blocks
    monkeypatch.setattr(
        NeighbourSearch, "blocks", lambda self, X, **options: asked.append(len(X)) or blocks(self, X, **options)
    )
    predicted = model.predict(queries)
    assert (metric != "manhattan") <= sum(asked) <= 3  # the others are answered from those that a search finds
    D2, counted = cdist(queries, X, "cityblock" if metric == "manhattan" else "euclidean") ** 2, weights > 0
    s = np.sort(D2[:, counted])[:, [9]] if scale == "local" else model.scale_
    shares = softmax(np.log(weights[counted]) - D2[:, counted] / (model.temperature_ * s), axis=1)
    np.testing.assert_allclose(predicted, shares @ y[counted], atol=1e-6)
    assert np.sort(shares)[:40, : -model.n_neighbors_].sum(1).max() < 1e-6
    if metric != "manhattan":
        assert np.sort(shares)[40, : -model.n_neighbors_].sum() > 0.9
        np.testing.assert_allclose(predicted[40:], (shares @ y[counted])[40:], rtol=1e-9)


def test_a_search_knows_the_tenth_neighbour_where_fewer_weigh_anything(rng):
    X = np.sort(rng.uniform(0, 1, (3000, 1)), axis=0)
    y = rng.random(3000)
    model = SoftNeighborsRegressor(temperature=0.003, scale="local").fit(X, y)
    assert model.n_neighbors_ == 10
    D2 = cdist(X[::50] + 1e-5, X) ** 2
    shares = softmax(-D2 / (0.003 * np.sort(D2)[:, [9]]), axis=1)
    assert np.sort(shares)[:, :-8].sum(1).max() < 1e-6
    np.testing.assert_allclose(model.predict(X[::50] + 1e-5), shares @ y, atol=1e-6)


def test_samples_without_weight_hide_no_others_from_a_search(rng):
    X = rng.uniform(0, 1, (3000, 1))
    weights = (np.arange(3000) % 500 > 0).astype(float)
    X[weights == 0] = 0.5 + 1e-9 * np.arange(6)[:, None]
    y = X[:, 0] ** 2
    model = SoftNeighborsRegressor(5).fit(X, y, weights)
    assert model.n_neighbors_ == 5
    expected = SoftNeighborsRegressor(5).fit(X[weights > 0], y[weights > 0])
    np.testing.assert_allclose(model.predict([[0.5], [0.7]]), expected.predict([[0.5], [0.7]]))


@pytest.mark.parametrize("n_neighbors", [None, 5])
@pytest.mark.parametrize("d", [1, 20])
def test_working_memory_changes_nothing(n_neighbors, d, rng):
    X, queries = rng.standard_normal((600, d)), rng.standard_normal((200, d))
    y = label_sets(rng, X)
    expected = SoftNeighborsClassifier(n_neighbors).fit(X, y)
    probabilities = expected.predict_proba(queries)
    with config_context(working_memory=0.05):
        model = SoftNeighborsClassifier(n_neighbors).fit(X, y)
        np.testing.assert_allclose(model.predict_proba(queries), probabilities)
    assert model.leave_one_out_loss_ == pytest.approx(expected.leave_one_out_loss_)
    assert model.predict_proba(queries[:1]).shape == (1, 3)


@pytest.mark.parametrize(("n_neighbors", "search"), [(None, "blocks"), (3, "nearest")])
def test_predict_and_predict_proba_search_once(n_neighbors, search, data, rng, monkeypatch):
    X, queries = data
    y, asked, original = label_sets(rng, X), [], getattr(NeighbourSearch, search)
    model = SoftNeighborsClassifier(n_neighbors).fit(X, y)

    def spied(self, X, *args, **options):
        asked.append(None if X is None else len(X))
        return original(self, X, *args, **options)

    monkeypatch.setattr(NeighbourSearch, search, spied)
    before = model.predict_proba(queries)
    model.predict(queries.copy())
    assert asked == [12]
    model.predict(queries + 1)
    assert asked == [12, 12]
    model.fit(X, 1 - y)  # its predictions are not those that are remembered
    np.testing.assert_allclose(
        model.predict_proba(queries + 1), 1 - SoftNeighborsClassifier(n_neighbors).fit(X, y).predict_proba(queries + 1)
    )
    assert np.abs(model.predict_proba(queries) - before).max() > 0.01


# Metrics and kinds of samples


@pytest.mark.parametrize("scale", ["global", "local"])
@pytest.mark.parametrize(
    ("metric", "name"),
    [
        ("manhattan", "cityblock"),
        ("chebyshev", "chebyshev"),
        ("cosine", "cosine"),
        ("sqeuclidean", "euclidean"),
        (lambda a, b: np.abs(a - b).max(), "chebyshev"),
    ],
)
def test_metrics(metric, name, scale, data, rng):
    X, queries = data
    y = label_sets(rng, X)
    for n_neighbors in (None, 5):
        model = SoftNeighborsClassifier(n_neighbors, metric=metric, scale=scale).fit(X, y)
        expected = Reference(cdist(X, X, name), y, n_neighbors=n_neighbors, local=scale == "local")
        assert_is(model, X, queries, expected, name)


@pytest.mark.parametrize("n_neighbors", [None, 5])
def test_precomputed_distances_and_graphs(n_neighbors, data, rng):
    X, queries = data
    y = label_sets(rng, X)
    expected = SoftNeighborsClassifier(n_neighbors).fit(X, y)
    everything = KNeighborsTransformer(n_neighbors=49, mode="distance").fit(X)
    train = everything.transform(X)
    for D, of_queries in (
        (cdist(X, X), cdist(queries, X)),
        (train, sparse.csr_array(cdist(queries, X))),
        (sparse.csr_matrix(train), sparse.coo_matrix(cdist(queries, X))),
    ):
        model = SoftNeighborsClassifier(n_neighbors, metric="precomputed").fit(D, y)
        assert model.leave_one_out_loss_ == pytest.approx(expected.leave_one_out_loss_)
        np.testing.assert_allclose(model.predict_proba(of_queries), expected.predict_proba(queries))
        assert len(pickle.dumps(model)) < 10_000  # distances are not kept


def test_a_graph_of_few_neighbours(data, rng):
    X, queries = data
    y = label_sets(rng, X)
    for local in (False, True):
        model = SoftNeighborsClassifier(metric="precomputed", scale="local" if local else "global")
        model = make_pipeline(KNeighborsTransformer(n_neighbors=6), model).fit(X, y)
        D = cdist(X, X)
        own = np.sort(D)[:, [6]]
        expected = Reference(np.where(own >= D, D, np.inf), y, n_neighbors=6, local=local)
        assert model[-1].scale_ == pytest.approx(expected.scale)
        assert model[-1].leave_one_out_loss_ == pytest.approx(expected.loss)
        expected.n_neighbors = 7  # the transformer finds one more for queries
        np.testing.assert_allclose(model.predict_proba(queries), expected.predict(cdist(queries, X)))


def test_a_row_without_neighbours_is_told(data, rng):
    X, queries = data
    y = label_sets(rng, X)
    D = cdist(X, X)
    D[7] = 0
    with pytest.raises(ValueError, match="A sample has no neighbour at a finite distance"):
        SoftNeighborsClassifier(metric="precomputed").fit(sparse.csr_array(D), y)
    model = SoftNeighborsClassifier(metric="precomputed").fit(cdist(X, X), y)
    of_queries = cdist(queries, X)
    of_queries[3] = 0
    with pytest.raises(ValueError, match="A sample has no neighbour .* Add neighbours to the graph"):
        model.predict(sparse.csr_array(of_queries))


@pytest.mark.parametrize("n_neighbors", [None, 5])
@pytest.mark.parametrize("kind", [sparse.csr_array, sparse.csr_matrix, sparse.csc_array])
def test_sparse_samples_and_labels(kind, n_neighbors, data, rng):
    X, queries = (array * (np.abs(array) > 0.5) for array in data)
    y = label_sets(rng, X)
    expected = SoftNeighborsClassifier(n_neighbors).fit(X, y)
    model = SoftNeighborsClassifier(n_neighbors).fit(kind(X), kind(y))
    np.testing.assert_allclose(model.predict_proba(kind(queries)), expected.predict_proba(queries))


def test_float32_and_lists(data, rng):
    X, queries = data
    y = label_sets(rng, X)
    expected = SoftNeighborsClassifier().fit(X, y).predict_proba(queries)
    single = SoftNeighborsClassifier().fit(X.astype(np.float32), y).predict_proba(queries.astype(np.float32))
    np.testing.assert_allclose(single, expected, atol=1e-5)
    listed = SoftNeighborsClassifier().fit(X.tolist(), y.tolist()).predict_proba(queries.tolist())
    np.testing.assert_array_equal(listed, expected)


def test_names_of_frames(data, rng):
    X, queries = data
    y = label_sets(rng, X)
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    model = SoftNeighborsClassifier().fit(frame, pd.DataFrame(y, columns=["calm", "sad", "glad"]))
    assert model.label_names_.tolist() == ["calm", "sad", "glad"]
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    model.predict(pd.DataFrame(queries, columns=["a", "b", "c"]))
    assert not hasattr(model.fit(frame, y), "label_names_")
    assert SoftNeighborsRegressor().fit(X, pd.DataFrame({"u": X[:, 0]})).label_names_.tolist() == ["u"]


@pytest.mark.parametrize("n_neighbors", [None, 4])
@pytest.mark.parametrize("kind", ["label sets", "distributions", "one number"])
def test_tensors_and_devices(kind, n_neighbors, data, rng):
    X, queries = data
    Estimator, targets, *_ = KINDS[kind]
    y, weights = targets(rng, X), rng.integers(0, 3, 50) + 0.0
    expected = Estimator(n_neighbors).fit(X, y, weights)
    with Accelerator():
        away = Estimator(n_neighbors, device="cuda").fit(X, y, weights)
        np.testing.assert_allclose(outputs(away, queries), outputs(expected, queries), atol=1e-9)
        with config_context(array_api_dispatch=True):
            for place in ("cpu", "cuda"):
                tensors = [torch.as_tensor(array).to(place) for array in (X, y, weights, queries)]
                model = Estimator(n_neighbors).fit(*tensors[:3])
                predicted = outputs(model, tensors[3])
                assert predicted.device.type == place
                assert_close(predicted, outputs(expected, queries))
                assert model.temperature_ == expected.temperature_
                assert model.kneighbors(tensors[3])[1].device.type == place


# Edges


@pytest.mark.parametrize("scale", ["global", "local"])
@pytest.mark.parametrize("d", [1, 3, 30])
def test_places_of_many_samples(scale, d, rng):
    places, where = rng.standard_normal((5, d)) + 1, rng.integers(0, 5, 200)
    y = (rng.random((200, 3)) < [0.2, 0.5, 0.8]).astype(int)
    D = cdist(places, places)[where][:, where]
    model = SoftNeighborsClassifier(scale=scale, temperature=1.0).fit(places[where], y)
    elsewhere = np.median([min(d for d in row if d > 0) ** 2 for row in D])
    assert model.scale_ == pytest.approx(elsewhere)  # not the rounding of distances of 0
    shares = softmax(-(cdist(places, places[where]) ** 2) / elsewhere, axis=1)
    np.testing.assert_allclose(model.predict_proba(places), shares @ y, rtol=1e-9)
    with Accelerator():
        away = SoftNeighborsClassifier(scale=scale, temperature=1.0, device="cuda").fit(places[where], y)
        assert away.scale_ == pytest.approx(elsewhere)
        np.testing.assert_allclose(away.predict_proba(places), shares @ y, rtol=1e-9)


def test_samples_all_alike(rng):
    y = (rng.random((30, 3)) < 0.5).astype(int)
    for X in (np.ones((30, 2)), np.full((30, 7), 0.1)):
        for n_neighbors, scale in ((None, "global"), (None, "local"), (29, "global")):
            model = SoftNeighborsClassifier(n_neighbors, scale=scale).fit(X, y)
            if n_neighbors is None:
                np.testing.assert_allclose(model.predict_proba(X[:2]), [y.mean(0)] * 2)
            loo = [log_loss(y[i], np.delete(y, i, 0).mean(0)) for i in range(30)]
            assert model.leave_one_out_loss_ == pytest.approx(np.mean(loo))


def test_constant_targets(data):
    X, queries = data
    for y in (np.ones((50, 2), dtype=int), np.zeros((50, 2), dtype=int)):
        model = SoftNeighborsClassifier().fit(X, y)
        np.testing.assert_array_equal(model.predict(queries), y[:12])
        np.testing.assert_allclose(model.predict_proba(queries), y[:12])
    only = SoftNeighborsClassifier().fit(X, ["a"] * 50)
    assert only.predict(queries).tolist() == ["a"] * 12
    np.testing.assert_array_equal(only.predict_proba(queries), np.ones((12, 1)))
    np.testing.assert_allclose(SoftNeighborsRegressor().fit(X, np.full(50, 7.0)).predict(queries), 7)
    assert SoftNeighborsRegressor().fit(X, np.full(50, 7.0)).leave_one_out_loss_ == pytest.approx(0)


@pytest.mark.parametrize("n", [2, 3, 8])
@pytest.mark.parametrize("d", [1, 40])
def test_few_samples_of_many_features(n, d, rng):
    X, queries = rng.standard_normal((n, d)), rng.standard_normal((4, d))
    y = rng.random((n, 2))
    assert_is(SoftNeighborsRegressor().fit(X, y), X, queries, Reference(cdist(X, X), y, loss=squared_error))


@pytest.mark.parametrize("unit", [1e-150, 1e-9, 1e9, 1e150])
@pytest.mark.parametrize("scale", ["global", "local"])
@pytest.mark.parametrize("n", [5, 50])
def test_units_of_features_change_nothing(n, scale, unit, data, rng):
    X, queries = data[0][:n], data[1]
    y = X[:, :2] if n == 50 else rng.random((n, 2))
    one, other = (SoftNeighborsRegressor(scale=scale).fit(c * X, y) for c in (1.0, unit))
    assert one.temperature_ == other.temperature_
    assert other.leave_one_out_loss_ == pytest.approx(one.leave_one_out_loss_)
    np.testing.assert_allclose(other.predict(unit * queries), one.predict(queries), rtol=1e-6)


def test_samples_that_cannot_be_squared(data):
    X, queries = data
    y = X[:, 0]
    for n_neighbors in (None, 5):
        for unit, what in [(1e-200, "small"), (1e200, "large")]:
            with pytest.raises(ValueError, match=f"too {what}.* Scale the features first"):
                SoftNeighborsRegressor(n_neighbors).fit(unit * X, y)
        with pytest.raises(ValueError, match=r"too large.* Scale the features first"):
            SoftNeighborsRegressor(n_neighbors).fit(X, y).predict(1e200 * queries)
    near_and_far = np.vstack([1e-160 * X, [[1e10] * 3]])
    assert np.isfinite(SoftNeighborsRegressor().fit(near_and_far, [*y, 3.0]).predict(queries)).all()
    large = SoftNeighborsRegressor().fit(X, 1e200 * y)
    np.testing.assert_allclose(large.predict(queries), 1e200 * SoftNeighborsRegressor().fit(X, y).predict(queries))


def test_ties_and_duplicates(rng):
    X, queries = tied(rng, 60, 10)
    y = label_sets(rng, X)
    model = SoftNeighborsClassifier(temperature=0.5).fit(X, y)
    D2 = cdist(queries, X) ** 2
    np.testing.assert_allclose(model.predict_proba(queries), softmax(-D2 / (0.5 * model.scale_), axis=1) @ y)


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.eye(3), [[0, 2], [1, 0], [0, 1]], "label indicator of 0 and 1, but it holds .*2"),
        (np.eye(3), [[1], [2, 3], [1]], "MultiLabelBinarizer"),
        (np.eye(3), [[0.5, 0.5]] * 3, "label indicator of 0 and 1, but it holds 0.5"),
        (np.eye(3), [0.5, 0.1, 0.2], "Unknown label type"),
        (np.eye(3), [[0, 1], [1, 0]], "inconsistent numbers of samples"),
        (np.full((3, 2), np.nan), [[0, 1]] * 3, "contains NaN"),
        (np.eye(1), [[0, 1]], "minimum of 2 is required"),
    ],
)
def test_bad_input_of_the_classifier(X, y, message):
    with pytest.raises(ValueError, match=message):
        SoftNeighborsClassifier().fit(X, y)


def test_bad_parameters(data):
    X, _ = data
    for options in ({"n_neighbors": 0}, {"temperature": 0}, {"temperature": "hot"}, {"scale": "own"}):
        for Estimator in (SoftNeighborsClassifier, SoftNeighborsRegressor):
            with pytest.raises(ValueError, match="parameter of .* must be"):
                Estimator(**options).fit(X, np.eye(50, dtype=int))
    with pytest.raises(ValueError, match="contains NaN"):
        SoftNeighborsRegressor().fit(np.eye(3), np.array([[None], [0.5], [1]], dtype=object))
    with pytest.warns(UserWarning, match="n_neighbors=50, but there are only 49 training samples"):
        assert SoftNeighborsRegressor(50).fit(X, X).n_neighbors_ == 49


# Dask arrays and pickles


@pytest.mark.parametrize("n_neighbors", [None, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_dask_arrays_are_predicted_block_by_block(kind, n_neighbors, data, rng):
    dask_array = pytest.importorskip("dask.array", reason="needs dask: pip install 'skrelmetric[dask]'")
    X, queries = data
    Estimator, targets, *_ = KINDS[kind]
    asked = []

    def load(block):
        asked.append(len(block))
        return block

    blocks = dask_array.from_array(queries, chunks=(5, 3)).map_blocks(load, dtype=float, meta=np.empty((0, 0)))
    model = Estimator(n_neighbors).fit(X, targets(rng, X))
    for method in ("predict", "predict_proba") if Estimator is SoftNeighborsClassifier else ("predict",):
        expected = getattr(model, method)(queries)
        lazy = getattr(model, method)(blocks)
        assert not asked
        assert (lazy.shape, lazy.dtype) == (expected.shape, expected.dtype)
        computed = lazy.compute()
        close = np.testing.assert_allclose if computed.dtype.kind == "f" else np.testing.assert_array_equal
        close(computed, expected)
        assert sorted(asked) == [2, 5, 5]
        asked.clear()


@pytest.mark.parametrize("kind", KINDS)
def test_pickles_predict_alike(kind, data, rng):
    X, queries = data
    Estimator, targets, *_ = KINDS[kind]
    model = Estimator().fit(X, targets(rng, X))
    expected = model.predict(queries)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(queries), expected)


@pytest.mark.parametrize("model", [SoftNeighborsClassifier(), SoftNeighborsRegressor(scale="local")])
def test_weights_that_vanish_are_no_errors_of_numpy(model, data):
    X, queries = data
    with np.errstate(all="raise"):
        assert np.isfinite(model.fit(X, (X[:, :1] > 0).astype(int)).predict(queries)).all()


def test_precomputed_distances_whose_squares_vanish_are_refused(data):
    D, y = cdist(data[0], data[0]), data[0][:, 0]
    SoftNeighborsRegressor(metric="precomputed").fit(1e-140 * D, y)
    for unit, what in [(1e-170, "small"), (1e170, "large")]:
        with pytest.raises(ValueError, match=f"too {what}"):
            SoftNeighborsRegressor(metric="precomputed").fit(unit * D, y)
