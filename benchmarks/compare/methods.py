"""Methods for tables: metrics behind one neighbour predictor, and predictors that need no metric."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression, RidgeClassifierCV, RidgeCV
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import NeighborhoodComponentsAnalysis
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, SplineTransformer, StandardScaler
from sklearn.svm import SVC, SVR

from benchmarks.compare.images import LOSSES
from benchmarks.compare.targets import EachTarget, MaximumEntropy, OnClasses, StandardisedTargets, positive_parts
from benchmarks.rivals import GMML, ITML, LMNN, DMLEig, DoubletSVM
from benchmarks.rivals.boomer import Boomer
from benchmarks.rivals.catboost import CatBoostClassifier, CatBoostRegressor
from benchmarks.rivals.chains import ClassifierChains
from benchmarks.rivals.kernel_ridge import KernelRidgeClassifier, KernelRidgeRegressor
from benchmarks.rivals.modern_nca import ModernNCAClassifier, ModernNCADistributions, ModernNCARegressor
from benchmarks.rivals.pyldl import LabelDistributionLearner
from skrelmetric import (
    DRMLTransformer,
    HRAMLTransformer,
    RAMLLinear,
    RelationalNeighborsClassifier,
    RelationalNeighborsRegressor,
    SoftNeighborsClassifier,
    SoftNeighborsRegressor,
)
from skrelmetric.encoders import Laplacian, Tanh
from skrelmetric.scorers import LABEL_DISTRIBUTION_SCORERS

Grid = dict[str, list]

TIERS = ("quick", "paper", "full", "request")
"""Extents of a comparison: each tier has those before it."""


class Method(NamedTuple):
    """Row of a table: the estimator for a seed, the grid of its search, and the least tier that has it."""

    build: Callable[[int], BaseEstimator]
    grid: Grid = {}
    tier: str = "full"


def for_numbers(method: Method) -> Method:
    """The method with targets in units of their standard deviation: a distance between targets depends on units."""

    def build(seed: int) -> Pipeline:
        model = method.build(seed)
        return StandardisedTargets(model.steps if isinstance(model, Pipeline) else [("predictor", model)])

    return method._replace(build=build)


def for_sparse(method: Method) -> Method:
    """The method with scaling that leaves zeros where they are: distances do not depend on the mean."""

    def build(seed: int) -> BaseEstimator:
        model = method.build(seed)
        return model.set_params(scale=StandardScaler(with_mean=False)) if "scale" in model.get_params() else model

    return method._replace(build=build, grid=method.grid | _SPARSE_SCALE if "scale" in method.grid else method.grid)


class _Metric(NamedTuple):
    """Steps of a pipeline between scaling and prediction, for a seed."""

    steps: Callable[[int], dict[str, BaseEstimator]]
    grid: Grid = {}
    tier: str = "full"


_SCALE: Grid = {"scale": [StandardScaler(), MinMaxScaler()]}
_SPARSE_SCALE: Grid = {"scale": [StandardScaler(with_mean=False), MaxAbsScaler()]}
_ALPHA: Grid = {"metric__alpha": [0.3, 1.0, 3.0, 10.0]}


def _rival(metric: Callable[[int], BaseEstimator], grid: Grid | None = None, tier: str = "full") -> _Metric:
    grid = {f"metric__metric__{parameter}": values for parameter, values in (grid or {}).items()}
    return _Metric(lambda seed: {"metric": OnClasses(metric(seed), random_state=seed)}, grid, tier)


def _raml(tier: str = "full", **options) -> _Metric:
    return _Metric(lambda seed: {"metric": RAMLLinear(**options, random_state=seed)}, _ALPHA, tier)


def _features(features: Callable[[int], BaseEstimator], grid: Grid) -> _Metric:
    """Fixed features before the linear metric: HRAML in two lines of scikit-learn."""
    return _Metric(
        lambda seed: {"features": features(seed), "metric": RAMLLinear(alpha=3.0)},
        {"metric__alpha": [1.0, 3.0, 10.0], **grid},
        "quick",
    )


def _union(seed: int) -> dict[str, BaseEstimator]:
    """Sum of the linear and the nonlinear squared distance."""
    return {"metric": FeatureUnion([("linear", RAMLLinear()), ("nonlinear", HRAMLTransformer(random_state=seed))])}


def _published(seed: int) -> dict[str, BaseEstimator]:
    """HRAML as published: a perceptron under the relation loss, trained by gradients on drawn pairs."""
    metric = HRAMLTransformer(
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
    return {"metric": metric}


def _trained(seed: int) -> dict[str, BaseEstimator]:
    """Perceptron trained under the exact head."""
    return {"metric": HRAMLTransformer(encoder="mlp", random_state=seed)}


def _drml(loss: str, relational: bool) -> _Metric:
    return _Metric(
        lambda seed: {"metric": DRMLTransformer(64, loss=loss, relational=relational, random_state=seed)},
        {"metric__learning_rate": [1e-4, 1e-3]},
        "request",
    )


METRICS: dict[str, _Metric] = {
    "": _Metric(lambda seed: {}, tier="quick"),
    "PCA": _Metric(
        lambda seed: {"metric": PCA(0.95, random_state=seed)}, {"metric__n_components": [0.8, 0.9, 0.95]}, "request"
    ),
    "LDA": _rival(
        lambda seed: LinearDiscriminantAnalysis(solver="eigen", shrinkage=0.1),
        {"shrinkage": [0.1, 0.3, 0.9]},
        "request",
    ),
    "NCA": _rival(lambda seed: NeighborhoodComponentsAnalysis(random_state=seed), tier="quick"),
    "ITML": _rival(lambda seed: ITML(random_state=seed), {"gamma": [0.1, 1.0, 10.0]}, "request"),
    "LMNN": _rival(lambda seed: LMNN(), {"n_neighbors": [1, 3]}),
    "DML-eig": _rival(lambda seed: DMLEig(random_state=seed), {"mu": [1e-3, 1e-2, 1e-1]}, "request"),
    "Doublet-SVM": _rival(lambda seed: DoubletSVM(random_state=seed), {"C": [0.1, 1.0, 10.0]}, "request"),
    "GMML": _rival(lambda seed: GMML(random_state=seed), {"t": [0.1, 0.3, 0.5, 0.7]}),
    **{f"{prefix}{name}": _drml(loss, bool(prefix)) for name, loss in LOSSES.items() for prefix in ("", "DRML-")},
    "RAML-SVR": _raml("paper", solver="svr"),
    "RAML-KRR": _raml("quick", solver="krr"),
    "RAMLLinear constrained": _raml("quick", psd="constrained"),
    "RAMLLinear": _raml("quick"),
    "Splines + RAMLLinear": _features(
        lambda seed: SplineTransformer(n_knots=5, degree=1), {"features__n_knots": [3, 5]}
    ),
    "Nystroem + RAMLLinear": _features(
        lambda seed: Nystroem(kernel="laplacian", n_components=256, random_state=seed), {}
    ),
    "HRAML as published": _Metric(_published, tier="paper"),
    "HRAML trained": _Metric(_trained, tier="request"),
    "HRAML": _Metric(
        lambda seed: {"metric": HRAMLTransformer(random_state=seed)},
        {
            "metric__encoder": [Laplacian(gamma=0.5), Laplacian(gamma=1.0), Tanh()],
            "metric__alpha": [1.0, 3.0, 10.0],
        },
        "quick",
    ),
    "RAMLLinear & HRAML": _Metric(
        _union,
        {"metric__linear__alpha": [1.0, 3.0], "metric__nonlinear__encoder": [Laplacian(gamma=0.5), Tanh()]},
        "paper",
    ),
}
"""Metrics by name; the first is none. The same for every kind of target."""


def _pipeline(predictor: BaseEstimator, steps: dict[str, BaseEstimator]) -> Pipeline:
    return Pipeline([("scale", StandardScaler()), *steps.items(), ("predictor", predictor)])


def behind(
    predictor: BaseEstimator, name: str, n_neighbors: list[int], voting: Callable[[list], BaseEstimator]
) -> dict[str, Method]:
    """The predictor behind each of the metrics.

    Parameters
    ----------
    predictor : estimator
        Nearest-neighbour predictor.
    name : str
        Name of the predictor.
    n_neighbors : list of int
        Numbers of neighbours that the search chooses from.
    voting : callable
        Makes an estimator that averages what (name, estimator) members predict.

    Returns
    -------
    dict of str to Method
        A row for each metric, and one for the vote of the predictor behind three of them with each number of
        neighbours.
    """
    of_all = _SCALE | {"predictor__n_neighbors": n_neighbors}

    def method(metric: _Metric) -> Method:
        def build(seed: int) -> Pipeline:
            return _pipeline(clone(predictor), metric.steps(seed))

        return Method(build, of_all | metric.grid, metric.tier)

    def vote(seed: int) -> Pipeline:
        numbers = [(f"of_{k}", clone(predictor).set_params(n_neighbors=k)) for k in n_neighbors]
        metrics = {
            "linear": RAMLLinear(),
            "kernel": HRAMLTransformer(random_state=seed),
            "tanh": HRAMLTransformer(encoder="tanh", random_state=seed),
        }
        members = {
            each: Pipeline([("metric", metric), ("predictor", voting(numbers))]) for each, metric in metrics.items()
        }
        return _pipeline(voting(list(members.items())), {})

    rows = {f"{metric} + {name}" if metric else name: method(steps) for metric, steps in METRICS.items()}
    return rows | {f"Vote of metrics + {name}": Method(vote, _SCALE, "paper")}


def _soft(predictor: BaseEstimator) -> dict[str, Method]:
    """Soft votes behind no metric, the linear and the kernel metric."""
    metrics: dict[str, Callable[[int], dict[str, BaseEstimator]]] = {
        "Soft neighbours": lambda seed: {},
        "RAMLLinear + soft neighbours": lambda seed: {"metric": RAMLLinear()},
        "HRAML + soft neighbours": lambda seed: {"metric": HRAMLTransformer(random_state=seed)},
    }

    def method(name: str, steps: Callable[[int], dict[str, BaseEstimator]]) -> Method:
        grid = METRICS["HRAML"].grid if name.startswith("HRAML") else _ALPHA if name.startswith("RAML") else {}
        return Method(lambda seed: _pipeline(clone(predictor), steps(seed)), {**_SCALE, **grid}, "quick")

    return {name: method(name, steps) for name, steps in metrics.items()}


def _relational(kind: Callable[..., BaseEstimator]) -> dict[str, Method]:
    """Everything at once, with and without a forest; nothing is searched for."""
    return {
        "Relational neighbours": Method(lambda seed: kind(random_state=seed), tier="quick"),
        "Relational neighbours & forest": Method(lambda seed: kind(forest=True, random_state=seed), tier="request"),
    }


class _Predictor(NamedTuple):
    """Predictor that needs no metric, for a seed; trees need no choice of scales."""

    build: Callable[[int], BaseEstimator]
    grid: Grid = {}
    scales: Grid = {}
    tier: str = "full"


def _no_metric(predictor: _Predictor) -> Method:
    grid = {f"predictor__{parameter}": values for parameter, values in predictor.grid.items()}
    return Method(lambda seed: _pipeline(predictor.build(seed), {}), predictor.scales | grid, predictor.tier)


def _normalised(predictor: _Predictor) -> _Predictor:
    """The regressor with predictions that are made distributions."""

    def build(seed: int) -> BaseEstimator:
        regressor = predictor.build(seed)
        return TransformedTargetRegressor(regressor, func=np.asarray, inverse_func=positive_parts, check_inverse=False)

    return predictor._replace(build=build, grid={f"regressor__{name}": grid for name, grid in predictor.grid.items()})


_LEAVES: Grid = {"min_samples_leaf": [1, 3], "max_features": ["sqrt", 0.3]}
_DEPTHS: Grid = {"depth": [4, 6, 8]}
_GAMMA: Grid = {"gamma": [0.5, 1.0]}
_PENALTIES = np.logspace(-3, 5, 17)

_CLASSIFIERS = {
    "ExtraTrees": _Predictor(lambda seed: ExtraTreesClassifier(300, random_state=seed), _LEAVES),
    "RandomForest": _Predictor(lambda seed: RandomForestClassifier(300, random_state=seed), _LEAVES),
    "HistGradientBoosting": _Predictor(
        lambda seed: OneVsRestClassifier(HistGradientBoostingClassifier(random_state=seed))
    ),
    "CatBoost": _Predictor(lambda seed: CatBoostClassifier(random_state=seed), _DEPTHS),
    "Logistic regression": _Predictor(
        lambda seed: OneVsRestClassifier(LogisticRegression(max_iter=1000)),
        {"estimator__C": [0.01, 0.1, 1.0, 10.0]},
        _SCALE,
    ),
    # Its regression of labels that are -1 and 1, with one penalty for all, is that of 0 and 1 cut at a half.
    "Ridge": _Predictor(lambda seed: RidgeClassifierCV(_PENALTIES), {}, _SCALE),
    "Kernel ridge": _Predictor(lambda seed: KernelRidgeClassifier(random_state=seed), _GAMMA, _SCALE),
    "ModernNCA": _Predictor(lambda seed: ModernNCAClassifier(random_state=seed), {}, _SCALE),
    "RBF-SVM": _Predictor(
        lambda seed: OneVsRestClassifier(SVC()), {"estimator__C": [0.3, 1.0, 3.0, 10.0]}, _SCALE, "request"
    ),
}
"""Predictors of classes and of label sets."""

_OF_LABEL_SETS = {
    "Classifier chain": _Predictor(
        lambda seed: ClassifierChains(LogisticRegression(max_iter=1000), random_state=seed), {}, _SCALE
    ),
    "BOOMER": _Predictor(lambda seed: Boomer(random_state=seed)),
}
"""Predictors of label sets alone."""

_REGRESSORS = {
    "ExtraTrees": _Predictor(lambda seed: ExtraTreesRegressor(300, random_state=seed), _LEAVES),
    "RandomForest": _Predictor(lambda seed: RandomForestRegressor(300, random_state=seed), _LEAVES),
    "HistGradientBoosting": _Predictor(lambda seed: EachTarget(HistGradientBoostingRegressor(random_state=seed))),
    "CatBoost": _Predictor(lambda seed: CatBoostRegressor(random_state=seed), _DEPTHS),
    "Ridge": _Predictor(lambda seed: RidgeCV(_PENALTIES), {}, _SCALE),
    "Kernel ridge": _Predictor(lambda seed: KernelRidgeRegressor(random_state=seed), _GAMMA, _SCALE),
    "ModernNCA": _Predictor(lambda seed: ModernNCARegressor(random_state=seed), {}, _SCALE),
    "RBF-SVM": _Predictor(
        lambda seed: EachTarget(SVR(epsilon=0.01)),
        {"estimator__C": [0.03, 0.1, 0.3, 1.0]},
        _SCALE,
        "request",
    ),
}
"""Predictors of numbers, one or several."""


def _penalised(seed: int) -> BaseEstimator:
    """Softmax regression with the penalty of the least divergence in folds of the training samples."""
    folds = KFold(3, shuffle=True, random_state=seed)
    divergence = LABEL_DISTRIBUTION_SCORERS["neg_kl_divergence"]
    return GridSearchCV(MaximumEntropy(), {"C": np.logspace(-3, 2, 6)}, scoring=divergence, cv=folds)


def _learner(algorithm: str) -> _Predictor:
    return _Predictor(lambda seed: LabelDistributionLearner(algorithm, random_state=seed))


_OF_DISTRIBUTIONS = {
    "CatBoost": _normalised(
        _Predictor(lambda seed: CatBoostRegressor(loss="MultiCrossEntropy", random_state=seed), _DEPTHS)
    ),
    "ModernNCA": _Predictor(lambda seed: ModernNCADistributions(random_state=seed), {}, _SCALE),
    "Softmax regression": _Predictor(lambda seed: MaximumEntropy(), {"C": [0.01, 0.1, 1.0, 10.0]}, _SCALE),
    "Penalised softmax": _Predictor(_penalised, {}, _SCALE),
    "SA-BFGS": _learner("SA_BFGS"),
    "LDLF": _learner("LDLF"),
    "LDL-LRR": _learner("LDL_LRR"),
}
"""Predictors of distributions alone, instead of those of numbers with the same name."""


def _rows(predictors: Mapping[str, _Predictor]) -> dict[str, Method]:
    return {name: _no_metric(predictor) for name, predictor in predictors.items()}


def classifiers() -> dict[str, Method]:
    """Methods for classes and label sets that need no neighbours of the table: soft votes, and what needs no metric."""
    return {
        **_soft(SoftNeighborsClassifier()),
        **_relational(RelationalNeighborsClassifier),
        **_rows(_CLASSIFIERS),
    }


def label_set_classifiers() -> dict[str, Method]:
    """Methods for label sets that need no neighbours of the table."""
    return classifiers() | _rows(_OF_LABEL_SETS)


def regressors() -> dict[str, Method]:
    """Methods for numbers that need no neighbours of the table: soft votes, and what needs no metric."""
    return {**_soft(SoftNeighborsRegressor()), **_relational(RelationalNeighborsRegressor), **_rows(_REGRESSORS)}


def distribution_regressors() -> dict[str, Method]:
    """Methods for label distributions that need no neighbours of the table; predictions are made distributions."""
    normalised = {name: _normalised(predictor) for name, predictor in _REGRESSORS.items()}
    return regressors() | _rows(normalised) | _rows(_OF_DISTRIBUTIONS)
