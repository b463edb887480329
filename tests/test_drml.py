"""The estimator of deep relational metric learning."""

import pickle
import warnings
from contextlib import nullcontext
from copy import deepcopy

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from torch import nn
from torch.utils.data import TensorDataset

from skrelmetric import DRMLTransformer, MLkNN, drml
from skrelmetric._drml.training import Training, Validation
from skrelmetric.losses import LOSSES, ProxyAnchor
from skrelmetric.metrics import mean_average_precision_at_r
from skrelmetric.relations import GivenPairs, make_relation


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(n_class=6, return_X_y=True)
    return (X[:300] / 16).astype(np.float32), y[:300]


def quick(**options):
    return DRMLTransformer(**{"n_components": 16, "max_epochs": 3, "random_state": 0, **options})


@pytest.mark.parametrize("relational", [True, False])
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_with_and_without_relations(loss, relational, digits):
    model = quick(loss=loss, relational=relational, early_stopping=False).fit(*digits)
    Z = model.transform(digits[0])
    assert Z.shape == (300, 16)
    np.testing.assert_allclose(np.linalg.norm(Z, axis=1), 1, rtol=1e-5)
    assert model.n_iter_ == len(model.loss_curve_) == 3


@pytest.mark.parametrize("relational", [True, False])
def test_before_training_the_embedding_is_that_of_principal_components(relational, digits):
    X, y = digits
    options = {"relational": relational, "normalize_nodes": False, "normalize": False, "max_epochs": 1}
    steps = {"learning_rate": 1e-30, "loss_learning_rate": 1e-30, "weight_decay": 0.0}
    Z = quick(**options, **steps, early_stopping=False).fit(X, y).transform(X)
    ratios = cdist(Z, Z)[np.triu_indices(300, 1)] / cdist(*[PCA(16).fit_transform(X)] * 2)[np.triu_indices(300, 1)]
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-3)
    drawn = quick(init="random", **options, **steps, early_stopping=False).fit(X, y).transform(X)
    assert np.abs(drawn - Z).max() > 0.1


@pytest.mark.parametrize("options", [{}, {"relational": False}, {"split_features": True}], ids=str)
def test_samples_too_small_for_directions_are_warned_of(options, digits):
    X, y = digits
    with pytest.warns(UserWarning, match=r"differ by .*e-15 at most, too little.*StandardScaler"):
        quick(**options).fit(1e-14 * X, y)
    with warnings.catch_warnings(action="error", category=UserWarning):
        quick(**options, early_stopping=False).fit(1e-9 * X, y)
        quick(**options, early_stopping=False).fit(np.zeros_like(X), y)  # which all learners take


def test_training_on_small_classes_does_no_harm(rng):
    y = np.repeat(np.arange(40), 8)
    X = rng.standard_normal((40, 60))[y] + 1.2 * rng.standard_normal((320, 60))
    X = X @ np.linalg.qr(rng.standard_normal((200, 60)))[0].T  # sixty of 200 directions
    train = np.arange(320) % 8 < 6
    precisions = {}
    for init in ("pca", "random"):
        Z = DRMLTransformer(64, init=init, random_state=0).fit(X[train], y[train]).transform(X[~train])
        precisions[init] = mean_average_precision_at_r(Z, y[~train])
    raw = mean_average_precision_at_r(X[~train], y[~train])
    assert precisions["pca"] > max(raw - 0.02, precisions["random"])


def test_training_lowers_the_loss_and_separates_classes(rng):
    y = rng.integers(4, size=200)
    X = rng.standard_normal((200, 20))
    X[:, :4] += 1.5 * np.eye(4)[y]  # four of the features tell the classes apart
    train, test = slice(100), slice(100, 200)
    model = DRMLTransformer(16, early_stopping=False, max_epochs=30, random_state=0).fit(X[train], y[train])
    assert model.loss_curve_[-1] < 0.7 * model.loss_curve_[0]
    plain = KNeighborsClassifier().fit(X[train], y[train]).score(X[test], y[test])
    learned = KNeighborsClassifier().fit(model.transform(X[train]), y[train])
    assert learned.score(model.transform(X[test]), y[test]) > plain


