"""What belongs to the whole process is left as it was, and estimators serve several threads, and children of a fork."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone, is_regressor
from sklearn.utils import validation
from torch import nn

from skrelmetric import (
    AAKNN,
    DRMLTransformer,
    HRAMLTransformer,
    MLkNN,
    MultilabelThresholdClassifier,
    MultilabelVotingClassifier,
    RAMLLinear,
    RelationalNeighborsClassifier,
    RelationalNeighborsRegressor,
    SoftNeighborsClassifier,
    SoftNeighborsRegressor,
    metrics,
)
from skrelmetric._interop.torch import as_tensor
from skrelmetric._search.neighbours import Neighbours
from skrelmetric.losses import ProxyAnchor
from tests.process import untouched


class OfLayers:
    """Encoder, or loss, of torch's layers, which draw their weights from torch's own generator."""

    uses = frozenset({"labels"})

    def build(self, *what):
        if isinstance(what[0], torch.Tensor):
            return nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 5)).double()
        self.scale = nn.Linear(1, 1).weight.detach()  # as a loss that draws what it learns
        return ProxyAnchor().build(*what)


def module():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 5)).double()


DRAWN = {"max_epochs": 3, "random_state": 0, "early_stopping": False}
DEEP = {
    "dropout": HRAMLTransformer(encoder="mlp", hidden_layer_sizes=(8, 5), dropout=0.5, batch_size=20, **DRAWN),
    "votes": HRAMLTransformer(
        encoder="mlp", hidden_layer_sizes=(8, 5), dropout=0.5, loss="neighbors", max_epochs=3, random_state=0
    ),
    "module": HRAMLTransformer(encoder=module(), batch_size=20, **DRAWN),
    "built": HRAMLTransformer(encoder=OfLayers(), head="linear", pairs=50, **DRAWN),
    "trunk": DRMLTransformer(8, trunk=module(), **DRAWN),
    "built loss": DRMLTransformer(8, loss=OfLayers(), hidden_layer_sizes=(6,), **DRAWN),
    "own loss": DRMLTransformer(8, loss=lambda Z, y: (Z * torch.rand_like(Z)).square().mean(), **DRAWN),
}
NEIGHBOURS = {
    "MLkNN": MLkNN(5),
    "several": MLkNN(range(1, 6)),
    "AAKNN": AAKNN(),
    "soft": SoftNeighborsClassifier(),
    "soft numbers": SoftNeighborsRegressor(scale="local"),
    "relational": RelationalNeighborsClassifier(cv=2, random_state=0),
    "relational numbers": RelationalNeighborsRegressor(cv=None, random_state=0),
}
ESTIMATORS = {
    **DEEP,
    **NEIGHBOURS,
    "default": HRAMLTransformer(random_state=0),
    "linear": RAMLLinear(),
    "constrained": RAMLLinear(psd="constrained"),
    "krr": RAMLLinear(solver="krr", n_pairs=50, random_state=0),
    "svr": RAMLLinear(solver="svr", n_pairs=50, random_state=0),
    "voting": MultilabelVotingClassifier([("a", MLkNN(3)), ("b", SoftNeighborsClassifier())]),
    "thresholds": MultilabelThresholdClassifier(MLkNN(3), cv=2),
}


@pytest.fixture
def samples(rng):
    X = rng.standard_normal((60, 4))
    return X, (X[:, :3] + 0.5 * rng.standard_normal((60, 3)) > 0).astype(int)


def outcome(estimator, X):
    return (estimator.transform if hasattr(estimator, "transform") else estimator.predict)(X)


def fitted(estimator, X, Y):
    return clone(estimator).fit(X, np.abs(X) if is_regressor(estimator) else Y)


FOREST = RelationalNeighborsClassifier(cv=None, forest=True, random_state=0)


@pytest.mark.parametrize("name", [*ESTIMATORS, "forest"])
def test_estimators_leave_the_process_as_it_is(name, samples):
    X, Y = samples
    with untouched():
        estimator = fitted(ESTIMATORS.get(name, FOREST), X, Y)
        outcome(estimator, X)
        for method in ("predict_proba", "kneighbors", "features"):
            if hasattr(estimator, method):
                getattr(estimator, method)(X)
        if hasattr(estimator, "partial_fit"):
            estimator.partial_fit(X, Y)


@pytest.mark.parametrize("name", [name for name in metrics.__all__ if callable(getattr(metrics, name))])
def test_metrics_leave_the_process_as_it_is(name, samples):
    X, Y = samples
    function, D = getattr(metrics, name), np.abs(X) / np.abs(X).sum(1, keepdims=True)
    arguments = {
        "_distribution": (D, D[::-1]),
        "_multilabel": (Y, D[:, :3]),
        "_precision": (Y, D[:, :3]),
        "_retrieval": (X, Y[:, 0]),
    }[function.__module__.rpartition(".")[2]]
    arguments = {"label_propensities": (Y,), "pair_f1": (Y[:, 0], Y[:, 1])}.get(name, arguments)
    options = {
        "clustering_f1": {"random_state": 0},
        "clustering_nmi": {"random_state": 0},
        "propensity_scored_precision_at_k": {"propensities": np.full(3, 0.5)},
    }
    with untouched():
        function(*arguments, **options.get(name, {}))


def run(code):
    """Run code in a process of its own, which has a minute, and none of what torch has set in this one."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TORCH")}
    environment["OMP_WAIT_POLICY"] = "passive"  # others may use the cores
    options = {"capture_output": True, "text": True, "check": False, "timeout": 60, "env": environment}
    return subprocess.run([sys.executable, "-c", code], **options)


