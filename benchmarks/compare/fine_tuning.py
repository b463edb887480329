"""Retrieval of photographs of classes that were never seen, by a pretrained trunk whose last blocks are fine-tuned.

Every method has the same trunk and as many epochs at most. Learning rates and epochs are chosen on training classes
that are held out, by each method for itself, as K. Musgrave, S. Belongie and S.-N. Lim, "A metric learning reality
check" (ECCV 2020), has it: the training classes are divided into four folds, a model is trained on three of them and
judged by the fourth, and the four models of the best rate are tested each by itself, and joined.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.covariance import shrunk_covariance
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import normalize
from torch import nn

from benchmarks.compare.images import ABLATIONS, CODE, PAPER, scores_of
from benchmarks.data.sources import FROZEN
from skrelmetric import DRMLTransformer, RAMLLinear
from skrelmetric.metrics import mean_average_precision_at_r
from skrelmetric.trunks import efficientnet_lite0, precompute

LOSSES = {
    "TSH": "triplet",
    "MDW": "margin",
    "ProxyAnchor": "proxy_anchor",
    "CosFace": "cosface",
    "Contrastive": "contrastive",
    "MultiSim": "multi_similarity",
}
"""Losses that DRML is compared over: those of its paper, and two of pairs."""

_OTHERS = {
    "Proxy-NCA++": "proxy_nca_pp",
    "SupCon": "supcon",
    "Smooth AP": "smooth_ap",
    "Ranked list": "ranked_list",
}

N_FOLDS = 4
_FIRST = 16  # of the modules that are trained: the last block, and the features
_WIDTH = 512  # of the embeddings, as in the paper
_RATES = [{"learning_rate": rate, "trunk_learning_rate": rate} for rate in (1e-4, 3e-4)]
_SHRINKAGES = (0.1, 0.3, 0.5, 0.7, 0.9)

_BUDGET: dict[str, Any] = {
    "batch_size": 80,
    "samples_per_class": 4,
    "loss_learning_rate": 1e-2,
    "hold_out": "classes",
    "max_epochs": 12,
    "n_iter_no_change": 5,  # losses of proxies are worse than the start for some epochs
}


@cache
def trunk() -> nn.Sequential:
    """The pretrained trunk, which nobody must change."""
    return efficientnet_lite0().eval()


class FourFold(TransformerMixin, BaseEstimator):
    """Metrics that are each learned from three of four folds of the classes, joined.

    Parameters
    ----------
    metric : estimator
        Metric to learn; DRML is given the rest of the trunk, and a GPU where torch sees one.
    candidates : list of dict
        Parameters to choose from, by the mean average precision at R on the classes of the fourth fold, in the mean.
    first : int
        First module of the trunk whose input the metric gets.
    random_state : int
        Seed of the folds.

    Attributes
    ----------
    chosen_ : dict
        Parameters that were chosen.
    members_ : list of estimator
        The four metrics.
    """

    def __init__(self, metric, candidates, first, random_state):
        self.metric = metric
        self.candidates = candidates
        self.first = first
        self.random_state = random_state

    def fit(self, X: np.ndarray, y: np.ndarray) -> Self:
        """Learn from the outputs of the frozen modules and classes."""
        X = self._inputs(X)
        folds = list(GroupKFold(N_FOLDS, shuffle=True, random_state=self.random_state).split(X, groups=y))
        best = -np.inf
        for candidate in self.candidates:
            metric = clone(self.metric).set_params(**candidate)
            members, precisions = zip(*(self._learned(metric, X, y, *fold) for fold in folds), strict=True)
            if np.mean(precisions) > best:
                best, self.chosen_, self.members_ = np.mean(precisions), candidate, list(members)
        return self

    def embeddings(self, X: np.ndarray) -> list[np.ndarray]:
        """Embeddings of each member, divided by their norms."""
        X = self._inputs(X)
        return [normalize(member.transform(X)) for member in self.members_]

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Embeddings of all members side by side."""
        return np.hstack(self.embeddings(X))

    def _inputs(self, X: np.ndarray) -> np.ndarray:
        return precompute(trunk()[FROZEN : self.first], X)

    def _learned(
        self, metric: BaseEstimator, X: np.ndarray, y: np.ndarray, train: np.ndarray, judged: np.ndarray
    ) -> tuple[BaseEstimator, float]:
        """Metric of some samples, and its precision on others."""
        metric, given = clone(metric), {}
        if isinstance(metric, DRMLTransformer):
            metric.set_params(trunk=trunk()[self.first :], device="cuda" if torch.cuda.is_available() else "auto")
            given = {"X_val": X[judged], "y_val": y[judged]}
        metric.fit(X[train], y[train], **given)
        return metric, mean_average_precision_at_r(normalize(metric.transform(X[judged])), y[judged])