@pytest.mark.parametrize(
    "options",
    [
        {"n_branches": 1},
        {"n_branches": 16},
        {"split_features": True},
        {"stop_gradient": True},
        {"normalize_nodes": False},
        {"reconstruction": "mse"},
        {"score_activation": "softmax"},
        {"assignment": "balanced"},
        {"assignment": "all"},
        {"output": "nodes"},
        {"normalize": False},
        {"samples_per_class": 4, "loss": "triplet"},
        {"hidden_layer_sizes": (32,)},
        {"embedding_loss": "cosface"},
        {"loss": ProxyAnchor(margin=0.2)},
        {"hold_out": "classes", "validation_fraction": 0.4},
        {"optimizer": "sgd"},
        {"mixed_precision": True},
        DRMLTransformer.PUBLISHED,
        DRMLTransformer.RELEASED,
    ],
    ids=str,
)
def test_options(options, digits):
    model = quick(**options).fit(*digits)
    assert np.isfinite(model.transform(digits[0])).all()
    assert len(model.validation_curve_) == model.n_iter_ + 1


@pytest.mark.parametrize("loss", ["proxy_anchor", "triplet", "cosface", "margin"])
def test_label_sets_distributions_and_missing_labels(loss, rng):
    X = rng.standard_normal((80, 6))
    Y = (X @ rng.standard_normal((6, 4)) > 0).astype(float)
    gaps = np.where(rng.random(Y.shape) < 0.1, np.nan, Y)
    for target in (Y.astype(int), gaps, rng.dirichlet(np.ones(4), 80)):
        assert np.isfinite(quick(loss=loss).fit(X, target).transform(X)).all()


def test_numbers_have_pairs_but_no_proxies(rng):
    X = rng.standard_normal((60, 3))
    assert quick(loss="triplet").fit(X, X[:, 0] + 0.5).transform(X).shape == (60, 16)
    with pytest.raises(ValueError, match="Use a loss of pairs"):
        quick().fit(X, X[:, 0] + 0.5)


def test_images_and_a_trunk_of_ones_own(digits):
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
    before = deepcopy(trunk.state_dict())
    images = digits[0].reshape(-1, 1, 8, 8)
    model = quick(trunk=trunk).fit(images, digits[1])
    assert model.transform(images).shape == (300, 16)
    assert all(torch.equal(value, before[name]) for name, value in trunk.state_dict().items())
    one = model.transform(images[:1])
    np.testing.assert_allclose(one, model.transform(images)[:1], atol=1e-5)


def test_callables_get_targets_as_they_came(rng):
    X, gaps = rng.standard_normal((30, 3)), np.array([[0.25, np.nan], [3.0, -1.0]])
    for y, expected in (
        (np.array(["b", "a"]), [1, 0]),
        (np.array([0.25, -3.5]), [[0.25], [-3.5]]),
        (gaps, gaps),
    ):
        seen = []

        def loss(Z, targets, seen=seen):
            seen.extend(targets.tolist())
            return Z.square().sum()

        y = y[np.arange(30) % 2]
        quick(loss=loss, relational=False, early_stopping=False, max_epochs=1, trunk=None).fit(X, y)
        rows = {str(row) for row in seen}
        assert rows == {str(row) for row in np.asarray(expected).tolist()}


def test_callables_and_losses_of_pytorch_metric_learning(digits):
    from pytorch_metric_learning.losses import ContrastiveLoss

    def spread(Z, y):
        return (Z - Z.mean(0)).square().sum() + 0 * y.sum()

    for loss in (spread, ContrastiveLoss()):
        for relational in (True, False):
            assert np.isfinite(quick(loss=loss, relational=relational).fit(*digits).transform(digits[0])).all()


def test_the_same_seed_gives_the_same_and_leaves_torch_alone(digits):
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    first = quick(loss="margin").fit(*digits).transform(digits[0])
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(6)
    np.testing.assert_array_equal(quick(loss="margin").fit(*digits).transform(digits[0]), first)
    assert not np.array_equal(quick(loss="margin", random_state=1).fit(*digits).transform(digits[0]), first)


class Interrupted(Exception):  # noqa: N818
    pass


