"""Rivals that predict, most by packages of others: what they fit, and what they say where a package is missing."""

import random
import sys

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.multioutput import ClassifierChain

from benchmarks.compare import runs
from benchmarks.compare.cells import OFFICIAL, Settings, cells
from benchmarks.data.sources import DATASETS
from benchmarks.rivals._constant import columns_of
from benchmarks.rivals.boomer import Boomer
from benchmarks.rivals.catboost import CatBoostClassifier, CatBoostRegressor
from benchmarks.rivals.chains import ClassifierChains
from benchmarks.rivals.pyldl import LabelDistributionLearner
from tests.benchmarks.comparison import EMOTIONS


@pytest.fixture
def samples(rng):
    """Samples and two label sets of them, which are nearly linear."""
    X = rng.normal(size=(80, 3))
    return X, (X[:, :2] + 0.1 * rng.normal(size=(80, 2)) > 0).astype(int)


@pytest.fixture
def constant(samples):
    """The same between a label that all have and one that none has."""
    X, Y = samples
    return X, np.column_stack([np.ones(80, int), Y, np.zeros(80, int)])


def test_constant_columns_come_back_in_their_places():
    Y = np.array([[1, 0.5, 7], [1, 0.25, 7]])
    columns = columns_of(Y)
    assert columns.varying.tolist() == [False, True, False]
    assert columns.completed(np.array([[0.1], [0.2], [0.3]])).tolist() == [[1, 0.1, 7], [1, 0.2, 7], [1, 0.3, 7]]


# CatBoost


def test_catboost_of_label_sets_and_classes(samples, constant):
    pytest.importorskip("catboost", reason="needs CatBoost: pip install 'skrelmetric[rivals]'")
    for X, Y in (samples, constant, (samples[0], constant[1][:, :2])):
        model = CatBoostClassifier(30).fit(X, Y)
        assert model.predict_proba(X).shape == Y.shape
        np.testing.assert_array_equal(model.predict(X), model.predict_proba(X) > 0.5)
        assert (model.predict(X) == Y).mean() > 0.9
    alike = np.tile([1, 0], (80, 1))
    np.testing.assert_array_equal(CatBoostClassifier().fit(X, alike).predict(X), alike)
    for names in (np.array(["a", "b", "c"])[samples[1].sum(axis=1)], samples[1][:, 0]):
        model = CatBoostClassifier(30).fit(X, names)
        assert model.predict(X).shape == names.shape
        assert (model.predict(X) == names).mean() > 0.9
        np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1)


@pytest.mark.parametrize("loss", ["MultiRMSE", "MultiCrossEntropy"])
def test_catboost_of_numbers(samples, loss):
    pytest.importorskip("catboost", reason="needs CatBoost: pip install 'skrelmetric[rivals]'")
    X, _ = samples
    Y = np.column_stack([1 / (1 + np.exp(-3 * X[:, :2])), np.full(80, 0.25)])
    for y in (Y, Y[:, :1], Y[:, 0]):
        predicted = CatBoostRegressor(300, loss=loss).fit(X, y).predict(X)
        assert predicted.shape == y.shape
        assert np.abs(predicted - y).mean() < 0.2 * np.abs(y - y.mean()).mean() + 0.05
    np.testing.assert_array_equal(CatBoostRegressor(5, loss=loss).fit(X, Y).predict(X)[:, 2], Y[:, 2])


