"""Members of a relational estimator: predictors behind metrics, fitted to the same samples."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import MaxAbsScaler, Normalizer, StandardScaler

from skrelmetric._interop.labels import label_probabilities
from skrelmetric._search.soft_vote import cross_entropy, log_loss, squared_error
from skrelmetric.deep import HRAMLTransformer
from skrelmetric.linear import RAMLLinear
from skrelmetric.neighbors import MLkNN
from skrelmetric.soft_neighbors import SoftNeighborsClassifier, SoftNeighborsRegressor

__all__ = ["DISTRIBUTIONS", "LABELS", "NUMBERS", "Kind", "Members", "Recipe"]

_MOST_SOLVED = 300  # features up to which alignment is solved for; of more, predictions make the linear metric
_MOST_NEIGHBORS = 30
_WORDS = 0.2  # share of entries that are not 0, up to which samples count as words
_PENALTIES = np.logspace(-4, 2, 13)  # of the ridge regression


class Kind(NamedTuple):
    """Kind of targets, as (n_samples, n_outputs) numbers: label sets, distributions (classes too), or numbers.

    Attributes
    ----------
    soft : type
        Soft vote.
    forest : callable
        ``forest(random_state=...)``.
    proper : callable
        Makes predictions of this kind of any numbers.
    loss : callable
        ``loss(Y, P)`` of each sample.
    units : callable
        ``units(Y)`` of errors, by which members are weighed.
    """

    soft: type[BaseEstimator]
    forest: Callable[..., BaseEstimator]
    proper: Callable[[np.ndarray], np.ndarray]
    loss: Callable[[np.ndarray, np.ndarray], np.ndarray]
    units: Callable[[np.ndarray], Any]


def _label_forest(**options: Any) -> BaseEstimator:
    return ExtraTreesClassifier(300, max_features=0.3, **options)


def _distribution_forest(**options: Any) -> BaseEstimator:
    return ExtraTreesRegressor(300, min_samples_leaf=3, **options)


def _number_forest(**options: Any) -> BaseEstimator:
    return ExtraTreesRegressor(300, **options)


def _probabilities(P: np.ndarray) -> np.ndarray:
    return P.clip(0, 1)


def _distributions(P: np.ndarray) -> np.ndarray:
    P = P.clip(min=0)
    sums = P.sum(1, keepdims=True)
    return np.where(sums > 0, P / np.where(sums > 0, sums, 1), 1 / P.shape[1])


def _number_loss(Y: np.ndarray, P: np.ndarray) -> np.ndarray:
    units = _deviations(Y)
    return squared_error(Y / units, P / units)


def _deviations(Y: np.ndarray) -> np.ndarray:
    deviations = Y.std(0)
    return np.where(deviations > 0, deviations, 1.0)


def _one(Y: np.ndarray) -> float:
    return 1.0


LABELS = Kind(SoftNeighborsClassifier, _label_forest, _probabilities, log_loss, _one)
DISTRIBUTIONS = Kind(SoftNeighborsRegressor, _distribution_forest, _distributions, cross_entropy, _one)
NUMBERS = Kind(SoftNeighborsRegressor, _number_forest, np.asarray, _number_loss, _deviations)


class Members(NamedTuple):
    """Fitted scaler, metrics and predictors.

    Attributes
    ----------
    scaler : transformer
        Scaling of the samples.
    metrics : dict
        The "linear" and the "kernel" metric.
    predictors : dict of str to (str, estimator)
        Name of what each is fitted to, as `inputs` has it, and the predictor.
    kind : Kind
        Kind of targets.
    """

    scaler: Any
    metrics: dict[str, Any]
    predictors: dict[str, tuple[str, Any]]
    kind: Kind

    def inputs(self, X: Any) -> dict[str, Any]:
        """What the predictors take of samples: these, scaled, and what the metrics make of them."""
        samples = self.scaler.transform(X)
        kernel = self.metrics["kernel"]
        features = kernel.features(samples)
        return {
            "samples": samples,
            "linear": self.metrics["linear"].transform(samples),
            "features": features,
            "kernel": features @ kernel.components_.T,
        }

    def predictions(self, X: Any) -> np.ndarray:
        """Predictions of each member, of shape (n_members, n_samples, n_outputs)."""
        inputs = self.inputs(X)
        return np.stack([self._of(predictor, inputs[source]) for source, predictor in self.predictors.values()])

    def _of(self, predictor: Any, Z: Any) -> np.ndarray:
        if not hasattr(predictor, "predict_proba"):
            P = predictor.predict(Z)
            return self.kind.proper(P.reshape(len(P), -1))
        classes = predictor.classes_
        n_labels = predictor.n_outputs_ if isinstance(predictor, ExtraTreesClassifier) else len(classes)
        return label_probabilities(predictor, Z, np.tile([0, 1], (n_labels, 1)))


class Recipe(NamedTuple):
    """What members are made of.

    Attributes
    ----------
    kind : Kind
        Kind of targets.
    relation : str, callable or object
        Relation of targets.
    forest : bool
        Whether there is a forest among them.
    device : str or torch.device
        Where to compute.
    seed : int
        Seed of all that is drawn.
    """

    kind: Kind
    relation: Any
    forest: bool
    device: Any
    seed: int

    def fitted(self, X: Any, y: Any, Y: np.ndarray, sample_weight: np.ndarray | None) -> Members:
        """Members fitted to samples, targets as they came, and these as numbers of shape (n_samples, n_outputs)."""
        scaler = scaler_of(X).fit(X)
        samples = scaler.transform(X)
        linear = RAMLLinear(relation=self.relation, device=self.device)
        if samples.shape[1] > _MOST_SOLVED:
            linear.set_params(prediction_weight=1)
        kernel = HRAMLTransformer(relation=self.relation, device=self.device, random_state=self.seed)
        metrics = {
            name: metric.fit(samples, y, sample_weight) for name, metric in [("linear", linear), ("kernel", kernel)]
        }
        members = Members(scaler, metrics, self._predictors(len(Y), sample_weight), self.kind)
        inputs = members.inputs(X)
        for name, (source, predictor) in members.predictors.items():
            targets = Y[:, 0] if name == "forest" and Y.shape[1] == 1 else Y  # it would warn of a column
            weights = {} if sample_weight is None else {"sample_weight": sample_weight}
            with np.errstate(divide="ignore", invalid="ignore"):  # ridge regression leaves out the only one that counts
                predictor.fit(inputs[source], targets, **weights)
        return members

    def _predictors(self, n_samples: int, sample_weight: np.ndarray | None) -> dict[str, tuple[str, Any]]:
        soft = self.kind.soft
        predictors = {
            "linear": ("linear", soft(scale="local", device=self.device)),
            "kernel": ("kernel", soft(device=self.device)),
            "ridge": ("features", RidgeCV(_PENALTIES)),
        }
        if self.kind is LABELS and sample_weight is None:
            numbers = range(1, min(_MOST_NEIGHBORS, n_samples - 1) + 1)
            predictors["posteriors"] = ("kernel", MLkNN(numbers, device=self.device))
        if self.forest:
            predictors["forest"] = ("samples", self.kind.forest(random_state=self.seed))
        return predictors


def scaler_of(X: Any) -> Any:
    """Scaling that suits samples: unit rows for words, of which few in a row are there and none is negative.

    Others are scaled to unit variance, or sparse ones to a largest entry of 1.
    """
    entries = X.data if sparse.issparse(X) else X
    if (entries >= 0).all() and np.count_nonzero(entries) <= _WORDS * np.prod(X.shape):
        return Normalizer()
    return MaxAbsScaler() if sparse.issparse(X) else StandardScaler()