def test_an_interrupted_fit_resumes_to_the_same_end(digits, tmp_path, monkeypatch):
    options = {"loss": "margin", "hidden_layer_sizes": (16,), "max_epochs": 4}
    whole = quick(**options).fit(*digits)
    run_epoch = Training.run_epoch

    def interrupted(self, epoch, optimizer):
        if epoch == 2:
            raise Interrupted
        return run_epoch(self, epoch, optimizer)

    resumed = quick(**options, checkpoint=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Training, "run_epoch", interrupted)
        with pytest.raises(Interrupted):
            resumed.fit(*digits)
    assert len(list(tmp_path.iterdir())) == 1
    resumed.fit(*digits)
    assert resumed.loss_curve_ == whole.loss_curve_
    np.testing.assert_array_equal(resumed.transform(digits[0]), whole.transform(digits[0]))


def test_the_best_weights_return(digits):
    model = quick(learning_rate=1.0, max_epochs=6, n_iter_no_change=3).fit(*digits)
    assert model.validation_curve_[model.best_epoch_] == min(model.validation_curve_)


def test_held_out_classes_are_never_trained_on(digits, monkeypatch):
    seen = []
    original = Training._step

    def step(self, rows, x, generator, optimizer):
        seen.extend(self.samples.places[rows].tolist())
        return original(self, rows, x, generator, optimizer)

    monkeypatch.setattr(Training, "_step", step)
    quick(hold_out="classes", validation_fraction=0.34).fit(*digits)
    assert len(set(digits[1][seen])) == 4


def test_neighbours_among_training_samples_judge_given_samples(digits):
    X, y = digits
    model = quick().fit(X[:200], y[:200], X_val=X[200:], y_val=y[200:])
    queries, Z = model.transform(X[200:]), model.transform(X[:200])
    nearest = cdist(queries, Z).argsort(1)[:, :10]
    expected = (y[:200][nearest] != y[200:, None]).mean()
    assert model.validation_curve_[model.best_epoch_] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("scores", "warns"), [([0.5, 0.7, 0.6, 0.5], True), ([0.5, 0.7, 0.4, 0.6], False)])
def test_a_training_that_improves_on_nothing_says_so(scores, warns, digits, monkeypatch):
    scores = iter(scores)
    monkeypatch.setattr(Validation, "error", lambda *args: next(scores))
    says = pytest.warns(ConvergenceWarning, match="weights before training were kept") if warns else nullcontext()
    with says:
        model = quick().fit(*digits)
    assert (model.best_epoch_ == 0) == warns


def test_retrieval_among_given_classes_judges(digits):
    X, y = digits
    seen = y < 4
    model = quick(hold_out="classes").fit(X[seen], y[seen], X_val=X[~seen], y_val=y[~seen])
    expected = 1 - mean_average_precision_at_r(model.transform(X[~seen]), y[~seen])
    assert model.validation_curve_[model.best_epoch_] == pytest.approx(expected, abs=1e-6)


def test_label_sets_are_judged_by_the_relation_of_pairs(rng):
    X = rng.standard_normal((60, 5))
    Y = (X @ rng.standard_normal((5, 4)) > 0).astype(int)
    options = {"max_epochs": 1, "loss": "triplet"}
    curves = [
        quick(**options, relation=relation).fit(X[:40], Y[:40], X_val=X[40:], y_val=Y[40:]).validation_curve_
        for relation in ("auto", "jaccard", "hamming")
    ]
    assert curves[0] == curves[1] != curves[2]


def test_validation_samples_are_checked(digits):
    X, y = digits
    with pytest.raises(ValueError, match="both X_val and y_val"):
        quick().fit(X, y, X_val=X)
    with pytest.raises(ValueError, match="early_stopping=False judges none"):
        quick(early_stopping=False).fit(X, y, X_val=X, y_val=y)
    with pytest.raises(ValueError, match="features"):
        quick().fit(X, y, X_val=X[:, 1:], y_val=y)
    each_once = np.unique(y, return_index=True)[1]
    with pytest.raises(ValueError, match="two validation samples of one class"):
        quick(hold_out="classes").fit(X, y, X_val=X[each_once], y_val=y[each_once])
    with pytest.raises(ValueError, match="two validation samples of one class"):
        quick(hold_out="classes").fit(X[:40], np.arange(40))
    with pytest.raises(ValueError, match="leaves 0 of 1 classes for training"):
        quick(hold_out="classes").fit(X, np.zeros(len(X), dtype=int))


