"""Relational metric learning: distances under which samples with similar targets are near.

The house: a file or folder without an underscore is a public door; a folder with one is a private floor, and of the
others imports only those before it.

    _interop     seams to scikit-learn, torch, Dask, accelerators and files
    _data        X, y and weights, read once: targets, subsets of samples, data sets, partitions, their summary
    _search      nearest neighbours, on the host and on devices, and their votes
    _alignment   mathematics: problem, principal coordinates, ridge solvers, linear metric, loss over all pairs
    _training    one loop and one choreography for all that is trained
    _hraml       heads, model and objective of HRAMLTransformer
    _drml        ensemble, supervision, model and objective of DRMLTransformer
    _relational  members of the relational estimators, and their weights
    _onnx        estimators as operators of ONNX, and the seam to skl2onnx

The way of X and y, in every fit: `read` checks them into `Data`; a relation makes an operator of the targets; both are
a `Problem` for the solver, or an objective for the training loop; what was learned is assigned, and nothing else is.

The words: *relation*, g(y, y') as an operator over samples. *Targets*, y as it was read. *Subset*, some samples where
they are stored. *Partitions*, where samples come in several: chunks, Dask blocks, shards. *Shard*, the samples of one
process. *Summary*, statistics of all samples. *Problem*, samples and relation ready to be aligned. *Head*, what turns
features into a distance. *Branch*, one of the features of DRML. *Objective*, what a training minimises.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skrelmetric import (
        callbacks,
        chunks,
        datasets,
        distributed,
        encoders,
        losses,
        mahalanobis,
        metrics,
        onnx,
        plotting,
        relations,
        scorers,
        trunks,
    )
    from skrelmetric.deep import HRAMLTransformer
    from skrelmetric.drml import DRMLTransformer
    from skrelmetric.linear import RAMLLinear
    from skrelmetric.neighbors import AAKNN, MLkNN
    from skrelmetric.relational import RelationalNeighborsClassifier, RelationalNeighborsRegressor
    from skrelmetric.soft_neighbors import SoftNeighborsClassifier, SoftNeighborsRegressor
    from skrelmetric.thresholds import MultilabelThresholdClassifier
    from skrelmetric.voting import MultilabelVotingClassifier, MultioutputVotingRegressor

__version__ = version("skrelmetric")

__all__ = [
    "AAKNN",
    "DRMLTransformer",
    "HRAMLTransformer",
    "MLkNN",
    "MultilabelThresholdClassifier",
    "MultilabelVotingClassifier",
    "MultioutputVotingRegressor",
    "RAMLLinear",
    "RelationalNeighborsClassifier",
    "RelationalNeighborsRegressor",
    "SoftNeighborsClassifier",
    "SoftNeighborsRegressor",
    "callbacks",
    "chunks",
    "datasets",
    "distributed",
    "encoders",
    "losses",
    "mahalanobis",
    "metrics",
    "onnx",
    "plotting",
    "relations",
    "scorers",
    "trunks",
]

# Loading torch takes a second, so a name is imported when it is first touched (PEP 562).
_DOORS = {
    "AAKNN": "neighbors",
    "DRMLTransformer": "drml",
    "HRAMLTransformer": "deep",
    "MLkNN": "neighbors",
    "MultilabelThresholdClassifier": "thresholds",
    "MultilabelVotingClassifier": "voting",
    "MultioutputVotingRegressor": "voting",
    "RAMLLinear": "linear",
    "RelationalNeighborsClassifier": "relational",
    "RelationalNeighborsRegressor": "relational",
    "SoftNeighborsClassifier": "soft_neighbors",
    "SoftNeighborsRegressor": "soft_neighbors",
}


def __getattr__(name: str):
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_DOORS.get(name, name)}")
    return getattr(module, name) if name in _DOORS else module


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
