"""Tasks: criteria and methods for each kind of target."""

from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType
from typing import NamedTuple

import numpy as np
from sklearn.ensemble import VotingClassifier
from sklearn.metrics import make_scorer, matthews_corrcoef
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from benchmarks.compare import fine_tuning, images
from benchmarks.compare.methods import (
    TIERS,
    Method,
    behind,
    classifiers,
    distribution_regressors,
    for_numbers,
    label_set_classifiers,
    regressors,
)
from skrelmetric import AAKNN, MLkNN, MultilabelVotingClassifier, MultioutputVotingRegressor
from skrelmetric.metrics import label_propensities
from skrelmetric.scorers import LABEL_DISTRIBUTION_SCORERS, LAMDA_SCORERS, MULTILABEL_SCORERS, precision_at_k_scorer

Scorers = Mapping[str, str | Callable] | Callable


class Criterion(NamedTuple):
    """Column of the table.

    Attributes
    ----------
    title : str
        Its name, and an arrow up where more is better.
    scorer : str
        Name of its scorer.
    sign : int
        What turns the score into the criterion, -1 for a loss.
    ranked : bool
        Whether methods are ranked by it, or it is told beside those that they are ranked by.
    least_labels : int
        Labels without which it is not defined.
    """

    title: str
    scorer: str
    sign: int
    ranked: bool = True
    least_labels: int = 1


class Task(NamedTuple):
    """Criteria and methods for a kind of target.

    Attributes
    ----------
    scorers : callable
        Takes the training targets, and returns scorers as scikit-learn's ``scoring`` takes them.
    criteria : tuple of Criterion
        In the order of the papers.
    searched : str or None
        Name of the scorer that hyper-parameters are chosen by; None for no search.
    predictor : str
        Name of the predictor that metrics stand before, and of the row without a metric.
    methods : dict of str to Method
        Rows of the table.
    """

    scorers: Callable[[np.ndarray], Mapping[str, str | Callable] | Callable]
    criteria: tuple[Criterion, ...]
    searched: str | None
    predictor: str
    methods: dict[str, Method]

    def defined(self, Y: np.ndarray) -> list[Criterion]:
        """Criteria that there are labels enough for."""
        n_labels = Y.shape[1] if Y.ndim > 1 else 1
        return [criterion for criterion in self.criteria if criterion.least_labels <= n_labels]

    def short(self, method: str) -> str:
        """Name of a method without the predictor that all metrics have in common."""
        return method.removesuffix(f" + {self.predictor}")

    def up_to(self, tier: str) -> list[str]:
        """Names of the methods of a tier and of those before it."""
        return [name for name, method in self.methods.items() if TIERS.index(method.tier) <= TIERS.index(tier)]


def _always(scorers: Scorers) -> Callable[[np.ndarray], Scorers]:
    """The same scorers whatever the training targets are."""
    return lambda _: scorers


_PRECISIONS = (1, 3, 5)


def _label_scorers(Y_train: np.ndarray) -> dict[str, str | Callable]:
    """Scorers of label sets: the papers' criteria, F1, and precision at the top, also weighted by rareness."""
    papers: dict = {name: MULTILABEL_SCORERS[name] for name in LAMDA_SCORERS}  # as scikit-learn has them
    f1s = {name: scorer for name, scorer in MULTILABEL_SCORERS.items() if name.startswith("f1_")}
    propensities = label_propensities(Y_train)
    for k in _PRECISIONS:
        if k <= Y_train.shape[1]:
            papers[f"precision_at_{k}"] = precision_at_k_scorer(k)
            papers[f"propensity_scored_at_{k}"] = precision_at_k_scorer(k, propensities=propensities)
    return papers | f1s