def test_no_batch_is_of_a_single_sample(rng):
    trunk = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))  # refuses to normalise one sample
    X = rng.standard_normal((5, 3))
    for n_samples in (2, 3, 5):
        model = quick(trunk=trunk, batch_size=2, early_stopping=False, loss="triplet")
        assert np.isfinite(model.fit(X[:n_samples], np.arange(n_samples) % 2).transform(X)).all()


def test_names_of_components_are_those_fitted(digits):
    model = quick().fit(*digits).set_params(n_components=8)
    assert len(model.get_feature_names_out()) == model.transform(digits[0]).shape[1] == 16


def test_pickle_clone_warm_start_and_grid_search(digits):
    X, y = digits
    model = quick().fit(X, y)
    for copy in (pickle.loads(pickle.dumps(model)), deepcopy(model)):
        np.testing.assert_array_equal(copy.transform(X), model.transform(X))
    before = model.transform(X)
    warm = clone(model).set_params(warm_start=True).fit(X, y)
    first = deepcopy(warm)
    warm.set_params(max_epochs=1, learning_rate=1e-12, early_stopping=False).fit(X, y)
    np.testing.assert_allclose(warm.transform(X), first.transform(X), atol=1e-4)
    np.testing.assert_array_equal(model.transform(X), before)
    for changed in ({"n_components": 8}, {"n_branches": 2}, {"relational": False}):
        with pytest.raises(ValueError, match="has changed since the last fit"):
            deepcopy(warm).set_params(**changed).fit(X, y)
    assert not np.allclose(np.linalg.norm(warm.set_params(normalize=False).fit(X, y).transform(X), axis=1), 1)
    grid = {"drmltransformer__n_branches": [1, 2]}
    search = GridSearchCV(make_pipeline(quick(), KNeighborsClassifier()), grid, cv=2).fit(X, y)
    assert search.best_score_ > 0.5
    Y = np.eye(6, dtype=int)[y]
    assert make_pipeline(quick(), MLkNN()).fit(X, Y).predict(X).shape == Y.shape


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "options",
    [
        {"hidden_layer_sizes": (8,), "activation": "gelu", "score_activation": "softmax"},
        {"trunk": nn.Linear(64, 8), "output": "embedding"},
    ],
)
def test_onnx_gives_the_same(options, dtype, digits, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    X, y = digits[0].astype(np.float64), digits[1]
    model = quick(**options).fit(X, y)
    model.export_onnx(tmp_path / "metric.onnx", dtype=dtype)
    session = onnxruntime.InferenceSession(tmp_path / "metric.onnx")
    exact = dtype == "float64" and "trunk" not in options  # a trunk is in single precision
    for rows in (X, X[:1]):
        (embedding,) = session.run(None, {"X": rows.astype(dtype)})
        assert embedding.dtype == dtype
        np.testing.assert_allclose(embedding, model.transform(rows), rtol=0, atol=1e-13 if exact else 1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_components": 10, "n_branches": 4}, "n_components=10 cannot be shared out among n_branches=4"),
        ({"split_features": True, "n_branches": 3, "n_components": 9}, "64 inputs cannot be shared out"),
        ({"samples_per_class": 41}, "samples_per_class=41 leaves no room for two classes in batch_size=80. Pass 40"),
        ({"warm_start": True, "checkpoint": "."}, "Pass one of them only"),
        ({"hidden_layer_sizes": (0,)}, "must hold whole numbers above 0"),
        ({"loss": "proxy"}, "The 'loss' parameter"),
        ({"loss": ProxyAnchor}, "loss=ProxyAnchor is a class"),
        ({"pair_thresholds": (1.0, 0.0)}, "the larger one last"),
        ({"validation_fraction": 0.999}, "leaves 0 of 300 samples for training"),
        ({"trunk": nn.Linear(64, 4).half()}, "Use trunk.float"),
    ],
)
def test_what_does_not_go_together_is_refused(options, message, digits):
    with pytest.raises(ValueError, match=message):
        quick(**options).fit(*digits)


def test_more_that_is_refused(digits, rng):
    X, y = digits
    with pytest.raises(NotFittedError):
        quick().transform(X)
    Y = (rng.random((300, 3)) > 0.5).astype(int)
    with pytest.raises(ValueError, match="hold_out='classes' needs one class a sample"):
        quick(hold_out="classes").fit(X, Y)
    with pytest.raises(ValueError, match="samples_per_class needs one class a sample"):
        quick(samples_per_class=4).fit(X, Y)
    with pytest.raises(ValueError, match="requires y to be passed"):
        quick().fit(X, None)
    with pytest.raises(FloatingPointError, match="loss became"):
        quick(learning_rate=1e30, optimizer="sgd", loss="contrastive", early_stopping=False).fit(X * 1e18, y)


class InPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 8)

    def forward(self, x):
        x -= 0.5
        return self.layer(x.relu_())


def test_trunks_that_work_in_place_leave_the_samples_alone(digits):
    X, y = digits
    before = X.copy()
    model = quick(trunk=InPlace()).fit(X, y, X_val=X[:50], y_val=y[:50])
    first = model.transform(X)
    np.testing.assert_array_equal(X, before)
    np.testing.assert_array_equal(model.transform(X), first)


def test_a_warm_start_reads_the_method_as_it_is_told(digits):
    model = quick(warm_start=True).fit(*digits)
    changed = {"stop_gradient": True, "normalize_nodes": False, "reconstruction": "mse", "score_activation": "softmax"}
    head = model.set_params(**changed).fit(*digits).encoder_.head
    read = {name.removesuffix("_activation"): value for name, value in changed.items()}
    assert {name: getattr(head, name) for name in read} == read
    with pytest.raises(ValueError, match="split_features"):
        model.set_params(split_features=True).fit(*digits)


class Classifier(nn.Module):
    def __init__(self, width):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(width, 6)

    def forward(self, Z, y):
        return nn.functional.cross_entropy(self.layer(Z), y)


def test_losses_that_are_modules_learn_in_the_dtype_of_the_samples(digits):
    X, y = digits
    before = Classifier(4)
    for dtype in (np.float32, np.float64):
        losses = {"loss": Classifier(4), "embedding_loss": Classifier(16)}
        model = quick(**losses, max_epochs=5, early_stopping=False).fit(X.astype(dtype), y)
        assert model.loss_curve_[-1] < model.loss_curve_[0]
        assert torch.equal(losses["loss"].layer.weight, before.layer.weight)


class Single(nn.Module):
    def forward(self, x):
        return x.float()


def test_a_trunk_may_return_another_dtype(digits):
    X, y = digits
    assert quick(trunk=Single()).fit(X.astype(np.float64), y).transform(X.astype(np.float64)).dtype == np.float64


@pytest.mark.parametrize("returned", [None, 0.5, torch.zeros(3)])
def test_losses_must_return_a_number(returned, digits):
    with pytest.raises(ValueError, match="must return one number"):
        quick(loss=lambda Z, y: returned).fit(*digits)


def test_relations_bound_to_the_samples(digits):
    X, y = digits
    options = {"loss": "triplet", "max_epochs": 1}
    bound = quick(**options, relation=make_relation(y, "discrete"), pair_thresholds=(0, 1)).fit(X, y)
    named = quick(**options, relation="discrete", pair_thresholds=(0, 1)).fit(X, y)
    np.testing.assert_array_equal(bound.transform(X), named.transform(X))


def test_callbacks_get_what_was_passed(digits, monkeypatch):
    seen = []

    class Callbacks(drml.EpochCallbacks):
        def __init__(self, estimator, n_epochs, X, y):
            seen.append((len(X), len(y)))
            super().__init__(estimator, n_epochs, X, y)

    monkeypatch.setattr(drml, "EpochCallbacks", Callbacks)
    X, y = digits
    quick(max_epochs=1).fit(X, np.where(np.arange(300) < 20, np.nan, y))
    assert seen == [(300, 300)]


def test_classes_of_validation_samples_are_named_alike(digits):
    X, y = digits
    with pytest.raises(ValueError, match="name the classes of both in the same way"):
        quick().fit(X, y, X_val=X, y_val=y.astype(str))


def test_two_classes_are_trained_on_at_least(digits):
    X, y = digits
    three = y < 3
    with pytest.raises(ValueError, match="leaves 1 of 3 classes for training"):
        quick(hold_out="classes").fit(X[three], y[three])


def test_a_plain_embedding_may_have_any_width(digits):
    assert quick(n_components=6, relational=False).fit(*digits).transform(digits[0]).shape == (300, 6)


