"""Comparison of one's own estimators in Python."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import LinearRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.compare import runs
from benchmarks.compare.cells import Settings, cells
from benchmarks.estimators import compare_estimators
from skrelmetric import MLkNN
from skrelmetric.datasets import load_emotions
from tests.benchmarks.comparison import EMOTIONS, Broken


def test_scores_are_those_of_the_command_line():
    model = make_pipeline(StandardScaler(), MLkNN(10))
    comparison = compare_estimators({"mine": model}, {"emotions": load_emotions(return_X_y=True)}, repeats=2)
    expected = [runs.run_cell(cell) for cell in cells(EMOTIONS, ["MLkNN"], Settings(3, 2))]
    assert [(r["repeat"], r["fold"], r["scores"]) for r in comparison.records] == [
        (r["repeat"], r["fold"], r["scores"]) for r in expected
    ]
    assert not hasattr(model[-1], "classes_"), "clones are fitted"


def test_kinds_of_data(rng):
    X = rng.standard_normal((60, 4))
    numbers = X[:, :2] @ rng.standard_normal((2, 2)) + 0.1 * rng.standard_normal((60, 2))
    regressed = compare_estimators(
        {"mean": DummyRegressor(), "linear": LinearRegression()},
        {"frame": (pd.DataFrame(X), pd.DataFrame(numbers)), "list": (X.tolist(), numbers[:, 0].tolist())},
    )
    assert {record["task"] for record in regressed.records} == {"regression"}
    (ranking,) = regressed.rankings
    assert ranking.average.to_dict() == {"linear": 1.0, "mean": 2.0}
    names = np.array(["no", "yes"], dtype=object)[(X[:, 0] > 0).astype(int)]
    of_classes = compare_estimators(
        {"neighbours": KNeighborsClassifier()}, {"names": (X, names), "numbers": (X, (X[:, 0] > 0).astype(float))}
    )
    assert of_classes.frame.groupby("dataset")["Accuracy ↑"].mean().min() > 0.7
    words = sparse.random_array((60, 9), density=0.5, rng=rng)
    labels = (rng.random((60, 3)) < 0.5).astype(int)
    prior = MultiOutputClassifier(DummyClassifier(strategy="prior"))
    (record, *_) = compare_estimators({"prior": prior}, {"sparse": (words, labels)}).records
    assert record["task"] == "multilabel"
    assert "P@3 ↑" in record["scores"]


def test_groups_are_not_parted(rng):
    persons = np.repeat(np.arange(6), 5)
    seen = []

    class Watching(DummyRegressor):
        def fit(self, X, y):
            seen.append(set(X[:, 0]))
            return super().fit(X, y)

    X = np.column_stack([persons, rng.standard_normal(30)])
    comparison = compare_estimators({"mean": Watching()}, {"d": (X, rng.standard_normal((30, 2)), persons)}, n_jobs=1)
    assert [len(each) for each in seen] == [4] * 3
    assert [record["n_test"] for record in comparison.records] == [10] * 3


def test_text_report_and_failures(tmp_path):
    data = {"emotions": load_emotions(return_X_y=True), "again": load_emotions(return_X_y=True)}
    comparison = compare_estimators({"MLkNN": MLkNN(), "broken": Broken()}, data, folds=2, n_jobs=1)
    assert set(comparison.frame.loc[comparison.frame.method == "broken", "error"]) == {"RuntimeError: it broke"}
    text = comparison.text("latex")
    assert text.count(r"\toprule") == len(comparison.tables())
    assert "failed" in text
    with pytest.raises(ValueError, match="no format 'html'"):
        comparison.text("html")
    comparison.report(tmp_path / "mine.html")
    assert "it broke" in (tmp_path / "mine.html").read_text()


def test_what_cannot_be_compared_is_said():
    data = {"emotions": load_emotions(return_X_y=True)}
    with pytest.raises(ValueError, match=r"task='ranking' is not known. Choose one of \['multilabel'"):
        compare_estimators({"a": MLkNN()}, data, task="ranking")
    with pytest.raises(ValueError, match="emotions cannot be split into 9999 folds"):
        compare_estimators({"a": MLkNN()}, data, folds=9999)