def test_catboost_writes_no_files_and_repeats(samples, tmp_path, monkeypatch):
    pytest.importorskip("catboost", reason="needs CatBoost: pip install 'skrelmetric[rivals]'")
    monkeypatch.chdir(tmp_path)
    one, again, other = (
        CatBoostClassifier(9, random_state=s).fit(*samples).predict_proba(samples[0]) for s in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
    assert not list(tmp_path.iterdir())


# BOOMER


def test_boomer(samples, constant):
    pytest.importorskip(
        "mlrl.boosting", reason="needs an environment of its own: pip install 'skrelmetric[bench,boomer]'"
    )
    for X, Y in (samples, constant):
        model = Boomer().fit(X, Y)
        assert model.predict_proba(X).shape == model.predict(X).shape == Y.shape
        assert (model.predict(X) == Y).mean() > 0.9
        assert ((model.predict_proba(X) > 0.5) == Y).mean() > 0.9


# Classifier chains


def test_chains_are_those_of_scikit_learn(samples, constant):
    X, Y = samples
    model = ClassifierChains(LogisticRegression(), n_chains=6, random_state=0).fit(X, Y)
    assert {tuple(chain.order_) for chain in model.chains_} == {(0, 1), (1, 0)}
    expected = [
        ClassifierChain(LogisticRegression(), order=list(chain.order_)).fit(X, Y).predict_proba(X)
        for chain in model.chains_
    ]
    np.testing.assert_allclose(model.predict_proba(X), np.mean(expected, axis=0))
    np.testing.assert_array_equal(model.predict(X), model.predict_proba(X) > 0.5)
    wider = ClassifierChains(LogisticRegression(), n_chains=6, random_state=0).fit(*constant)
    np.testing.assert_array_equal(wider.predict_proba(X)[:, 1:3], model.predict_proba(X))
    np.testing.assert_array_equal(wider.predict(X)[:, [0, 3]], constant[1][:, [0, 3]])
    alike = np.tile([1, 0], (80, 1))
    np.testing.assert_array_equal(ClassifierChains(LogisticRegression()).fit(X, alike).predict(X), alike)


# PyLDL


@pytest.mark.parametrize(("algorithm", "options"), [("SA_BFGS", None), ("LDLF", {"epochs": 150}), ("LDL_LRR", None)])
def test_pyldl_leaves_generators_alone(samples, algorithm, options):
    pytest.importorskip("pyldl", reason="needs PyLDL: pip install 'skrelmetric[ldl]'")
    X, _ = samples
    scores = np.exp(X)
    D = scores / scores.sum(axis=1, keepdims=True)

    def states():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002

    before = states()
    model = LabelDistributionLearner(algorithm, fit_options=options)
    predicted = [model.fit(X[:60], D[:60]).predict(X[60:]) for _ in range(2)]
    assert states() == before
    np.testing.assert_array_equal(*predicted)
    assert predicted[0].shape == (20, 3)
    np.testing.assert_allclose(predicted[0].sum(axis=1), 1, rtol=1e-5)
    assert np.abs(predicted[0] - D[60:]).mean() < 0.8 * np.abs(D[60:] - D[:60].mean(axis=0)).mean()


# Packages that are missing


@pytest.mark.parametrize(
    ("package", "dataset", "method", "command"),
    [
        ("catboost", "emotions", "CatBoost", r"pip install 'skrelmetric\[rivals\]'"),
        ("catboost", "wine", "CatBoost", r"pip install 'skrelmetric\[rivals\]'"),
        ("mlrl", "emotions", "BOOMER", r"pip install 'skrelmetric\[bench,boomer\]' in an environment of its own"),
    ],
)
def test_rows_say_which_package_is_missing(package, dataset, method, command, monkeypatch):
    for module in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    source = DATASETS[dataset]
    settings = Settings(OFFICIAL, 1) if source is EMOTIONS else Settings(2, 1)
    record = runs.run_cell(cells(source, [method], settings)[0])
    assert record["method"] == method
    with pytest.raises(ImportError, match=command):
        raise ImportError(record["error"].removeprefix("ImportError: "))


def test_pyldl_is_missing(samples, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyldl", None)
    monkeypatch.setitem(sys.modules, "pyldl.algorithms", None)
    with pytest.raises(ImportError, match=r"pip install 'skrelmetric\[ldl\]'"):
        LabelDistributionLearner("SA_BFGS").fit(samples[0], samples[0])