@pytest.mark.parametrize(
    "option",
    [
        {"n_branches": 2},
        {"activation": "tanh"},
        {"loss": "cosface"},
        {"embedding_loss": "cosface"},
        {"ensemble_weight": 0.0},
        {"reconstruction_weight": 0.0},
        {"embedding_weight": 1.0},
        {"stop_gradient": True},
        {"normalize_nodes": False},
        {"reconstruction": "mse"},
        {"score_activation": "softmax"},
        {"assignment": "balanced"},
        {"assignment": "all"},
        {"output": "embedding"},
        {"batch_size": 40},
        {"samples_per_class": 4},
        {"optimizer": "adam"},
        {"learning_rate": 1e-2},
        {"trunk_learning_rate": 1e-2},
        {"loss_learning_rate": 1e-4},
        {"weight_decay": 10.0},
        {"random_state": 1},
    ],
    ids=str,
)
def test_every_option_changes_what_is_learned(option, digits):
    shared = {"hidden_layer_sizes": (16,), "early_stopping": False}
    first, second = (quick(**{**shared, **options}).fit(*digits) for options in ({}, option))
    decoders = [model.encoder_.head.decoders.weight.detach().mean() for model in (first, second)]
    changes = [abs(first.transform(digits[0]) - second.transform(digits[0])).max(), abs(decoders[0] - decoders[1])]
    assert max(changes) > 1e-5


@pytest.mark.parametrize("option", [{"relation": "hamming"}, {"pair_thresholds": (0.1, 0.9)}], ids=str)
def test_every_option_of_pairs_changes_what_is_learned(option, rng):
    X = rng.standard_normal((60, 5))
    Y = (X @ rng.standard_normal((5, 4)) > 0).astype(int)
    first, second = (
        quick(loss="triplet", early_stopping=False, **options).fit(X, Y).transform(X) for options in ({}, option)
    )
    assert abs(first - second).max() > 1e-5


def test_parts_have_learning_rates_of_their_own(digits):
    rates = {"learning_rate": "head", "trunk_learning_rate": "trunk", "loss_learning_rate": "loss"}
    for moving in rates:
        options = {**dict.fromkeys(rates, 1e-30), moving: 1e-2}
        model = quick(**options, hidden_layer_sizes=(16,), early_stopping=False, weight_decay=0.0, max_epochs=1)
        still = clone(model).set_params(**{moving: 1e-30})
        trained, start = (each.fit(*digits).encoder_ for each in (model, still))
        for part in ("trunk", "head"):
            weights = [list(getattr(encoder, part).parameters()) for encoder in (trained, start)]
            moved = any(not torch.allclose(a, b) for a, b in zip(*weights, strict=True))
            assert moved == (part == rates[moving])


def test_checkpoints_of_other_validation_samples_are_others(digits, tmp_path):
    X, y = digits
    for rows in (slice(100), slice(200)):
        quick(max_epochs=1, checkpoint=tmp_path).fit(X, y, X_val=X[rows], y_val=y[rows])
    assert len(list(tmp_path.iterdir())) == 2


def test_gradients_that_were_turned_off_outside_are_taken(digits):
    X, y = digits
    expected = DRMLTransformer(8, max_epochs=2, random_state=0).fit(X, y).transform(X)
    with torch.no_grad():
        found = DRMLTransformer(8, max_epochs=2, random_state=0).fit(X, y).transform(X)
    np.testing.assert_array_equal(found, expected)


def pairs_of_classes(y, n_pairs, seed=0):
    """Some pairs of one class and some of two."""
    pairs = np.random.default_rng(seed).permutation(np.stack(np.triu_indices(len(y), 1), 1))
    same = y[pairs[:, 0]] == y[pairs[:, 1]]
    return pairs[same][:n_pairs], pairs[~same][:n_pairs]


@pytest.mark.parametrize("relational", [True, False])
@pytest.mark.parametrize("loss", ["contrastive", "triplet", "multi_similarity", "smooth_ap", "ranked_list", "n_pair"])
def test_given_pairs_without_targets(loss, relational, rng):
    y = rng.integers(4, size=120)
    X = 3 * rng.standard_normal((120, 20))
    X[:, :8] = rng.standard_normal((4, 8))[y] + 0.3 * rng.standard_normal((120, 8))
    G = GivenPairs(*pairs_of_classes(y, 200), n_samples=120)
    options = {"init": "random", "loss": loss, "relational": relational, "hold_out": "pairs", "max_epochs": 25}
    model = quick(**options, relation=G, learning_rate=1e-2, batch_size=40).fit(X)
    raw, learned = (mean_average_precision_at_r(Z, y) for Z in (X, model.transform(X)))
    assert learned > raw + 0.15
    assert model.validation_curve_[model.best_epoch_] < 0.6 * model.validation_curve_[0]


