"""Pickles of earlier versions predict as they did, or are refused; those that skops writes predict alike."""

import gzip
import inspect
import pickle
import re
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator

import skrelmetric
from skrelmetric import AAKNN, HRAMLTransformer, MLkNN, MultilabelVotingClassifier, RAMLLinear
from skrelmetric._interop import pickles
from tests.pickles import ESTIMATORS, FOLDER, answers, fitted

GUIDE = Path(__file__).parent.parent / "docs" / "guide" / "persistence.md"
KEPT = sorted(FOLDER.glob("*/*.pkl.gz"))
NEWEST = max((path.parent.name for path in KEPT), key=lambda name: tuple(map(int, name.split("."))))


def same(estimator, X, expected):
    found = answers(estimator, X)
    assert found.keys() == expected.keys()
    for method, answer in expected.items():
        np.testing.assert_allclose(found[method], answer, rtol=1e-9, atol=1e-12, err_msg=method)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.InconsistentVersionWarning")
@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.parent.name}-{path.name.removesuffix('.pkl.gz')}")
def test_pickles_of_earlier_versions_answer_as_they_did_or_are_refused(path):
    try:
        content = pickle.loads(gzip.decompress(path.read_bytes()))
    except ValueError as error:
        assert "in a format that version" in str(error)  # noqa: PT017
        assert path.parent.name != NEWEST
        return
    same(content["estimator"], content["X"], content["answers"])


def test_every_estimator_is_kept():
    public = [getattr(skrelmetric, name) for name in skrelmetric.__all__]
    estimators = {each for each in public if inspect.isclass(each) and issubclass(each, BaseEstimator)}
    assert {type(estimator) for estimator, _ in ESTIMATORS.values()} == estimators
    assert {path.name for path in KEPT if path.parent.name == NEWEST} >= {f"{name}.pkl.gz" for name in ESTIMATORS}
    assert sum(path.stat().st_size for path in KEPT if path.parent.name == NEWEST) < 150_000


MEMBERS = [("one", MLkNN(1)), ("two", MLkNN(2))]


@pytest.mark.parametrize(
    "estimator", [RAMLLinear(), HRAMLTransformer(), AAKNN(), MultilabelVotingClassifier(MEMBERS)], ids=str
)
def test_pickles_of_other_formats_are_refused(estimator, monkeypatch):
    state = estimator.__getstate__()
    assert "_skrelmetric" not in vars(deepcopy(estimator))
    del state["_skrelmetric"]
    with pytest.raises(ValueError, match=rf"This {type(estimator).__name__} was pickled by skrelmetric before 0.13"):
        type(estimator).__new__(type(estimator)).__setstate__(state)
    with monkeypatch.context() as patched:
        patched.setattr(pickles, "FORMAT", pickles.FORMAT + 1)
        patched.setattr(pickles, "_VERSION", "7.1.0")
        later = pickle.dumps(estimator)
        pickle.loads(later)
    with pytest.raises(ValueError, match=r"skrelmetric 7\.1\.0, in a format that version .* does not read.*or fit it"):
        pickle.loads(later)


def test_neighbours_are_independent_of_the_trees_of_scikit_learn(rng):
    model = MLkNN(3).fit(rng.standard_normal((60, 3)), rng.integers(0, 2, (60, 2)))
    content = pickle.dumps(model)
    assert b"sklearn.neighbors" not in content
    assert b"sklearn.metrics" not in content


# skops


def documented():
    """Types that the guide lists as those to trust, and those that it says are no safer than a pickle."""
    text = GUIDE.read_text()
    return [re.findall(r'"([\w.]+)"', text.split(name, 1)[1].split("]", 1)[0]) for name in ("SAFE = [", "PICKLED = [")]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_skops_loads_what_it_has_written(name, rng):
    skops = pytest.importorskip("skops.io")
    estimator = fitted(name, rng)
    X = rng.standard_normal((5, 3))
    expected = answers(estimator, X)
    content = skops.dumps(estimator)
    safe, pickled = documented()
    needed = skops.get_untrusted_types(data=content)
    holds_modules = type(estimator).__name__.startswith(("HRAML", "DRML", "Relational"))
    assert set(needed) <= {*safe, *(pickled if holds_modules else [])}
    assert holds_modules == bool(set(needed) & set(pickled))
    same(skops.loads(content, trusted=needed), X, expected)


def test_the_guide_lists_no_more_than_is_needed(rng):
    skops = pytest.importorskip("skops.io")
    needed = set()
    for name in ESTIMATORS:
        needed.update(skops.get_untrusted_types(data=skops.dumps(fitted(name, rng))))
    safe, pickled = documented()
    assert {*safe, *pickled} == needed