PROBLEM = """
import os, signal, warnings
import numpy as np
import torch
X = np.random.default_rng(0).standard_normal((900, 40))
Y = (X[:, :3] > 0).astype(int)
from skrelmetric import DRMLTransformer, HRAMLTransformer, RAMLLinear
warnings.simplefilter("error")
fits = [
    RAMLLinear(),
    HRAMLTransformer(encoder="mlp", early_stopping=False, max_epochs=1),
    DRMLTransformer(8, early_stopping=False, max_epochs=1),
]
"""


def test_the_first_fits_of_a_process_leave_it_as_it_is():
    """What torch loads when it first trains sets filters of warnings."""
    result = run(f"""{PROBLEM}
before = list(warnings.filters), dict(os.environ)
for estimator in [HRAMLTransformer(), *fits]:
    estimator.fit(X[:50], Y[:50]).transform(X)
    assert (list(warnings.filters), dict(os.environ)) == before, estimator
""")
    assert result.returncode == 0, result.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_of_a_fork_does_not_wait_for_threads_that_it_does_not_have():
    result = run(f"""{PROBLEM}
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
torch.set_num_threads(2)
for estimator in fits[:2]:
    estimator.fit(X, Y)
child = os.fork()
if not child:
    signal.alarm(30)
    for estimator in fits[:2]:
        estimator.fit(X, Y).transform(X)
    os._exit(torch.get_num_threads() - 1)
assert os.waitpid(child, 0)[1] == 0
assert torch.get_num_threads() == 2
""")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", DEEP)
def test_fits_in_threads_are_those_one_after_another(name, samples):
    X, Y = samples
    expected = fitted(DEEP[name], X, Y).transform(X)
    with ThreadPoolExecutor(4) as threads:
        for Z in threads.map(lambda _: fitted(DEEP[name], X, Y).transform(X), range(8)):
            np.testing.assert_array_equal(Z, expected)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_predictions_in_threads_are_those_one_after_another(name, samples, rng):
    X, Y = samples
    queries = [rng.standard_normal((30, 4)) for _ in range(8)]
    one, other = (fitted(ESTIMATORS[name], X, Y) for _ in range(2))
    expected = [outcome(one, some) for some in queries]
    with ThreadPoolExecutor(4) as threads:
        for found, true in zip(threads.map(lambda some: outcome(other, some), queries * 3), expected * 3, strict=True):
            np.testing.assert_array_equal(found, true)


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_no_answer_of_another_fit_is_remembered(name, samples, rng, monkeypatch):
    """A refit in the middle of a prediction, whose answer is then that of neither fit, or of the first."""
    X, Y = samples
    queries, fresh = rng.standard_normal((20, 4)), rng.standard_normal((60, 4))
    estimator = fitted(NEIGHBOURS[name], X, Y)
    refits = iter([lambda: estimator.fit(fresh, np.abs(fresh) if is_regressor(estimator) else Y[::-1])])
    nearest, blocks = Neighbours.nearest, Neighbours.blocks

    def then_refitted(answer):
        def answered(self, X, *args, **kwargs):
            found = answer(self, X, *args, **kwargs)
            if X is not None and len(X) == len(queries):
                next(refits, lambda: None)()
            return found

        return answered

    monkeypatch.setattr(Neighbours, "nearest", then_refitted(nearest))
    monkeypatch.setattr(Neighbours, "blocks", then_refitted(blocks))
    method = "predict_proba" if hasattr(estimator, "predict_proba") else "predict"
    getattr(estimator, method)(queries)
    assert next(refits, None) is None
    expected = getattr(fitted(NEIGHBOURS[name], fresh, Y[::-1]), method)(queries)
    for _ in range(2):
        np.testing.assert_array_equal(getattr(estimator, method)(queries), expected)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_fit_that_fails_leaves_what_was_learned_before(name, error, samples, monkeypatch):
    X, Y = samples
    estimator = fitted(ESTIMATORS[name], X, Y)
    before, learned = outcome(estimator, X), dict(vars(estimator))

    def then_failing(*args, check=validation._check_n_features, **kwargs):
        check(*args, **kwargs)
        raise error

    monkeypatch.setattr(validation, "_check_n_features", then_failing)
    with pytest.raises(error):
        estimator.fit(pd.DataFrame(X[:, :3], columns=["a", "b", "c"]), np.abs(X) if is_regressor(estimator) else Y)
    monkeypatch.undo()
    assert vars(estimator) == learned
    np.testing.assert_array_equal(outcome(estimator, X), before)


@pytest.mark.parametrize("shape", [(6, 3), (0, 3), ()])
def test_read_only_arrays_are_read_where_they_are(shape):
    """Without a filter against the warning that torch has of them: threads would put those of one another back."""
    array = np.ones(shape)
    array.flags.writeable = False
    tensor, place = as_tensor(array), array.ctypes.data
    assert tensor.shape == shape
    assert not tensor.numel() or tensor.data_ptr() == place
    del array
    np.ones(shape)  # which would take the memory, were it free
    assert (tensor == 1).all()
