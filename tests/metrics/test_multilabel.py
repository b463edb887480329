import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.neighbors import KNeighborsClassifier

from skrelmetric import metrics
from skrelmetric.metrics import LAMDA

RANKING = ("ranking_loss", "one_error", "coverage", "average_precision")
MULTILABEL = ("hamming_loss", "f1", "precision_at_k", *RANKING)


def lamda_reference(Y, scores):
    """Loop by loop what Zhang and Zhou's Matlab functions compute, from their descriptions."""
    n, q = Y.shape
    order = [sorted(range(q), key=lambda label: (row[label], label)) for row in scores]  # stable, ascending
    depth = [max([0] + [q - o.index(label) for label in np.flatnonzero(y)]) for y, o in zip(Y, order, strict=True)]
    ranking, one, precision = [], [], []
    for y, s, o in zip(Y, scores, order, strict=True):
        relevant, irrelevant = np.flatnonzero(y == 1), np.flatnonzero(y == 0)
        if not len(relevant) or not len(irrelevant):
            continue
        wrong = sum(s[a] <= s[b] for a in relevant for b in irrelevant)
        ranking.append(wrong / (len(relevant) * len(irrelevant)))
        one.append(not any(s[a] == max(s) for a in relevant))
        above = [o[o.index(a) :] for a in relevant]
        precision.append(np.mean([sum(y[b] for b in labels) / len(labels) for labels in above]))
    return {
        "hamming_loss": np.mean((scores >= 0.5) != Y),
        "ranking_loss": np.mean(ranking),
        "one_error": np.mean(one),
        "coverage": sum(depth) / n - 1,
        "average_precision": np.mean(precision),
    }


@st.composite
def labels_and_scores(draw, proper=False):
    q = draw(st.integers(2 if proper else 1, 6))
    n = draw(st.integers(1, 8))
    cells = lambda values: st.lists(st.lists(values, min_size=q, max_size=q), min_size=n, max_size=n)  # noqa: E731
    Y = np.array(draw(cells(st.integers(0, 1))))
    if proper:
        Y[:, 0], Y[:, -1] = 1, 0
    return Y, np.array(draw(cells(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]))))  # coarse, so that ties abound


@settings(max_examples=100, deadline=None)
@given(labels_and_scores())
def test_defaults_agree_with_scikit_learn(case):
    Y, scores = case
    if Y.shape[1] > 1:
        assert metrics.coverage(Y, scores) == pytest.approx(sklearn.metrics.coverage_error(Y, scores) - 1)
        expected = sklearn.metrics.label_ranking_average_precision_score(Y, scores)
        assert metrics.average_precision(Y, scores) == pytest.approx(expected)
        assert metrics.ranking_loss(Y, scores) == pytest.approx(sklearn.metrics.label_ranking_loss(Y, scores))
    assert metrics.hamming_loss(Y, scores) == pytest.approx(sklearn.metrics.hamming_loss(Y, scores >= 0.5))


@settings(max_examples=100, deadline=None)
@given(labels_and_scores(), st.sampled_from(["micro", "macro", "samples"]), st.sampled_from([0.0, 1.0]))
def test_f1_agrees_with_scikit_learn(case, average, zero_division):
    Y, scores = case
    if Y.shape[1] == 1:  # which scikit-learn takes for two classes
        Y, scores = np.hstack([Y, Y]), np.hstack([scores, scores])
    weights = 1.0 + np.arange(len(Y))
    for sample_weight in (None, weights):
        choices = {"average": average, "zero_division": zero_division, "sample_weight": sample_weight}
        expected = sklearn.metrics.f1_score(Y, scores >= 0.25, **choices)
        assert metrics.f1(Y, scores, threshold=0.25, **choices) == pytest.approx(expected)


def test_f1_of_nothing():
    nothing, second = [[0, 0], [0, 0]], [[0, 1], [0, 0]]
    of = {average: [metrics.f1(Y, Y, average=average) for Y in (nothing, second)] for average in ("micro", "macro")}
    assert of == {"micro": [1, 1], "macro": [0, 0.5]}
    assert metrics.f1(second, nothing, average="samples") == 0.5  # the first is wrong, the second right
    assert metrics.f1(second, nothing, average="samples", zero_division=0) == 0
    assert metrics.f1(nothing, nothing, average="macro", zero_division=1) == 1
    assert metrics.f1([[1], [0], [1]], [[1], [0], [0]], average="macro") == pytest.approx(2 / 3)


@settings(max_examples=100, deadline=None)
@given(labels_and_scores(proper=True), st.booleans())
def test_preset_reproduces_lamda(case, with_degenerate):
    Y, scores = case
    if with_degenerate:
        Y, scores = (
            np.vstack([Y, np.zeros_like(Y[:1]), np.ones_like(Y[:1])]),
            np.vstack([scores, scores[:1], scores[:1]]),
        )
    expected = lamda_reference(Y, scores)
    for name in LAMDA:
        assert getattr(metrics, name)(Y, scores, **LAMDA[name]) == pytest.approx(expected[name]), name


