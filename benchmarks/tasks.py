"""What is compared: data sets, methods and criteria, each a table."""

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.kernel_approximation import Nystroem
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.neighbors import NeighborhoodComponentsAnalysis
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import SplineTransformer, StandardScaler

from benchmarks import images
from skrelmetric import AAKNN, HRAMLTransformer, MLkNN, RAMLLinear
from skrelmetric.datasets import (
    LDL_NAMES,
    MULAN_NAMES,
    fetch_ldl,
    fetch_mulan,
    fetch_omniglot,
    load_emotions,
    load_yeast,
)
from skrelmetric.encoders import Laplacian, Tanh
from skrelmetric.scorers import LABEL_DISTRIBUTION_SCORERS, MULTILABEL_SCORERS


class Criterion(NamedTuple):
    """A column of the table: its title, its scorer's name, and the sign that turns the score into the criterion."""

    title: str
    scorer: str
    sign: int


class Task(NamedTuple):
    """What a kind of target is measured by: scorers, criteria in the order of the papers, and methods.

    Methods on request take longer, and are run when they are named.
    """

    scorers: dict | Callable
    criteria: tuple[Criterion, ...]
    methods: dict[str, Callable[[int], BaseEstimator]]
    on_request: dict[str, Callable[[int], BaseEstimator]]

    @property
    def all_methods(self) -> dict[str, Callable[[int], BaseEstimator]]:
        """All methods, in the order of the table."""
        return self.methods | self.on_request


class OnClasses(TransformerMixin, BaseEstimator):
    """Fit a transformer that needs classes on targets that have none.

    Parameters
    ----------
    transformer : transformer
        Transformer to fit.
    classes : callable
        Turns the targets, of shape (n_samples, n_labels), into one class a sample.
    """

    def __init__(self, transformer, classes):
        self.transformer = transformer
        self.classes = classes

    def fit(self, X, y):
        """Fit the transformer to the classes of the targets."""
        self.transformer_ = clone(self.transformer).fit(X, self.classes(y))
        return self

    def transform(self, X):
        """Transform with the fitted transformer."""
        return self.transformer_.transform(X)


def label_powerset(Y: np.ndarray) -> np.ndarray:
    """Class of each sample: its whole label set."""
    return np.unique(Y, axis=0, return_inverse=True)[1].ravel()


def strongest_label(D: np.ndarray) -> np.ndarray:
    """Class of each sample: the label that describes it most."""
    return D.argmax(axis=1)


def _pipeline(predictor, *metric) -> Pipeline:
    return make_pipeline(StandardScaler(), *metric, predictor)


def _nca(classes: Callable, seed: int) -> OnClasses:
    return OnClasses(NeighborhoodComponentsAnalysis(random_state=seed), classes)


def _l1(**parameters) -> RAMLLinear:
    return RAMLLinear(relation="l1", **parameters)


def _nystroem(relation: str, seed: int) -> tuple[Nystroem, RAMLLinear]:
    """Kernel features before the linear metric, which is the default HRAML in two lines of scikit-learn."""
    return Nystroem(kernel="laplacian", n_components=256, random_state=seed), RAMLLinear(
        64, relation=relation, alpha=3.0
    )


def _splines(relation: str) -> tuple[SplineTransformer, RAMLLinear]:
    return SplineTransformer(n_knots=5, degree=1), RAMLLinear(64, relation=relation, alpha=3.0)


def _published(seed: int) -> HRAMLTransformer:
    """HRAML as published: a perceptron under the relation loss, trained by gradients on drawn pairs."""
    return HRAMLTransformer(
        32,
        encoder="mlp",
        head="linear",
        learn_scale=True,
        pairs=5000,
        batch_size=32,
        hard_fraction=0.5,
        optimizer="sgd",
        random_state=seed,
    )


def _trained(seed: int) -> HRAMLTransformer:
    """A perceptron trained under the exact head."""
    return HRAMLTransformer(encoder="mlp", random_state=seed)


def _tuned(predictor: BaseEstimator, scoring: dict, criterion: str, seed: int) -> GridSearchCV:
    """Encoder and penalty by cross-validation within the training part, as one criterion has it."""
    grid = {
        "hramltransformer__encoder": [Laplacian(gamma=0.5), Laplacian(gamma=1.0), Tanh()],
        "hramltransformer__alpha": [0.3, 1.0, 3.0, 10.0],
    }
    folds = KFold(5, shuffle=True, random_state=seed)
    model = _pipeline(predictor, HRAMLTransformer())
    return GridSearchCV(model, grid, scoring=scoring[criterion], cv=folds)