@pytest.mark.parametrize("thresholds", ["auto", (0, 0.5)])
def test_pairs_of_one_kind_and_two_samples(thresholds, rng):
    X = rng.standard_normal((30, 3))
    for similar, n_samples in (([[0, 1]], 2), ([[0, 1], [4, 2], [1, 2]], 30)):
        G = GivenPairs(similar, n_samples=n_samples)
        model = quick(loss="contrastive", relation=G, early_stopping=False, pair_thresholds=thresholds)
        assert np.isfinite(model.fit(X[:n_samples]).transform(X)).all()


def test_held_out_pairs_judge_and_are_not_trained_on(digits, monkeypatch):
    X, y = digits
    seen, splits = [], []
    step, split = Training._step, drml.split
    monkeypatch.setattr(Training, "_step", lambda self, rows, *rest: seen.append(rows) or step(self, rows, *rest))
    monkeypatch.setattr(drml, "split", lambda *args, **options: splits.append(split(*args, **options)) or splits[-1])
    G = GivenPairs(*pairs_of_classes(y, 100), n_samples=300)
    model = quick(loss="contrastive", relation=G, hold_out="pairs", max_epochs=2).fit(X)
    (chosen,) = splits
    places, Z, kinds = chosen.validation.samples.places, model.transform(X), {}
    for kind in ("similar", "dissimilar"):
        judged, trained, given = (
            {tuple(pair) for pair in pairs.tolist()}
            for pairs in (places[getattr(chosen.validation, kind)], getattr(chosen.relation, kind), getattr(G, kind))
        )
        assert len(judged) == 10
        assert judged | trained == given
        assert not judged & trained
        i, j = np.array(list(judged)).T
        kinds[kind] = np.linalg.norm(Z[i] - Z[j], axis=1)
    wrong = np.mean(kinds["similar"][:, None] > kinds["dissimilar"])
    assert model.validation_curve_[model.best_epoch_] == pytest.approx(wrong, abs=1e-6)
    trained = torch.from_numpy(np.concatenate([chosen.relation.similar, chosen.relation.dissimilar]))
    assert set(torch.cat(seen).tolist()) == set(trained.unique().tolist())
    held = [sum({*pair} <= {*rows.tolist()} for rows in seen) for pair in trained.tolist()]
    assert min(held) >= 2  # once an epoch at least


def test_given_pairs_beside_targets(digits, tmp_path):
    X, y = digits
    options = {"relation": GivenPairs(*pairs_of_classes(y, 100), n_samples=300), "max_epochs": 2}
    of_both = quick(loss="triplet", embedding_loss="proxy_anchor", **options, early_stopping=False)
    first, other = (of_both.fit(X, labels).transform(X) for labels in (y, y % 2))
    assert not np.allclose(first, other)
    options["hold_out"] = "pairs"
    whole = quick(loss="triplet", **options, checkpoint=tmp_path).fit(X)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(whole)).transform(X), whole.transform(X))
    again = clone(whole).fit(X)
    np.testing.assert_array_equal(again.transform(X), whole.transform(X))
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hold_out": "samples"}, "hold_out='samples' judges by the targets of neighbours.*Pass hold_out='pairs'"),
        ({"hold_out": "classes"}, "hold_out='classes' judges by the targets"),
        ({"loss": "proxy_anchor"}, "needs targets, but y is None"),
        ({"embedding_loss": "supcon"}, "needs targets, but y is None"),
        ({"loss": lambda Z, y: Z.sum()}, "needs targets, but y is None"),
        ({"samples_per_class": 4}, "samples_per_class draws classes"),
        ({"relation": GivenPairs([[0, 1]], n_samples=300)}, "relation has pairs of one kind only"),
        (
            {"relation": GivenPairs([[0, 1]], [[1, 2]], n_samples=300)},
            "leaves 0 of 1 similar pairs for training.*another fraction, or early_stopping=False",
        ),
        (
            {"relation": GivenPairs([[0, 1]], [[1, 2]], n_samples=301)},
            "of 301 samples, but a fit to 300",
        ),
        ({"relation": "auto"}, "requires y to be passed"),
    ],
)
def test_what_does_not_go_with_given_pairs_is_refused(options, message, digits):
    X, y = digits
    G = GivenPairs(*pairs_of_classes(y, 20), n_samples=300)
    with pytest.raises(ValueError, match=message):
        quick(**{"loss": "triplet", "relation": G, "hold_out": "pairs", **options}).fit(X)


