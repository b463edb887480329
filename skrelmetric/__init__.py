"""Relational metric learning: distances under which samples with similar targets are near."""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skrelmetric import (
        chunks,
        datasets,
        distributed,
        encoders,
        losses,
        mahalanobis,
        metrics,
        plotting,
        relations,
        scorers,
    )
    from skrelmetric.deep import HRAMLTransformer
    from skrelmetric.drml import DRMLTransformer
    from skrelmetric.linear import RAMLLinear
    from skrelmetric.neighbors import AAKNN, MLkNN
    from skrelmetric.voting import MultilabelVotingClassifier, MultioutputVotingRegressor

__version__ = version("skrelmetric")

__all__ = [
    "AAKNN",
    "DRMLTransformer",
    "HRAMLTransformer",
    "MLkNN",
    "MultilabelVotingClassifier",
    "MultioutputVotingRegressor",
    "RAMLLinear",
    "chunks",
    "datasets",
    "distributed",
    "encoders",
    "losses",
    "mahalanobis",
    "metrics",
    "plotting",
    "relations",
    "scorers",
]

# Loading torch takes a second, so a name is imported when it is first touched (PEP 562).
_DOORS = {
    "AAKNN": "neighbors",
    "DRMLTransformer": "drml",
    "HRAMLTransformer": "deep",
    "MLkNN": "neighbors",
    "MultilabelVotingClassifier": "voting",
    "MultioutputVotingRegressor": "voting",
    "RAMLLinear": "linear",
}


def __getattr__(name: str):
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_DOORS.get(name, name)}")
    return getattr(module, name) if name in _DOORS else module


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