def average_relative_rmse(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    """Mean over targets of the relative root mean squared error (Borchani et al., 2015, aRRMSE).

    Parameters
    ----------
    y_true, y_pred : ndarray of shape (n_samples,) or (n_samples, n_targets)
        True and predicted numbers.

    Returns
    -------
    float
        Root of the squared error over that of the mean of `y_true`, averaged: at least 0, and 1 for that mean. Targets
        that are constant in `y_true` have no unit and are left out; NaN where all are. (For these `R²` of scikit-learn
        counts 1 or 0, as they are met or not.)
    """
    Y, P = (np.asarray(each, dtype=np.float64).reshape(len(each), -1) for each in (y_true, y_pred))
    varying = np.ptp(Y, axis=0) > 0
    if not varying.any():
        return np.nan
    Y, P = Y[:, varying], P[:, varying]
    return float(np.sqrt(((Y - P) ** 2).sum(0) / ((Y - Y.mean(0)) ** 2).sum(0)).mean())


def _numbers() -> dict[str, Method]:
    rows = behind(KNeighborsRegressor(5), "kNN", [1, 5, 10], MultioutputVotingRegressor) | regressors()
    of_labels = {f"{prefix}{loss} + kNN" for loss in images.LOSSES for prefix in ("", "DRML-")}
    return {name: for_numbers(method) for name, method in rows.items() if name not in of_labels}


def _images(module: ModuleType) -> dict[str, Method]:
    """Methods of a module of images: those that a comparison has, and those on request."""
    rows = {name: Method(build, tier="quick") for name, build in module.METHODS.items()}
    return rows | {name: Method(build, tier="request") for name, build in module.ON_REQUEST.items()}


_RETRIEVAL = (
    Criterion("R@1 ↑", "recall_at_1", 1),
    Criterion("R@2 ↑", "recall_at_2", 1),
    Criterion("R@4 ↑", "recall_at_4", 1),
    Criterion("R@8 ↑", "recall_at_8", 1),
    Criterion("R-Precision ↑", "r_precision", 1),
    Criterion("MAP@R ↑", "map_at_r", 1),
    Criterion("NMI ↑", "nmi", 1),
    Criterion("F1 ↑", "f1", 1),
)


TASKS = {
    "multilabel": Task(
        _label_scorers,
        (
            Criterion("Hamming loss ↓", "neg_hamming_loss", -1),
            Criterion("Ranking loss ↓", "neg_ranking_loss", -1),
            Criterion("One-error ↓", "neg_one_error", -1),
            Criterion("Coverage ↓", "neg_coverage", -1),
            Criterion("Average precision ↑", "average_precision", 1),
            Criterion("Micro F1 ↑", "f1_micro", 1, ranked=False),
            Criterion("Macro F1 ↑", "f1_macro", 1, ranked=False),
            Criterion("Samples F1 ↑", "f1_samples", 1, ranked=False),
            *(Criterion(f"P@{k} ↑", f"precision_at_{k}", 1, False, k) for k in _PRECISIONS),
            *(Criterion(f"PSP@{k} ↑", f"propensity_scored_at_{k}", 1, False, k) for k in _PRECISIONS),
        ),
        "average_precision",
        "MLkNN",
        behind(MLkNN(10), "MLkNN", [10, 20, 30], MultilabelVotingClassifier) | label_set_classifiers(),
    ),
    "label distribution": Task(
        _always(LABEL_DISTRIBUTION_SCORERS),
        (
            Criterion("Chebyshev ↓", "neg_chebyshev_distance", -1),
            Criterion("Clark ↓", "neg_clark_distance", -1),
            Criterion("Canberra ↓", "neg_canberra_distance", -1),
            Criterion("KL ↓", "neg_kl_divergence", -1),
            Criterion("Cosine ↑", "cosine_similarity", 1),
            Criterion("Intersection ↑", "intersection_similarity", 1),
        ),
        "cosine_similarity",
        "AAKNN",
        # More neighbours leave no zero in a prediction: Clark and Canberra lose by that what the others gain. So the
        # search has the papers' 4 only.
        behind(AAKNN(4), "AAKNN", [4], MultioutputVotingRegressor) | distribution_regressors(),
    ),
    "classification": Task(
        _always({"accuracy": "accuracy", "f1_macro": "f1_macro", "matthews": make_scorer(matthews_corrcoef)}),
        (
            Criterion("Accuracy ↑", "accuracy", 1),
            Criterion("Macro F1 ↑", "f1_macro", 1),
            Criterion("Matthews correlation ↑", "matthews", 1),
        ),
        "accuracy",
        "kNN",
        behind(KNeighborsClassifier(5), "kNN", [1, 5, 10], partial(VotingClassifier, voting="soft")) | classifiers(),
    ),
    "regression": Task(
        _always({"neg_arrmse": make_scorer(average_relative_rmse, greater_is_better=False), "r2": "r2"}),
        (Criterion("aRRMSE ↓", "neg_arrmse", -1), Criterion("R² ↑", "r2", 1)),
        "neg_arrmse",
        "kNN",
        _numbers(),
    ),
    "retrieval": Task(
        _always(images.scores),
        _RETRIEVAL,
        None,
        "Raw pixels",
        _images(images),
    ),
    "fine-tuning": Task(
        _always(fine_tuning.scores),
        _RETRIEVAL
        + tuple(
            Criterion(f"{each.title[:-2]} joined ↑", f"joined_{each.scorer}", 1, ranked=False)
            for each in _RETRIEVAL
            if each.scorer in ("recall_at_1", "map_at_r")
        ),
        None,
        "Frozen trunk",
        _images(fine_tuning),
    ),
}
