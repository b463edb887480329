"""Kinds of samples, targets and weights."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
import torch
from scipy import sparse
from scipy.spatial.distance import pdist
from sklearn import config_context
from sklearn.base import clone
from sklearn.metrics.pairwise import manhattan_distances
from sklearn.pipeline import make_pipeline
from sklearn.utils.fixes import parse_version
from torch import nn

from skrelmetric import HRAMLTransformer
from skrelmetric.relations import Jeffreys
from tests.deep.problems import KINDS, LINEAR, MLP, SHORT, WHOLE, assert_same_distances

# Samples


@pytest.mark.parametrize("name", KINDS)
def test_float32_stays_float32_and_agrees(samples, name):
    X, Y = samples
    wide, single = (HRAMLTransformer(**KINDS[name]).fit(X.astype(t), Y) for t in (np.float64, np.float32))
    assert single.transform(X.astype(np.float32)).dtype == single.components_.dtype == np.float32
    assert wide.transform(X.astype(np.float32)).dtype == np.float32
    assert wide.transform(X).dtype == single.transform(X).dtype == wide.components_.dtype == np.float64
    assert_same_distances(single.transform(X.astype(np.float32)), wide.transform(X), rtol=1e-4)


@pytest.mark.parametrize("kind", [sparse.csr_array, sparse.csr_matrix, sparse.coo_array])
@pytest.mark.parametrize("name", KINDS)
def test_sparse_samples(samples, name, kind):
    X, Y = samples[0] * (samples[0] > 0), samples[1]
    metric = HRAMLTransformer(**KINDS[name])
    expected = metric.fit(X, Y).transform(X)
    embedding = metric.fit(kind(X), kind(Y)).transform(kind(X))
    assert isinstance(embedding, np.ndarray)
    np.testing.assert_allclose(embedding, expected, atol=1e-9)
    assert metric.fit(kind(X.astype(np.float32)), Y).transform(kind(X.astype(np.float32))).dtype == np.float32


@pytest.mark.parametrize(("make", "output"), [(pd.DataFrame, "pandas"), (pl.DataFrame, "polars")])
def test_data_frames_in_and_out(samples, make, output):
    X, Y = samples
    frame = make({f"x{i}": X[:, i] for i in range(4)})
    metric = HRAMLTransformer(2).set_output(transform=output).fit(frame, make({f"y{i}": Y[:, i] for i in range(3)}))
    transformed = metric.transform(frame)
    assert isinstance(transformed, make)
    assert (
        list(transformed.columns) == list(metric.get_feature_names_out()) == ["hramltransformer0", "hramltransformer1"]
    )
    np.testing.assert_array_equal(transformed.to_numpy(), HRAMLTransformer(2).fit(X, Y).transform(X))


@pytest.mark.parametrize("name", KINDS)
def test_tensors_under_dispatch(samples, name):
    X, Y = map(torch.from_numpy, samples)
    expected = HRAMLTransformer(**KINDS[name]).fit(*samples).transform(samples[0])
    with config_context(array_api_dispatch=True):
        metric = HRAMLTransformer(**KINDS[name]).fit(X, Y)
        embedding = metric.transform(X)
        assert isinstance(embedding, torch.Tensor)
        assert isinstance(metric.components_, torch.Tensor)
        assert torch.equal(pickle.loads(pickle.dumps(metric)).transform(X), embedding)
        if parse_version(sklearn.__version__) >= parse_version("1.9"):  # earlier ones do not tell arrays apart
            with pytest.raises(ValueError, match="same namespace"):
                metric.transform(samples[0])
    np.testing.assert_array_equal(embedding, expected)
    assert isinstance(HRAMLTransformer(**KINDS[name]).fit(X, Y).transform(X), np.ndarray)


@pytest.mark.parametrize("name", KINDS)
def test_transform_of_one_sample_and_layouts(samples, name):
    X, Y = samples
    metric = HRAMLTransformer(**KINDS[name]).fit(X, Y)
    expected = metric.transform(X)
    np.testing.assert_allclose(metric.transform(X[:1]), expected[:1], atol=1e-12)
    read_only = X.copy()
    read_only.flags.writeable = False
    for layout in (np.asfortranarray(X), np.ascontiguousarray(X[::-1])[::-1], read_only, X.tolist()):
        np.testing.assert_allclose(metric.transform(layout), expected, atol=1e-12)
        refitted = clone(metric).fit(layout, Y)
        np.testing.assert_allclose(refitted.transform(X), expected, atol=1e-9)
    with pytest.raises(ValueError, match="X has 3 features, but HRAMLTransformer is expecting 4"):
        metric.transform(X[:, :3])


def test_input_is_left_alone(samples):
    X, Y = samples
    before = X.copy(), Y.copy()
    for parameters in KINDS.values():
        HRAMLTransformer(**parameters).fit(X, Y).partial_fit(X, Y).transform(X)
    np.testing.assert_array_equal(X, before[0])
    np.testing.assert_array_equal(Y, before[1])


# Fit and embedding at once


class Counted(nn.Linear):
    """Layer that counts the samples that it sees."""

    n_seen = 0

    def forward(self, X):
        Counted.n_seen += len(X)
        return super().forward(X)


def as_float32(X):
    return X.astype(np.float32)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("make", [np.asarray, as_float32, sparse.csr_array])
@pytest.mark.parametrize("name", KINDS)
def test_fit_transform_is_fit_and_transform(samples, name, make, weighted, rng):
    X, Y, p = make(samples[0]), samples[1], rng.random(60) if weighted else None
    metric, expected = HRAMLTransformer(**KINDS[name]), HRAMLTransformer(**KINDS[name]).fit(X, Y, p)
    embedding = metric.fit_transform(X, Y, sample_weight=p)
    assert type(embedding) is np.ndarray
    assert embedding.dtype == X.dtype
    np.testing.assert_allclose(embedding, expected.transform(X), atol=1e-5 if make is as_float32 else 1e-12)
    np.testing.assert_allclose(metric.transform(X), expected.transform(X), atol=1e-12)
    assert set(vars(metric)) == set(vars(expected))


def test_fit_transform_in_single_precision(rng):
    X = rng.standard_normal((2100, 5))
    metric = HRAMLTransformer()
    embedding = metric.fit_transform(X, X[:, 0] > 0)
    assert embedding.dtype == np.float64
    assert metric.components_.dtype == np.float32
    np.testing.assert_allclose(embedding, metric.transform(X), atol=1e-5)


def test_fit_transform_of_samples_that_do_not_count(samples):
    X, Y = samples[0], samples[1].astype(float)
    metric, weights = HRAMLTransformer(), np.arange(60) % 3
    np.testing.assert_array_equal(metric.fit_transform(X, Y, weights), metric.transform(X))
    Y[:4] = np.nan
    np.testing.assert_array_equal(metric.fit_transform(X, Y), metric.transform(X))


def test_fit_transform_of_tensors_and_frames(samples):
    X, Y = map(torch.from_numpy, samples)
    with config_context(array_api_dispatch=True):
        metric = HRAMLTransformer(2)
        embedding = metric.fit_transform(X, Y)
        assert isinstance(embedding, torch.Tensor)
        torch.testing.assert_close(embedding, metric.transform(X))
    frame = pd.DataFrame(samples[0], index=range(5, 65))
    metric = HRAMLTransformer(2).set_output(transform="pandas")
    pd.testing.assert_frame_equal(metric.fit_transform(frame, samples[1]), metric.transform(frame))


def test_fit_transform_computes_features_once(samples):
    X, Y = samples
    counts = []
    for method in ("fit", "fit_transform"):
        Counted.n_seen = 0
        getattr(HRAMLTransformer(encoder=Counted(4, 3), **SHORT, **WHOLE, random_state=0), method)(X, Y)
        counts.append(Counted.n_seen)
    assert counts[0] == counts[1]


def test_fit_transform_of_validation_samples_and_routed_weights(samples, rng):
    X, Y = samples
    metric = HRAMLTransformer(**KINDS["ridge"])
    embedding = metric.fit_transform(X, Y, X_val=X[:9], y_val=Y[:9])
    np.testing.assert_allclose(embedding, metric.transform(X), atol=1e-5)
    weights = rng.random(60)
    expected = HRAMLTransformer().fit(X, Y, weights).transform(X)
    with config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(HRAMLTransformer().set_fit_request(sample_weight=True), "passthrough")
        embedding = pipeline.fit_transform(X, Y, sample_weight=weights)
    np.testing.assert_allclose(embedding, expected, atol=1e-12)


# Small and degenerate


@pytest.mark.parametrize(
    "parameters", [{}, {"encoder": "tanh"}, {**MLP, **SHORT, **WHOLE}, {**LINEAR, **SHORT, **WHOLE}]
)
@pytest.mark.parametrize(
    "X",
    [
        [[0.0, 1.0], [1.0, 5.0]],  # two samples
        [[0.0], [1.0], [3.0]],  # one feature
        np.eye(3, 10),  # more features than samples
        [[0.0, 7.0], [1.0, 7.0], [2.0, 7.0]],  # a constant feature
        [[0.0, 0.1], [1.0, 0.1], [2.0, 0.1], [4.0, 0.1]],  # one whose mean is rounded
        [[0.0, 1.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]],  # duplicates
        [[0.0, 1e-9], [1e9, 0.0], [-1e9, 2e-9], [1e9, 1e-9]],  # of many scales
    ],
)
def test_small_and_degenerate_samples_have_finite_embeddings(X, parameters):
    X = np.asarray(X)
    metric = HRAMLTransformer(**parameters).fit(X, X[:, 0] > X[:, 0].mean())
    assert np.isfinite(metric.transform(X)).all()
    assert np.isfinite(metric.transform(X + 1)).all()
    assert np.isfinite(metric.offset_)


@pytest.mark.parametrize("c", [1e-100, 1e-3, 1e3, 1e100])
@pytest.mark.parametrize("encoder", ["laplacian", "tanh"])
def test_chosen_features_are_free_of_scale(samples, encoder, c):
    X, Y = samples
    one, scaled = HRAMLTransformer(encoder=encoder).fit(X, Y), HRAMLTransformer(encoder=encoder).fit(c * X, Y)
    assert_same_distances(scaled.transform(c * X), one.transform(X))


# Targets and weights


def test_targets_of_any_kind(samples):
    X, y = samples[0], samples[1][:, 0]
    expected = HRAMLTransformer().fit(X, y).transform(X)
    for classes in (np.where(y, "yes", "no"), np.where(y, "yes", "no").tolist(), y.astype(bool)):
        np.testing.assert_allclose(HRAMLTransformer().fit(X, classes).transform(X), expected, atol=1e-12)
    words = np.where(y, "yes", "no")
    metric = HRAMLTransformer(**MLP, **SHORT).fit(X, words, X_val=X[:9], y_val=words[:9])
    assert len(metric.validation_curve_) == 4
    numbers = HRAMLTransformer(relation="l1").fit(X, X[:, 0])
    np.testing.assert_array_equal(HRAMLTransformer().fit(X, X[:, 0]).transform(X), numbers.transform(X))


@pytest.mark.parametrize("parameters", [{}, {**MLP, **SHORT}, {**LINEAR, **SHORT, "pairs": 100}])
def test_relations(samples, parameters):
    X = samples[0]
    D = np.exp(X) / np.exp(X).sum(1, keepdims=True)
    by_name, by_function = (
        HRAMLTransformer(**parameters, relation=relation).fit(X, D) for relation in ("l1", manhattan_distances)
    )
    np.testing.assert_allclose(by_function.transform(X), by_name.transform(X), atol=1e-6)
    by_name, by_object = (
        HRAMLTransformer(**parameters, relation=relation).fit(X, D) for relation in ("jeffreys", Jeffreys())
    )
    np.testing.assert_allclose(by_object.transform(X), by_name.transform(X), atol=1e-9)


@pytest.mark.parametrize(
    "parameters", [{}, {"encoder": "tanh"}, {**MLP, **WHOLE, **SHORT}, {**LINEAR, **WHOLE, **SHORT}]
)
def test_weights_are_repetition_and_removal(samples, parameters):
    X, Y = samples
    times = np.arange(60) % 3
    times[0] = 1  # so that no quantile is a tie
    repeated = np.repeat(np.arange(60), times)
    weighted = HRAMLTransformer(**parameters).fit(X, Y, sample_weight=times)
    literal = HRAMLTransformer(**parameters).fit(X[repeated], Y[repeated])
    assert_same_distances(weighted.transform(X), literal.transform(X), rtol=1e-9 if "head" in parameters else 1e-3)
    some = times > 0
    removed = HRAMLTransformer(**parameters).fit(X, Y, some / 7)
    kept = HRAMLTransformer(**parameters).fit(X[some], Y[some])
    np.testing.assert_allclose(removed.transform(X), kept.transform(X), atol=1e-9)


def test_repetition_where_quantiles_tie(samples):
    X, Y = samples
    times = np.arange(60) % 3
    weighted, literal = (
        HRAMLTransformer(encoder="tanh").fit(X, Y, times),
        HRAMLTransformer(encoder="tanh").fit(np.repeat(X, times, 0), np.repeat(Y, times, 0)),
    )
    assert_same_distances(weighted.transform(X), literal.transform(X), rtol=1e-3)


@pytest.mark.parametrize("parameters", [{}, {**MLP, **SHORT}, {**LINEAR, **SHORT, "pairs": 100}])
def test_missing_labels(samples, parameters):
    X, Y = samples[0], samples[1].astype(float)
    Y[10:20, 0] = np.nan
    Y[:4] = np.nan
    metric = HRAMLTransformer(**parameters).fit(X, Y)
    expected = HRAMLTransformer(**parameters).fit(X[4:], Y[4:])
    np.testing.assert_allclose(metric.transform(X), expected.transform(X), atol=1e-9)
    filled = clone(metric).fit(X[4:], np.nan_to_num(Y[4:]))
    assert np.abs(pdist(filled.transform(X)) - pdist(metric.transform(X))).max() > 1e-6