def test_other_samples_than_those_of_the_pairs_are_refused(digits):
    X, y = digits
    G = GivenPairs(*pairs_of_classes(y, 20), n_samples=300)
    model = quick(loss="triplet", relation=G, hold_out="pairs")
    with pytest.raises(ValueError, match="pairs among X, of which X_val has none"):
        model.fit(X, y, X_val=X, y_val=y)
    unknown = np.where(np.arange(300) < 20, np.nan, y)
    with pytest.raises(ValueError, match="a fit to 280 is asked for"):
        model.fit(X, unknown)
    bound = make_relation(y, "discrete")
    with pytest.raises(ValueError, match="operator over 300 samples, but y has 280"):
        quick(loss="triplet", relation=bound, early_stopping=False).fit(X, unknown)
    with pytest.raises(ValueError, match="hold_out='pairs' holds out some of the pairs of a GivenPairs"):
        model.set_params(relation="auto").fit(X, y)


class Own:
    """Loss of embeddings and a batch."""

    def __init__(self, function, **attributes):
        self.function = function
        vars(self).update(attributes)

    def build(self, n_labels, width, n_groups, generator, dtype=torch.float32):
        return self.function


@pytest.mark.parametrize("relational", [True, False])
@pytest.mark.parametrize("own", [lambda f: f, lambda f: Own(lambda Z, batch, _: f(Z, batch), uses={"labels"})])
def test_losses_that_would_train_nothing_are_refused(own, relational, digits):
    X, y = digits
    for function, message in (
        (lambda Z, y: Z.detach().square().mean(), "has no gradient, so that nothing would be learned"),
        (lambda Z, y: Z.square().sum(1)[:2], r"returned shape \(2,\)"),
        (lambda Z, y: 1.5, "returned float"),
    ):
        with pytest.raises(ValueError, match=message):
            quick(loss=own(function), relational=relational).fit(X, y)
    nothing_to_compare = quick(loss=own(lambda Z, y: torch.zeros(())), relational=True)
    nothing_to_compare.fit(X, y)


@pytest.mark.parametrize("attributes", [{}, {"uses": "labels"}, {"uses": {"label"}}], ids=str)
def test_losses_say_what_they_use(attributes, digits):
    with pytest.raises(ValueError, match=r"Own\.uses is .* but it must say what the loss reads"):
        quick(loss=Own(lambda Z, batch, _: Z.mean(), **attributes)).fit(*digits)


def test_errors_of_what_users_wrote_say_what_it_got(digits):
    X, y = digits
    with pytest.raises(RuntimeError) as caught:
        quick(loss=lambda Z, y: Z @ Z).fit(X, y)
    assert "The loss got Z of shape (" in caught.value.__notes__[0]
    with pytest.raises(RuntimeError) as caught:
        quick(trunk=nn.Linear(5, 3)).fit(X, y)
    assert f"The encoder got samples of shape (2, {X.shape[1]}), torch.float32." in caught.value.__notes__


def test_samples_of_other_shapes_than_in_fit_are_refused(rng):
    images = rng.random((12, 3, 8, 8), dtype=np.float32)
    trunk = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    metric = quick(trunk=trunk, n_components=4).fit(images, np.arange(12) % 3)
    assert metric.transform(rng.random((2, 3, 9, 9), dtype=np.float32)).shape == (2, 4)
    for wrong in (images[0], images.transpose(0, 2, 3, 1), images[:, :1], images.reshape(12, -1)):
        with pytest.raises(ValueError, match=r"Samples have shape \(.*but had \(3, 8, 8\) in fit.* x\[None\]"):
            metric.transform(wrong)
        if len(wrong) == 12:
            with pytest.raises(ValueError, match=r"but had \(3, 8, 8\) in fit"):
                metric.transform(TensorDataset(torch.from_numpy(wrong.copy())))
