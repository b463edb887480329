"""Comparison of one's own estimators in Python."""

import re

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


def test_whole_numbers_of_a_regression_stay_themselves(rng):
    X = rng.standard_normal((60, 2))
    years = np.round(np.exp(2 * X[:, 0] + 3)).astype(int)
    (record, *_) = compare_estimators(
        {"line": LinearRegression()}, {"years": (years[:, None], years)}, task="regression"
    ).records
    assert record["scores"]["aRRMSE ↓"] < 1e-9, "their places in order are on no line with them"
    (record, *_) = compare_estimators({"votes": KNeighborsClassifier(1)}, {"parity": (X, years % 2.0)}).records
    assert record["task"] == "classification"


def test_targets_may_be_sparse_or_a_column(rng):
    X, Y = rng.standard_normal((40, 3)), (rng.random((40, 3)) < 0.5).astype(int)
    given = {"sparse": (X, sparse.csr_array(Y)), "column": (X, pd.DataFrame(Y[:, :1])), "booleans": (X, Y > 0)}
    records = compare_estimators({"votes": MLkNN()}, given, folds=2).records
    assert [record["task"] for record in records[::2]] == ["multilabel", "classification", "multilabel"]
    assert records[0]["scores"] == records[4]["scores"]


SAMPLES, CLASSES = np.arange(24.0).reshape(12, 2), np.arange(12) % 2
LABELS = np.column_stack([CLASSES, 1 - CLASSES, CLASSES])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"estimators": [MLkNN()]}, "estimators is of type list. Pass a dictionary"),
        ({"estimators": {1: MLkNN()}}, "estimators has the name 1, of type int"),
        ({"datasets": [(SAMPLES, CLASSES)]}, "datasets is of type list"),
        ({"datasets": {"a": SAMPLES}}, "'a' has ndarray for its data. Pass (X, y)"),
        ({"datasets": {"a": (SAMPLES,)}}, "'a' has 1 entries"),
        ({"datasets": {"a": (SAMPLES, CLASSES[:9])}}, "X of shape (12, 2), y of shape (9,). Pass as many"),
        ({"datasets": {"a": (SAMPLES, CLASSES, CLASSES[:9])}}, "groups of shape (9,)"),
        ({"datasets": {"a": (SAMPLES, None)}}, "have the shape ()"),
        ({"datasets": {"a": (SAMPLES, LABELS[:, :, None])}}, "have the shape (12, 3, 1)"),
        ({"datasets": {"a": (SAMPLES, np.where(CLASSES, np.nan, 1.0))}}, "missing or infinite"),
        ({"datasets": {"a": (SAMPLES, np.where(LABELS, np.inf, 1.0))}}, "missing or infinite"),
        ({"datasets": {"a": (SAMPLES, LABELS.astype(str))}}, "in several columns. Pass numbers"),
        ({"datasets": {"a": (SAMPLES, np.where(LABELS, "no", "yes").astype(object))}}, "in several columns"),
        ({"task": "multilabel"}, "are not those of multilabel: several columns of 0 and 1"),
        ({"task": "label distribution", "datasets": {"a": (SAMPLES, LABELS)}}, "not those of label distribution"),
        ({"task": "classification", "datasets": {"a": (SAMPLES, LABELS)}}, "not those of classification: one column"),
        ({"task": "regression", "datasets": {"a": (SAMPLES, CLASSES.astype(str))}}, "not those of regression"),
        ({"folds": 1}, "folds=1 cannot be taken. Pass a whole number from 2 on or 'held-out'"),
        ({"folds": "official"}, "folds='official' cannot be taken"),
        ({"repeats": 0}, "repeats=0 cannot be taken"),
        ({"random_state": None}, "random_state=None cannot be taken"),
    ],
)
def test_what_cannot_be_compared_is_refused(changed, said):
    given = {"estimators": {"votes": MLkNN()}, "datasets": {"a": (SAMPLES, CLASSES)}} | changed
    with pytest.raises(ValueError, match=re.escape(said)):
        compare_estimators(**given)