class Frozen(TransformerMixin, BaseEstimator):
    """Features of the trunk as they are."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> Self:
        """Learn nothing."""
        return self

    def embeddings(self, X: np.ndarray) -> list[np.ndarray]:
        """Features, divided by their norms."""
        return [normalize(precompute(trunk()[FROZEN:], X))]

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Features, divided by their norms."""
        return self.embeddings(X)[0]


class RelevantComponents(TransformerMixin, BaseEstimator):
    """Features less their mean, whitened by their covariance within classes (Bar-Hillel et al., JMLR 2005, RCA).

    Parameters
    ----------
    shrinkage : float
        Share of a multiple of the identity in that covariance.
    """

    def __init__(self, shrinkage):
        self.shrinkage = shrinkage

    def fit(self, X: np.ndarray, y: np.ndarray) -> Self:
        """Learn mean and covariance."""
        X = normalize(X)
        codes = np.unique(y, return_inverse=True)[1]
        means = np.stack([X[codes == code].mean(0) for code in range(codes.max() + 1)])
        within = np.cov((X - means[codes]).T, bias=True)
        variances, directions = np.linalg.eigh(shrunk_covariance(within, shrinkage=self.shrinkage))
        self.mean_, self.whitening_ = X.mean(0), directions / np.sqrt(variances)
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Whitened features."""
        return (normalize(X) - self.mean_) @ self.whitening_


def _fine_tuned(loss: str, options: dict[str, Any], first: int = _FIRST) -> Callable[[int], BaseEstimator]:
    def method(seed: int) -> BaseEstimator:
        metric = DRMLTransformer(_WIDTH, loss=loss, random_state=seed, **_BUDGET, **options)
        return FourFold(metric, _RATES, first, seed)

    return method


def _of_features(metric: BaseEstimator, candidates: list[dict[str, Any]]) -> Callable[[int], BaseEstimator]:
    return lambda seed: FourFold(metric, candidates, len(trunk()), seed)


METHODS: dict[str, Callable[[int], BaseEstimator]] = {
    "Frozen trunk": lambda seed: Frozen(),
    "Frozen trunk, RCA": _of_features(RelevantComponents(0.5), [{"shrinkage": share} for share in _SHRINKAGES]),
    "Frozen trunk, RAMLLinear": _of_features(RAMLLinear(), [{"alpha": alpha} for alpha in (0.3, 3.0, 30.0)]),
}
ON_REQUEST: dict[str, Callable[[int], BaseEstimator]] = {}
for _name, _loss in (LOSSES | _OTHERS).items():
    _rows = METHODS if _name in LOSSES else ON_REQUEST
    _rows[_name] = _fine_tuned(_loss, {"relational": False})
    _rows[f"DRML-{_name}"] = _fine_tuned(_loss, {})
    _rows[f"DRML-{_name}, paper"] = _fine_tuned(_loss, PAPER)
    _rows[f"DRML-{_name}, code"] = _fine_tuned(_loss, CODE)
    for _prefix, _options in (("", {"relational": False}), ("DRML-", {})):
        ON_REQUEST[f"{_prefix}{_name}, random start"] = _fine_tuned(_loss, {"init": "random", **_options})
        ON_REQUEST[f"{_prefix}{_name}, from block 11"] = _fine_tuned(_loss, _options, FROZEN)
    for _change, _options in ABLATIONS.items():
        ON_REQUEST[f"DRML-{_name}, {_change}"] = _fine_tuned(_loss, _options)


def scores(estimator: FourFold | Frozen, X: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Criteria of the test samples: the mean over members of those of each, and those of the members joined."""
    embeddings = estimator.embeddings(X)
    separated = [scores_of(Z, y) for Z in embeddings]
    joined = scores_of(np.hstack(embeddings), y)
    means = {name: float(np.mean([each[name] for each in separated])) for name in joined}
    return means | {f"joined_{name}": value for name, value in joined.items()}