TASKS = {
    "multilabel": Task(
        MULTILABEL_SCORERS,
        (
            Criterion("Hamming loss ↓", "neg_hamming_loss", -1),
            Criterion("Ranking loss ↓", "neg_ranking_loss", -1),
            Criterion("One-error ↓", "neg_one_error", -1),
            Criterion("Coverage ↓", "neg_coverage", -1),
            Criterion("Average precision ↑", "average_precision", 1),
        ),
        {
            "MLkNN": lambda seed: _pipeline(MLkNN()),
            "NCA + MLkNN": lambda seed: _pipeline(MLkNN(), _nca(label_powerset, seed)),
            "RAML-SVR + MLkNN": lambda seed: _pipeline(MLkNN(), RAMLLinear(solver="svr", random_state=seed)),
            "RAML-KRR + MLkNN": lambda seed: _pipeline(MLkNN(), RAMLLinear(solver="krr", random_state=seed)),
            "RAMLLinear constrained + MLkNN": lambda seed: _pipeline(MLkNN(), RAMLLinear(psd="constrained")),
            "RAMLLinear + MLkNN": lambda seed: _pipeline(MLkNN(), RAMLLinear()),
            "Splines + RAMLLinear + MLkNN": lambda seed: _pipeline(MLkNN(), *_splines("auto")),
            "Nystroem + RAMLLinear + MLkNN": lambda seed: _pipeline(MLkNN(), *_nystroem("auto", seed)),
            "HRAML + MLkNN": lambda seed: _pipeline(MLkNN(), HRAMLTransformer()),
        },
        {
            "HRAML as published + MLkNN": lambda seed: _pipeline(MLkNN(), _published(seed)),
            "HRAML trained + MLkNN": lambda seed: _pipeline(MLkNN(), _trained(seed)),
            "HRAML tuned + MLkNN": lambda seed: _tuned(MLkNN(), MULTILABEL_SCORERS, "average_precision", seed),
        },
    ),
    "label distribution": Task(
        LABEL_DISTRIBUTION_SCORERS,
        (
            Criterion("Chebyshev ↓", "neg_chebyshev_distance", -1),
            Criterion("Clark ↓", "neg_clark_distance", -1),
            Criterion("Canberra ↓", "neg_canberra_distance", -1),
            Criterion("KL ↓", "neg_kl_divergence", -1),
            Criterion("Cosine ↑", "cosine_similarity", 1),
            Criterion("Intersection ↑", "intersection_similarity", 1),
        ),
        {
            "AAKNN": lambda seed: _pipeline(AAKNN(4)),
            "NCA + AAKNN": lambda seed: _pipeline(AAKNN(4), _nca(strongest_label, seed)),
            "RAML-SVR + AAKNN": lambda seed: _pipeline(AAKNN(4), _l1(solver="svr", random_state=seed)),
            "RAML-KRR + AAKNN": lambda seed: _pipeline(AAKNN(4), _l1(solver="krr", random_state=seed)),
            "RAMLLinear constrained + AAKNN": lambda seed: _pipeline(AAKNN(4), _l1(psd="constrained")),
            "RAMLLinear + AAKNN": lambda seed: _pipeline(AAKNN(4), _l1()),
            "Splines + RAMLLinear + AAKNN": lambda seed: _pipeline(AAKNN(4), *_splines("l1")),
            "Nystroem + RAMLLinear + AAKNN": lambda seed: _pipeline(AAKNN(4), *_nystroem("l1", seed)),
            "HRAML + AAKNN": lambda seed: _pipeline(AAKNN(4), HRAMLTransformer()),
        },
        {
            "HRAML as published + AAKNN": lambda seed: _pipeline(AAKNN(4), _published(seed)),
            "HRAML trained + AAKNN": lambda seed: _pipeline(AAKNN(4), _trained(seed)),
            "HRAML tuned + AAKNN": lambda seed: _tuned(AAKNN(4), LABEL_DISTRIBUTION_SCORERS, "cosine_similarity", seed),
        },
    ),
    "retrieval": Task(
        images.scores,
        (
            Criterion("R@1 ↑", "recall_at_1", 1),
            Criterion("R@2 ↑", "recall_at_2", 1),
            Criterion("R@4 ↑", "recall_at_4", 1),
            Criterion("R@8 ↑", "recall_at_8", 1),
            Criterion("R-Precision ↑", "r_precision", 1),
            Criterion("MAP@R ↑", "map_at_r", 1),
            Criterion("NMI ↑", "nmi", 1),
            Criterion("F1 ↑", "f1", 1),
        ),
        images.METHODS,
        images.ON_REQUEST,
    ),
}

BUNDLED: dict[str, Callable] = {"yeast": load_yeast, "emotions": load_emotions}
"""Loaders of the data sets that come with the package and need no network."""

DATASETS = {
    **dict.fromkeys(MULAN_NAMES, "multilabel"),
    **dict.fromkeys(LDL_NAMES, "label distribution"),
    "omniglot": "retrieval",
}
"""Task of each data set."""


@cache
def load(name: str) -> tuple[np.ndarray, np.ndarray, int | None]:
    """Samples and targets of a data set, and how many samples lead as the official training part, if there is one."""
    if name in LDL_NAMES:
        return *fetch_ldl(name, return_X_y=True), None
    if name == "omniglot":
        return *fetch_omniglot(subset="all", return_X_y=True), len(fetch_omniglot(return_X_y=True)[1])
    loader = BUNDLED.get(name, partial(fetch_mulan, name))
    parts = [loader(subset=subset, return_X_y=True) for subset in ("train", "test")]
    X, Y = (np.vstack(arrays) for arrays in zip(*parts, strict=True))
    return X, Y, len(parts[0][0])