@settings(max_examples=100, deadline=None)
@given(labels_and_scores())
def test_ties_order_the_losses(case):
    Y, scores = case
    for name in ("ranking_loss", "one_error", "coverage"):
        worst, index, best = (getattr(metrics, name)(Y, scores, ties=ties) for ties in ("worst", "index", "best"))
        assert worst >= index - 1e-12
        assert index >= best - 1e-12


def test_ties_by_hand():
    # Labels 0 and 2 share the top score; only label 0 is relevant.
    Y, scores = [[1, 0, 0]], [[0.9, 0.1, 0.9]]
    assert [metrics.one_error(Y, scores, ties=t) for t in ("worst", "index", "best")] == [1.0, 1.0, 0.0]
    assert [metrics.coverage(Y, scores, ties=t) for t in ("worst", "index", "best")] == [1.0, 1.0, 0.0]
    assert [metrics.ranking_loss(Y, scores, ties=t) for t in ("worst", "index", "best")] == [0.5, 0.5, 0.0]
    assert [metrics.average_precision(Y, scores, ties=t) for t in ("worst", "index", "best")] == [0.5, 0.5, 1.0]
    assert metrics.one_error([[0, 0, 1]], scores, ties="index") == 0.0


def test_degenerate_samples():
    Y, scores = np.array([[1, 0], [0, 0], [1, 1]]), np.array([[0.1, 0.9], [0.3, 0.2], [0.3, 0.2]])
    assert metrics.ranking_loss(Y, scores) == pytest.approx(1 / 3)
    assert metrics.ranking_loss(Y, scores, degenerate="drop") == 1
    assert metrics.one_error(Y, scores) == pytest.approx(1 / 3)
    assert metrics.one_error(Y, scores, degenerate="drop") == 1
    assert metrics.average_precision(Y, scores) == pytest.approx((0.5 + 1 + 1) / 3)
    assert metrics.average_precision(Y, scores, degenerate="drop") == 0.5
    assert metrics.coverage(Y, scores) == pytest.approx((1 - 1 + 1) / 3)
    assert metrics.coverage(Y, scores, degenerate="drop") == 1
    for name in RANKING:
        with pytest.raises(ValueError, match="leaves no sample"):
            getattr(metrics, name)([[0, 0]], [[0.1, 0.2]], degenerate="drop")


@pytest.mark.parametrize("name", MULTILABEL)
def test_formats_of_labels_and_scores(name, rng):
    Y, scores = (rng.random((20, 4)) < 0.4).astype(int), rng.random((20, 4)).round(1)
    criterion = getattr(metrics, name)
    expected = criterion(Y, scores)
    assert criterion(Y.tolist(), scores.tolist()) == expected
    assert criterion(Y.astype(bool), scores) == expected
    for kind in (sparse.csr_matrix, sparse.csr_array, sparse.lil_matrix, sparse.lil_array, sparse.csc_array):
        assert criterion(kind(Y), kind(scores)) == expected
    assert criterion(Y, [np.column_stack([1 - s, s]) for s in scores.T]) == expected
    assert isinstance(expected, float)


def test_lists_of_scikit_learn_are_read(rng):
    X, Y = rng.standard_normal((50, 3)), (rng.random((50, 4)) < 0.5).astype(int)
    probabilities = KNeighborsClassifier().fit(X, Y).predict_proba(X)
    stacked = np.column_stack([p[:, 1] for p in probabilities])
    for name in MULTILABEL:
        assert getattr(metrics, name)(Y, probabilities) == getattr(metrics, name)(Y, stacked)
    Y[:, 2] = 0
    probabilities = KNeighborsClassifier().fit(X, Y).predict_proba(X)
    with pytest.raises(ValueError, match="label 2 .* constant in training"):
        metrics.ranking_loss(Y, probabilities)


def test_bad_labels_and_parameters():
    with pytest.raises(ValueError, match="0/1 label indicator, but it holds .*2"):
        metrics.ranking_loss([[2, 0]], [[0.1, 0.2]])
    with pytest.raises(ValueError, match="predicted labels or probabilities"):
        metrics.hamming_loss([[1, 0]], [[-3.0, 2.0]])
    with pytest.raises(ValueError, match="f1 needs predicted labels or probabilities"):
        metrics.f1([[1, 0]], [[-3.0, 2.0]])
    with pytest.raises(ValueError, match="average='weighted' is not known. Choose one of"):
        metrics.f1([[1, 0]], [[1, 0]], average="weighted")
    with pytest.raises(ValueError, match="zero_division=2 must be between 0 and 1"):
        metrics.f1([[1, 0]], [[1, 0]], zero_division=2)
    with pytest.raises(ValueError, match="ties='mean' is not known"):
        metrics.coverage([[1, 0]], [[0.1, 0.2]], ties="mean")
    with pytest.raises(ValueError, match="degenerate='skip' is not known"):
        metrics.one_error([[1, 0]], [[0.1, 0.2]], degenerate="skip")
    with pytest.raises(ValueError, match="y_true holds -0.5"):
        metrics.kl_divergence([[1.5, -0.5]], [[0.5, 0.5]])
    with pytest.raises(ValueError, match="eps=0 must be between 0 and 1"):
        metrics.kl_divergence([[0.5, 0.5]], [[0.5, 0.5]], eps=0)
