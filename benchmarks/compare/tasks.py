"""Tasks: criteria and methods for each kind of target."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from sklearn.ensemble import VotingClassifier
from sklearn.metrics import make_scorer, matthews_corrcoef
from sklearn.neighbors import KNeighborsClassifier

from benchmarks.compare import images
from benchmarks.compare.methods import TIERS, Method, behind, classifiers, regressors
from skrelmetric import AAKNN, MLkNN, MultilabelVotingClassifier, MultioutputVotingRegressor
from skrelmetric.scorers import LABEL_DISTRIBUTION_SCORERS, LAMDA_SCORERS, MULTILABEL_SCORERS


class Criterion(NamedTuple):
    """Column of the table: its title, its scorer's name, and the sign that turns the score into the criterion.

    Methods are ranked by those that are `ranked`; others are shown only.
    """

    title: str
    scorer: str
    sign: int
    ranked: bool = True


class Task(NamedTuple):
    """Criteria and methods for a kind of target.

    Attributes
    ----------
    scorers : dict or callable
        Scorers as scikit-learn's ``scoring`` takes them.
    criteria : tuple of Criterion
        In the order of the papers.
    searched : str or None
        Name of the scorer that hyper-parameters are chosen by; None for no search.
    predictor : str
        Name of the predictor that metrics stand before, and of the row without a metric.
    methods : dict of str to Method
        Rows of the table.
    """

    scorers: Mapping[str, str | Callable] | Callable
    criteria: tuple[Criterion, ...]
    searched: str | None
    predictor: str
    methods: dict[str, Method]

    def short(self, method: str) -> str:
        """Name of a method without the predictor that all metrics have in common."""
        return method.removesuffix(f" + {self.predictor}")

    def up_to(self, tier: str) -> list[str]:
        """Names of the methods of a tier and of those before it."""
        return [name for name, method in self.methods.items() if TIERS.index(method.tier) <= TIERS.index(tier)]


def _images() -> dict[str, Method]:
    rows = {name: Method(build, tier="quick") for name, build in images.METHODS.items()}
    return rows | {name: Method(build, tier="request") for name, build in images.ON_REQUEST.items()}


TASKS = {
    "multilabel": Task(
        {name: MULTILABEL_SCORERS[name] for name in LAMDA_SCORERS},  # the papers' criteria, as scikit-learn has them
        (
            Criterion("Hamming loss ↓", "neg_hamming_loss", -1),
            Criterion("Ranking loss ↓", "neg_ranking_loss", -1),
            Criterion("One-error ↓", "neg_one_error", -1),
            Criterion("Coverage ↓", "neg_coverage", -1),
            Criterion("Average precision ↑", "average_precision", 1),
        ),
        "average_precision",
        "MLkNN",
        behind(MLkNN(10), "MLkNN", [10, 20, 30], MultilabelVotingClassifier) | classifiers(),
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
        "cosine_similarity",
        "AAKNN",
        # More neighbours leave no zero in a prediction: Clark and Canberra lose by that what the others gain. So the
        # search has the papers' 4 only.
        behind(AAKNN(4), "AAKNN", [4], MultioutputVotingRegressor) | regressors(),
    ),
    "classification": Task(
        {
            "accuracy": "accuracy",
            "f1_macro": "f1_macro",
            "matthews": make_scorer(matthews_corrcoef),
        },
        (
            Criterion("Accuracy ↑", "accuracy", 1),
            Criterion("Macro F1 ↑", "f1_macro", 1),
            Criterion("Matthews correlation ↑", "matthews", 1),
        ),
        "accuracy",
        "kNN",
        behind(KNeighborsClassifier(5), "kNN", [1, 5, 10], partial(VotingClassifier, voting="soft")) | classifiers(),
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
        None,
        "Raw pixels",
        _images(),
    ),
}
